"""The wire protocol: JSON-RPC 2.0 over WebSocket, as types (docs/protocol.md).

Server and client share it, and neither knows the other. `messages` says what is sent, `frames` how
a text becomes messages and back, `events` how an event is written and read, `refusals` how an error
travels, `asyncapi` how all of it is described for people who write a client in another language.
"""
