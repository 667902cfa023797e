"""The C side of the journals."""
