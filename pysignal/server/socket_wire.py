"""The wire that is a socket: frames of a WebSocket, read by aiohttp's parser, written here.

aiohttp answers the handshake; then the transport is given to this protocol, which feeds the parser
and takes each message from it in the same call. A message so costs no task, no queue and no turn of
the loop (docs/adr/0011-a-server-without-tasks.md). What the RFC asks of a reader, fragments, UTF-8
and lengths, is the parser's.
"""

from __future__ import annotations

import asyncio
from struct import Struct
from typing import Any, Final, cast

from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketError, WebSocketReader, WSCloseCode, WSMsgType

from pysignal.protocol.numbers import CLOSE_GOING_AWAY
from pysignal.protocol.wire import Peer

_TEXT, _CLOSE, _PONG = 0x81, 0x88, 0x8A
_PING: Final = b"\x89\x00"

# Lengths that need two bytes more, or eight (RFC 6455 §5.2).
_SHORT_MAX: Final = 125
_MEDIUM_MAX: Final = 0xFFFF
_MEDIUM = Struct("!BBH")
_LONG = Struct("!BBQ")

# The code for "no close frame came" (RFC 6455 §7.1.5).
ABNORMAL: Final = 1006


def _header(opcode: int, length: int) -> bytes:
    if length <= _SHORT_MAX:
        return bytes((opcode, length))
    if length <= _MEDIUM_MAX:
        return _MEDIUM.pack(opcode, 126, length)
    return _LONG.pack(opcode, 127, length)


class _Messages(WebSocketDataQueue):
    """Where the parser puts each message: straight into the wire."""

    def __init__(self, wire: SocketWire, protocol: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(protocol, 1 << 16, loop=loop)
        self._wire = wire

    def feed_data(self, data: Any, size: int = 0) -> None:
        self._wire.take(data)


class SocketWire(asyncio.Protocol):
    """One WebSocket, after its handshake.

    Args:
        transport: of the connection.
        http: the protocol that had it before, which is told when it has ended.
        frame_bytes_max: of a message that is taken.
        close_s: how long the other side may take to answer a close, seconds.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        http: asyncio.Protocol,
        frame_bytes_max: int,
        close_s: float,
    ) -> None:
        self.peer: Peer | None = None
        self._transport = transport
        self._http = http
        self._close_s = close_s
        self._loop = asyncio.get_running_loop()
        self._messages = _Messages(self, http, self._loop)
        self._parser = WebSocketReader(
            self._messages, frame_bytes_max, compress=False, decode_text=True
        )
        self.ended: asyncio.Future[None] = self._loop.create_future()
        self._is_closing = False
        self._code = ABNORMAL
        self._patience: asyncio.TimerHandle | None = None
        self.silent_looks = 0

    # -- the transport -----------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Feed the parser, which calls `take` with each message."""
        self.silent_looks = 0
        is_over, _ = self._parser.feed_data(data)
        if is_over and not self._is_closing:
            error = self._messages.exception()
            code = error.code if isinstance(error, WebSocketError) else WSCloseCode.PROTOCOL_ERROR
            self.close(int(code), "what came is no WebSocket frame")

    def eof_received(self) -> bool:
        """Let the transport close."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever has to know."""
        if self._patience is not None:
            self._patience.cancel()
        if not self.ended.done():
            self.ended.set_result(None)
        self._http.connection_lost(exc)
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.lost(self._code)

    def pause_writing(self) -> None:
        """Hear that the buffer is full."""
        if self.peer is not None:
            self.peer.paused()

    def resume_writing(self) -> None:
        """Hear that it is nearly empty."""
        if self.peer is not None:
            self.peer.resumed()

    # -- messages ----------------------------------------------------------------------------------

    def take(self, message: Any) -> None:
        """Take a message from the parser."""
        kind = message[0]
        if kind is WSMsgType.TEXT:
            if self.peer is not None and not self._is_closing:
                self.peer.received(message[1])
        elif kind is WSMsgType.PING:
            self._write(_PONG, message[1])
        elif kind is WSMsgType.CLOSE:
            self._closed_by_client(message[1])
        elif kind is WSMsgType.BINARY:
            self.close(WSCloseCode.UNSUPPORTED_DATA, "text frames only")

    def _closed_by_client(self, code: int) -> None:
        self._code = code or WSCloseCode.NO_STATUS_RCVD  # type: ignore[attr-defined]
        if not self._is_closing:
            self._is_closing = True
            self._write(_CLOSE, code.to_bytes(2) if code else b"")
        self._transport.close()

    def send(self, frame: bytes) -> None:
        """Send a text frame."""
        if not self._is_closing:
            self._transport.write(_header(_TEXT, len(frame)) + frame)

    def _write(self, opcode: int, payload: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(_header(opcode, len(payload)) + payload)

    def close(self, code: int, reason: str = "") -> None:
        """Send a close frame; the client has a while to answer it."""
        if self._is_closing:
            return
        self._is_closing = True
        payload = int(code).to_bytes(2) + reason.encode()[: _SHORT_MAX - 2]
        self._write(_CLOSE, payload)
        self._patience = self._loop.call_later(self._close_s, self._transport.abort)

    def abort(self) -> None:
        """End the connection at once."""
        self._transport.abort()

    # -- silence -----------------------------------------------------------------------------------

    def look(self, ping_looks: int, dead_looks: int) -> None:
        """Be looked at every few seconds: ask a silent client whether it is there.

        Args:
            ping_looks: after how many looks without a sign of life a ping is sent.
            dead_looks: after how many the connection is given up.
        """
        self.silent_looks += 1
        if self.silent_looks >= dead_looks:
            self.close(CLOSE_GOING_AWAY, "nothing was heard for too long")
            self._transport.abort()
        elif self.silent_looks % ping_looks == 0 and not self._is_closing:
            self._transport.write(_PING)


def wire_over(
    transport: asyncio.BaseTransport, http: Any, frame_bytes_max: int, close_s: float
) -> SocketWire:
    """Take a connection over from the protocol that has answered its handshake."""
    taken = cast("asyncio.Transport", transport)
    wire = SocketWire(taken, http, frame_bytes_max, close_s)
    taken.set_protocol(wire)
    return wire
