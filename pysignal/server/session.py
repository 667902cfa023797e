"""Served sessions: sessions of a hub whose listener is a client far away.

A served session outlives its connections. While a client is away, up to the resume window, it is
online to the hub, and its outbox keeps what the client misses; then it goes offline, and what the
client has not acknowledged counts as not told (SPEC §7).
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from pysignal.engine.facts import Event
from pysignal.errors import KickedOff, NotLoggedIn, SignalingError
from pysignal.hub import Hub
from pysignal.protocol.numbers import CLOSE_GOING_AWAY, CLOSE_KICKED
from pysignal.receivers import Call
from pysignal.session import Session, Start

if TYPE_CHECKING:
    from pysignal.server.connection import Connection
    from pysignal.server.outbox import Outbox
    from pysignal.server.server import Server

# Hexadecimal numbers of 64 bits.
_CURSOR: Final = re.compile(r"([0-9a-f]{16})-([0-9a-f]{1,16})-([0-9a-f]{1,16})", re.ASCII)


class ServedSession(Session):
    """One device of a user, far away.

    Args:
        server: whose door it came through.
        user_id: the user.
        device_id: the device.
        client: the name that the client has made up for itself.

    Attributes:
        client: the same.
        outbox: what it is sent, and what is kept for it.
        connection: the one of now, or None.
    """

    def __init__(self, server: Server, user_id: str, device_id: str, client: str) -> None:
        super().__init__(server.hub, user_id, device_id)
        self.client = client
        self.connection: Connection | None = None
        self._server = server
        self._window: asyncio.TimerHandle | None = None
        self.outbox: Outbox = server.new_outbox(self._overflowed)
        self._streams = [self.outbox]

    async def enter(self, start: Start, told: int | None) -> None:
        """Log in to the hub.

        Args:
            start: as in `Session.login`.
            told: commit position up to which the client has heard everything, where it knows.
        """
        await self.hub._log_in(self, start == "cold", told)
        self.outbox.position = self._told

    def require_online(self) -> None:
        """Raise why the session is not online any more, if it is not."""
        if not self.online:
            raise (self._end or NotLoggedIn("the session has ended")).again()

    # -- connections -------------------------------------------------------------------------------

    def attach(self, connection: Connection) -> None:
        """Go on over a connection; an older one, which may not know that it is dead, is closed."""
        older, self.connection = self.connection, connection
        if older is not None:
            older.replaced()
        if self._window is not None:
            self._window.cancel()
            self._window = None
        self.outbox.attach(connection.wire)

    def detach(self, connection: Connection) -> None:
        """Note that a connection has ended; the client has until the end of the window."""
        if self.connection is not connection:
            return
        self.connection = None
        self.outbox.detach()
        self.keep_for_a_while()

    def keep_for_a_while(self) -> None:
        """Give the client the window, though no connection has it."""
        if self.connection is None and self._window is None and self.online:
            window_s = self._server.settings.resume_window_s
            self._window = asyncio.get_running_loop().call_later(window_s, self._give_up)

    def replace(self) -> None:
        """Make room for a new session of the same client, which cannot go on with this one."""
        connection, self.connection = self.connection, None
        self.leave(NotLoggedIn("the client has logged in anew"))
        if connection is not None:
            connection.replaced()

    def _give_up(self) -> None:
        self.leave(NotLoggedIn("the client did not come back in time"))

    def leave(self, error: SignalingError) -> None:
        """Go offline, if the hub has not seen to that."""
        if self.online and self.hub.is_open:
            self.hub._log_out(self, error)

    def _overflowed(self) -> None:
        if self.connection is not None:
            self.connection.too_slow()

    # -- called by the hub -------------------------------------------------------------------------

    def _call_back(self, call: Call) -> None:
        self.outbox.put_call(call)

    def _close_courier(self) -> list[Event]:
        """What the client has not acknowledged: it counts as not told."""
        return [*super()._close_courier(), *self.outbox.untaken()]

    def _doubtful(self) -> dict[str, int]:
        openings = (event for event in self.outbox.untaken() if event.kind == "opened")
        return {event.invite_id: event.position for event in openings}

    def _heard_up_to(self) -> int | None:
        return self.outbox.position if self.outbox.is_short else None

    def _ended(self, error: SignalingError, callback: str = "") -> None:
        super()._ended(error, callback)
        if self._window is not None:
            self._window.cancel()
            self._window = None
        self._server.forget(self)
        if self.connection is not None:
            kicked = isinstance(error, KickedOff)
            self.connection.end(error, CLOSE_KICKED if kicked else CLOSE_GOING_AWAY)


class Cursors:
    """Reads how far a client has come: message and commit position, and in which history.

    Args:
        history: stands for what the hub's journal tells.
        run: stands for this run of the server.
    """

    __slots__ = ("history", "run")

    def __init__(self, hub: Hub, run: str) -> None:
        self.history = f"{hub._history:08x}"
        self.run = run

    @property
    def begin(self) -> str:
        """How each cursor of this run begins."""
        return f"{self.history}{self.run}"

    def read(self, cursor: str | None) -> tuple[int | None, int | None]:
        """Return (message, commit position) of a cursor; None where it says nothing here."""
        parts = _CURSOR.fullmatch(cursor or "")
        if parts is None or not parts[1].startswith(self.history):
            return None, None
        number, position = int(parts[2], 16), int(parts[3], 16)
        return (number if parts[1] == self.begin else None), position
