"""One connection: frames in order either way, and the knowledge that it is still alive.

What is sent in one turn of the event loop goes out in one frame, as far as a frame should be long.
A connection that is silent for too long counts as lost, whatever the system below says of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from pysignal.protocol.frames import FrameError, Incoming, messages_from
from pysignal.protocol.numbers import CLOSE_GOING_AWAY, CLOSE_NORMAL, CLOSE_POLICY
from pysignal.protocol.wire import Peer, Wire

log = logging.getLogger("pysignal")

# Makes a connection whose owner is the peer.
Dial = Callable[[Peer], Awaitable[Wire]]

# A frame is closed once it is longer than this; messages are never cut.
FRAME_BYTES: Final = 32 * 1024

# Silence is looked for this often; after one silent span the server is asked, after three it is
# given up: within a minute.
SILENCE_S: Final = 20.0
SILENT_SPANS_MAX: Final = 3

# How long the other side may take to close, before it is left alone.
CLOSE_S: Final = 1.0


class Owner(Protocol):
    """Whose connection it is."""

    def message(self, connection: Connection, message: Incoming) -> None:
        """Take a message."""

    def is_silent(self) -> None:
        """Ask the server for anything, to hear whether it is there."""


class Connection:
    """One connection, from its dialling to its end.

    Args:
        owner: takes its messages.

    Attributes:
        over: becomes the close code once nothing more comes of it.
    """

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[int] = self._loop.create_future()
        self._gone = asyncio.Event()
        self._wire: Wire | None = None
        self._out: list[bytes] = []
        self._is_scheduled = False
        self._is_paused = False
        self._silent_spans = 0
        self._silence: asyncio.TimerHandle | None = None

    def open(self, wire: Wire) -> None:
        """Begin to send and to listen.

        Args:
            wire: just dialled, with this connection as its peer.
        """
        self._wire = wire
        self._silence = self._loop.call_later(SILENCE_S, self._look)

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes of it."""
        return self.over.done()

    # -- out ---------------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """Send a message, with others of this turn of the event loop."""
        self._out.append(message)
        self._schedule()

    def _schedule(self) -> None:
        if not self._is_scheduled and not self._is_paused:
            self._is_scheduled = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits."""
        self._is_scheduled = False
        if self._wire is None or self.is_over or self._is_paused:
            return
        messages, self._out = self._out, []
        frame: list[bytes] = []
        size = 0
        for message in messages:
            if frame and size + len(message) > FRAME_BYTES:
                self._wire.send(_frame(frame))
                frame, size = [], 0
            frame.append(message)
            size += len(message)
        if frame:
            self._wire.send(_frame(frame))

    def paused(self) -> None:
        """Keep what is to be sent: the server reads too slowly."""
        self._is_paused = True

    def resumed(self) -> None:
        """Send again."""
        self._is_paused = False
        if self._out:
            self._schedule()

    # -- in ----------------------------------------------------------------------------------------

    def received(self, text: str) -> None:
        """Take a frame."""
        if self.is_over:
            return
        self._silent_spans = 0
        try:
            messages = messages_from(text)
        except FrameError as error:
            log.error("%s; is the server a newer one?", error)
            self.close(CLOSE_POLICY)
            return
        try:
            for message in messages:
                if self.over.done():
                    return
                self._owner.message(self, message)
        except ValueError as error:  # a FrameError, or a value that this version does not know
            log.error("%s; is the server a newer one?", error)
            self.close(CLOSE_POLICY)

    def _look(self) -> None:
        """Look whether anything has come of late."""
        self._silent_spans += 1
        if self._silent_spans >= SILENT_SPANS_MAX:
            self.close(CLOSE_GOING_AWAY)
            return
        self._silence = self._loop.call_later(SILENCE_S, self._look)
        if self._silent_spans > 1:
            self._owner.is_silent()

    # -- the end -----------------------------------------------------------------------------------

    def close(self, code: int = CLOSE_NORMAL) -> None:
        """Close, behind what was sent; nothing is taken any more."""
        if self.is_over:
            return
        self.flush()
        self._finish(code)
        if self._wire is None:
            self._gone.set()
        else:
            self._wire.close(code)

    def lost(self, code: int) -> None:
        """Note that the connection has ended."""
        self._finish(code)
        self._gone.set()

    def _finish(self, code: int) -> None:
        if self._silence is not None:
            self._silence.cancel()
        if not self.over.done():
            self.over.set_result(code)

    async def until_gone(self) -> None:
        """Wait until nothing of a closed connection is left, or for a moment."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._gone.wait()
        except TimeoutError:
            log.debug("a connection was not closed by the other side in time")


def _frame(messages: list[bytes]) -> bytes:
    return messages[0] if len(messages) == 1 else b"[" + b",".join(messages) + b"]"
