"""The wire that is a socket: frames of a WebSocket, read by aiohttp's parser, written here.

aiohttp answers the handshake; then the transport is given to this protocol, which feeds the parser
and takes each message from it in the same call. A message so costs no task, no queue and no turn of
the loop (docs/adr/0011-a-server-without-tasks.md). What the RFC asks of a reader, fragments, UTF-8
and lengths, is the parser's.
"""

import asyncio
from struct import Struct

from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http_websocket import WebSocketError, WebSocketReader, WSCloseCode, WSMsgType

from pysignal.protocol import numbers

# First bytes of whole frames (RFC 6455 section 5.2).
cdef enum:
    TEXT = 0x81
    CLOSE = 0x88
    PONG = 0x8A

cdef bytes PING = b"\x89\x00"

# Lengths that need no more bytes, and two more; the others need eight.
cdef enum:
    SHORT_MAX = 125
    MEDIUM_MAX = 0xFFFF

cdef object MEDIUM = Struct("!BBH").pack
cdef object LONG = Struct("!BBQ").pack

# The codes for "no close frame came", and "it came without a code" (RFC 6455 section 7.1.5).
ABNORMAL = 1006
NO_STATUS = 1005

cdef object TEXT_TYPE = WSMsgType.TEXT
cdef object PING_TYPE = WSMsgType.PING
cdef object CLOSE_TYPE = WSMsgType.CLOSE
cdef object BINARY_TYPE = WSMsgType.BINARY


cdef bytes header(int opcode, Py_ssize_t length):
    """How a frame begins."""
    if length <= SHORT_MAX:
        return bytes((opcode, length))
    if length <= MEDIUM_MAX:
        return MEDIUM(opcode, 126, length)
    return LONG(opcode, 127, length)


class Messages(WebSocketDataQueue):
    """Where the parser puts each message: straight into the wire.

    Args:
        wire: takes them.
        protocol: what the parser may ask to read no more; it never does here.
        loop: the event loop.
    """

    def __init__(self, wire, protocol, loop):
        super().__init__(protocol, 1 << 16, loop=loop)
        self.take = wire.take

    def feed_data(self, data, size=0):
        """Hand a message over."""
        self.take(data)


