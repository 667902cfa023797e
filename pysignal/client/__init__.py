"""The client: a session of a server, with the interface of an embedded one (docs/protocol.md).

`session` is what users have; `calls` are its requests and `intake` what it is told; `link` keeps it
connected by one `connection` after the other, each over a wire that `socket_wire` or a test dials.
"""

try:
    import aiohttp as _aiohttp
    import msgspec as _msgspec
except ImportError as error:
    raise ImportError(
        f'{error.name} is missing, which connections need: pip install "pysignal-engine[network]"'
    ) from error

from pysignal.client.connecting import Connecting, connect
from pysignal.client.session import RemoteSession

__all__ = ["Connecting", "RemoteSession", "connect"]

del _aiohttp, _msgspec
