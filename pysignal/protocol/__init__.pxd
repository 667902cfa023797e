"""The C side of the protocol."""
