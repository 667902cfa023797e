"""The network door of a hub: sessions of clients far away, over WebSocket (docs/protocol.md).

`Server` listens, `door` lets connections in, a `Connection` is one of them, and a `ServedSession`
is what stays when it breaks: a session of the hub with an `Outbox`, which keeps what a client may
have missed. `calls` carries requests out, `auth` says who is who.
"""

from pysignal.server.server import Server
from pysignal.server.settings import Settings

__all__ = ["Server", "Settings"]
