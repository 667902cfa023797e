"""The wire of a real client: a WebSocket of aiohttp, over TCP, TLS or a unix socket.

A task reads and a task writes, so that nothing here ever waits in a call of the connection. Where
more frames wait to be written than the system takes, the connection is told to hold back.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from typing import Final
from urllib.parse import unquote, urlsplit

import aiohttp

from pysignal import text
from pysignal.client.connection import Dial
from pysignal.errors import InvalidParameter, NotLoggedIn
from pysignal.protocol.numbers import PATH, SUBPROTOCOL
from pysignal.protocol.wire import Peer, Wire

log = logging.getLogger("pysignal")

# No bound: the answer to a login has everything that is open, and comes from a server of one's own.
FRAME_BYTES_MAX: Final = 0

# Frames that wait to be written before the connection holds back, and before it goes on.
WAITING_MAX: Final = 64
WAITING_LOW: Final = 16

# How long the other side may take to answer a close, seconds.
CLOSE_S: Final = 1.0

# What a connection ends with that was not closed (RFC 6455 §7.4.1).
CLOSE_ABNORMAL: Final = 1006


def dial_to(url: str, ssl_context: ssl.SSLContext | None = None) -> Dial:
    """Return what makes connections to a server.

    Args:
        url: `ws://host:port`, `wss://host:port` or `unix:///path/of/a.sock`.
        ssl_context: for `wss://`, in place of the system's.

    Raises:
        InvalidParameter: it is none of these.
    """
    parts = urlsplit(text.exact(url, "url"))
    if parts.scheme not in ("ws", "wss", "unix"):
        raise InvalidParameter("url", f"ws://…, wss://… or unix:///…, not {url!r}")
    socket_path = ""
    if parts.scheme == "unix":
        if parts.netloc or not parts.path:
            raise InvalidParameter("url", f"unix:///path/of/a.sock, not {url!r}")
        socket_path = unquote(parts.path)
        target = f"ws://localhost{PATH}"
    elif not parts.hostname:
        raise InvalidParameter("url", f"a host is needed in {url!r}")
    else:
        target = parts._replace(path=PATH).geturl() if parts.path in ("", "/") else url

    async def dial(peer: Peer) -> Wire:
        connector = aiohttp.UnixConnector(socket_path) if socket_path else aiohttp.TCPConnector()
        client = aiohttp.ClientSession(connector=connector)
        try:
            socket = await client.ws_connect(
                target,
                protocols=(SUBPROTOCOL,),
                compress=0,
                max_msg_size=FRAME_BYTES_MAX,
                timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_S),
                ssl=True if ssl_context is None else ssl_context,
            )
            if socket.protocol != SUBPROTOCOL:
                await socket.close()
                raise NotLoggedIn(f"{target} does not speak {SUBPROTOCOL}: check the url")
        except aiohttp.WSServerHandshakeError as error:
            await client.close()
            if error.status >= 500:
                raise ConnectionError(f"{target} answers {error.status}") from None
            raise NotLoggedIn(
                f"{target} answers {error.status} to the handshake: check the url"
            ) from None
        except aiohttp.ClientError as error:
            await client.close()
            if isinstance(error, OSError):
                raise
            raise ConnectionError(f"{target}: {error}") from error
        except BaseException:
            await client.close()
            raise
        return SocketWire(socket, client, peer)

    return dial


class SocketWire:
    """One WebSocket.

    Args:
        socket: connected.
        client: is closed with it.
        peer: hears what comes.
    """

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, client: aiohttp.ClientSession, peer: Peer
    ) -> None:
        self._socket = socket
        self._client = client
        self._peer = peer
        self._waiting: deque[bytes] = deque()
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._is_paused = False
        loop = asyncio.get_running_loop()
        self._writer = loop.create_task(self._write())
        self._reader = loop.create_task(self._read())

    def send(self, frame: bytes) -> None:
        """Send a text frame; nothing is sent on a wire that was closed or lost."""
        if self._closing is not None or self._writer.done():
            return
        self._waiting.append(frame)
        self._wake.set()
        if len(self._waiting) >= WAITING_MAX and not self._is_paused:
            self._is_paused = True
            asyncio.get_running_loop().call_soon(self._peer.paused)

    def close(self, code: int, reason: str = "") -> None:
        """Close behind what was sent before."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    async def _write(self) -> None:
        try:
            while True:
                while self._waiting:
                    frame = self._waiting.popleft()
                    await self._socket.send_frame(frame, aiohttp.WSMsgType.TEXT)
                    if self._is_paused and len(self._waiting) <= WAITING_LOW:
                        self._is_paused = False
                        self._peer.resumed()
                if self._closing is not None:
                    break
                self._wake.clear()
                await self._wake.wait()
            code, reason = self._closing
            await self._socket.close(code=code, message=reason.encode())
        except (OSError, aiohttp.ClientError, RuntimeError) as error:
            log.debug("a connection was lost while it was written to: %s", error)
            await self._socket.close()

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._peer.received(message.data)
        except (OSError, aiohttp.ClientError) as error:
            log.debug("a connection was lost: %s", error)
        finally:
            self._closing = self._closing or (CLOSE_ABNORMAL, "")
            self._writer.cancel()
            await asyncio.wait({self._writer})
            await self._socket.close()
            await self._client.close()
            self._peer.lost(self._socket.close_code or CLOSE_ABNORMAL)