cdef class SocketWire:
    """One WebSocket, after its handshake: a protocol of its transport, and the wire of its peer.

    Args:
        transport: of the connection.
        http: the protocol that had it before, which is told when it has ended.
        frame_bytes_max: of a message that is taken.
        login_bytes_max: what may come before `trust`.
        close_s: how long the other side may take to answer a close, seconds.

    Attributes:
        peer: the owner of this end.
        ended: done when the connection has ended.
    """

    def __init__(
        self, transport, http, Py_ssize_t frame_bytes_max, Py_ssize_t login_bytes_max,
        double close_s,
    ):
        self.transport = transport
        self.http = http
        self.close_s = close_s
        self.loop = asyncio.get_running_loop()
        self.messages = Messages(self, http, self.loop)
        self.parser = WebSocketReader(
            self.messages, frame_bytes_max + 1, compress=False, decode_text=True
        )
        self.ended = self.loop.create_future()
        self.code = ABNORMAL
        self.bytes_left = login_bytes_max

    # -- the transport -----------------------------------------------------------------------------

    def connection_made(self, transport):
        """Nothing: the transport was given before."""

    def data_received(self, data):
        """Feed the parser, which calls `take` with each message."""
        self.silent_looks = 0
        if self.bytes_left >= 0:
            self.bytes_left -= len(data)
            if self.bytes_left < 0:
                self.close(numbers.CLOSE_TOO_BIG, "so much is not taken before a login")
                return
        is_over, _ = self.parser.feed_data(data)
        if is_over and not self.is_closing:
            error = self.messages.exception()
            code = error.code if isinstance(error, WebSocketError) else WSCloseCode.PROTOCOL_ERROR
            self.close(int(code), "what came is no WebSocket frame")

    def eof_received(self):
        """Let the transport close."""
        return False

    def connection_lost(self, error):
        """Tell whoever has to know."""
        if self.patience is not None:
            self.patience.cancel()
        if not self.ended.done():
            self.ended.set_result(None)
        self.http.connection_lost(error)
        peer, self.peer = self.peer, None
        if peer is not None:
            peer.lost(self.code)

    def pause_writing(self):
        """Hear that the buffer is full."""
        self.is_full = True
        if self.peer is not None:
            self.peer.paused()

    def resume_writing(self):
        """Hear that it is nearly empty."""
        self.is_full = False
        if self.ping is not None:
            ping, self.ping = self.ping, None
            self.write(PONG, ping)
        if self.peer is not None:
            self.peer.resumed()

    # -- messages ----------------------------------------------------------------------------------

    def take(self, message):
        """Take a message from the parser."""
        kind = message[0]
        if kind is TEXT_TYPE:
            if self.peer is not None and not self.is_closing:
                self.peer.received(message[1])
        elif kind is PING_TYPE:
            if self.is_full:    # the latest alone is answered, once there is room
                self.ping = bytes(message[1])
            else:
                self.write(PONG, bytes(message[1]))
        elif kind is CLOSE_TYPE:
            self.closed_by_client(message[1])
        elif kind is BINARY_TYPE:
            self.close(int(WSCloseCode.UNSUPPORTED_DATA), "text frames only")

    cdef int closed_by_client(self, int code) except -1:
        self.code = code or NO_STATUS
        if not self.is_closing:
            self.is_closing = True
            self.write(CLOSE, code.to_bytes(2, "big") if code else b"")
        self.transport.close()
        return 0

    def send(self, bytes frame not None):
        """Send a text frame."""
        if not self.is_closing and not self.ended.done():
            self.transport.write(header(TEXT, len(frame)) + frame)

    cdef int write(self, int opcode, bytes payload) except -1:
        if not self.transport.is_closing():
            self.transport.write(header(opcode, len(payload)) + payload)
        return 0

    def close(self, int code, str reason not None=""):
        """Send a close frame; the client has a while to answer it."""
        if self.is_closing:
            return
        self.is_closing = True
        self.write(CLOSE, code.to_bytes(2, "big") + reason.encode()[:SHORT_MAX - 2])
        self.patience = self.loop.call_later(self.close_s, self.transport.abort)

    def trust(self):
        """Take as much as anybody may send."""
        self.bytes_left = -1

    def hold(self):
        """Read nothing more until `go_on`."""
        if not self.transport.is_closing():
            self.transport.pause_reading()

    def go_on(self):
        """Read again."""
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def abort(self):
        """End the connection at once."""
        self.transport.abort()

    # -- silence -----------------------------------------------------------------------------------

    def begin_at(self, int looks):
        """Count as silent for some looks, so that not all are asked at the same time."""
        self.silent_looks = looks

    def look(self, int ping_looks, int dead_looks):
        """Be looked at every few seconds: ask a silent client whether it is there.

        Args:
            ping_looks: after how many looks without a sign of life a ping is sent.
            dead_looks: after how many the connection is given up.
        """
        if self.ended.done() or self.transport.is_closing():
            return
        self.silent_looks += 1
        if self.silent_looks >= dead_looks:
            self.close(numbers.CLOSE_GOING_AWAY, "nothing was heard for too long")
            self.transport.abort()
        elif self.silent_looks % ping_looks == 0 and not self.is_closing:
            self.transport.write(PING)


def wire_over(
    transport, http, Py_ssize_t frame_bytes_max, Py_ssize_t login_bytes_max, double close_s,
):
    """Take a connection over from the protocol that has answered its handshake."""
    wire = SocketWire(transport, http, frame_bytes_max, login_bytes_max, close_s)
    transport.set_protocol(wire)
    return wire
