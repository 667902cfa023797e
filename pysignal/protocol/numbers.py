"""The numbers and names that both sides of the protocol agree on."""

from __future__ import annotations

from typing import Final

# Offered and chosen in Sec-WebSocket-Protocol: the name, and the version.
SUBPROTOCOL: Final = "pysignal.v1"

# Where the server answers handshakes.
PATH: Final = "/signaling"

# Lists of invitees up to this length stand whole in every event of their invitation; longer ones
# stand in the opening alone.
INVITEES_INLINE_MAX: Final = 32

# Nesting of objects and lists in a frame, at most; the deepest message needs six levels.
DEPTH_MAX: Final = 8

# Close codes of a WebSocket (4000 to 4999 are for applications, RFC 6455 §7.4.2).
CLOSE_NORMAL: Final = 1000
CLOSE_GOING_AWAY: Final = 1001
CLOSE_POLICY: Final = 1008
CLOSE_TOO_BIG: Final = 1009
CLOSE_UNAUTHORIZED: Final = 4401
CLOSE_SLOW: Final = 4408
CLOSE_KICKED: Final = 4409

# Errors of JSON-RPC itself; all others have the codes of SPEC §5.
PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INTERNAL_ERROR: Final = -32603
