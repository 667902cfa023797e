"""The server: listens, lets connections in, and keeps the sessions of clients that are away."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections.abc import Callable
from typing import Final, Self

from aiohttp import web

from pysignal import text
from pysignal.clock import Clock
from pysignal.errors import HubClosed, InvalidParameter
from pysignal.hub import Hub
from pysignal.protocol.numbers import CLOSE_GOING_AWAY
from pysignal.protocol.params import LoginParams
from pysignal.protocol.wire import PatientWire
from pysignal.server.auth import Authenticator
from pysignal.server.connection import Connection
from pysignal.server.door import Door
from pysignal.server.outbox import Flusher, Outbox, Writer
from pysignal.server.session import Cursors, ServedSession
from pysignal.server.settings import Settings

# Sessions that the end of a server logs out in one turn of the loop.
ENDED_PER_TURN: Final = 32

# With the number of a request it is a request ID, which has at most 128.
CLIENT_BYTES_MAX: Final = 64


class Server:
    """A hub's door to the network. Start it once the hub is open, close it before the hub.

    Sessions of clients and sessions in this process meet in the hub as equals.

    Args:
        hub: open.
        authenticator: says who is who.
        settings: what is allowed, and how long the server waits.
        clock: tells the time by which tokens expire.

    Attributes:
        hub: the same.
        settings: the same.
        connections: those that are open.
    """

    def __init__(
        self,
        hub: Hub,
        authenticator: Authenticator,
        *,
        settings: Settings | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.hub = hub
        self.authenticator = authenticator
        self.settings = settings or Settings()
        self.clock = clock or Clock()
        self.connections: set[Connection] = set()
        self.sessions: dict[tuple[str, str], ServedSession] = {}
        self.cursors = Cursors(hub, secrets.token_hex(4))
        self._writer = Writer(lambda: hub.now_ms, self.cursors.begin)
        self._flusher = Flusher(asyncio.get_running_loop().call_soon)
        self._door = Door(self)
        self._is_closed = False

    # -- listening ---------------------------------------------------------------------------------

    async def start(
        self,
        *,
        host: str | None = None,
        port: int = 0,
        path: str | os.PathLike[str] | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        """Listen: on an address, on a unix socket, or on a socket that exists.

        Args:
            host: of the address; `"127.0.0.1"` where nothing is given.
            port: of the address, 0 for any that is free.
            path: of the unix socket.
            sock: bound already.

        Raises:
            OSError: the address is in use, or not ours.
            HubClosed: the hub is not open.
        """
        self.hub._require()
        await self._door.open(host, port, path, sock)

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return self._door.url

    @property
    def app(self) -> web.Application:
        """The aiohttp application, for an embedding server to add routes to before the start."""
        return self._door.app

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Stop listening, tell every client, and log their sessions out. Invitations stay."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._door.stop_listening()
        error = HubClosed("the server is closing: connect again")
        for number, session in enumerate(list(self.sessions.values()), 1):
            session.leave(error)
            if number % ENDED_PER_TURN == 0:
                await asyncio.sleep(0)
        for connection in list(self.connections):
            connection.end(error, CLOSE_GOING_AWAY)
        await self._door.close()

    # -- sessions ----------------------------------------------------------------------------------

    def connect(self, wire: PatientWire) -> Connection:
        """Let a connection in.

        Args:
            wire: its end on this side; the peer of it is what this returns.
        """
        connection = Connection(self, wire)
        self.connections.add(connection)
        return connection

    async def admit(self, params: LoginParams, user_id: str) -> tuple[ServedSession, bool]:
        """Find the session of a client that comes back, or log in a new one.

        Args:
            params: of the login.
            user_id: who it is, as the authenticator says.

        Returns:
            (session, whether it goes on as if nothing had happened).

        Raises:
            InvalidParameter, LimitExceeded, HubClosed, KickedOff, OutcomeUnknown.
        """
        self._require_open()
        user_id = text.user_id(user_id, "user_id")
        device_id = text.device_id(params.device_id, "device_id")
        client = text.device_id(params.client, "client")
        if len(client.encode()) > CLIENT_BYTES_MAX:
            raise InvalidParameter("client", f"at most {CLIENT_BYTES_MAX} bytes of UTF-8")
        number, position = self.cursors.read(params.cursor)
        old = self.sessions.get((user_id, device_id))
        if old is not None and old.client == client and old.online:
            is_there = number is not None and old.outbox.reaches(number)
            if number is not None and position is not None:
                old.outbox.acknowledge(number, position)
            if is_there and params.start == "hot":
                return old, True
            old.replace()
        session = ServedSession(self, user_id, device_id, client)
        try:
            await session.enter(params.start, position if params.start == "hot" else None)
        except BaseException:
            session._abandon()
            raise
        session.require_online()  # another login of the device may have come meanwhile
        try:
            self._require_open()
        except HubClosed as error:
            session.leave(error)
            raise
        self.sessions[user_id, device_id] = session
        return session, False

    def _require_open(self) -> None:
        if self._is_closed:
            raise HubClosed("the server is closing: connect again")

    def cursor_of(self, session: ServedSession) -> str:
        """The cursor of a session that has heard nothing yet."""
        return self._writer.cursor(session.outbox.lost, session._told)

    def forget(self, session: ServedSession) -> None:
        """Let go of a session that has ended."""
        key = session.user_id, session.device_id
        if self.sessions.get(key) is session:
            del self.sessions[key]

    def new_outbox(self, overflowed: Callable[[], None]) -> Outbox:
        """Make an outbox for a session."""
        settings = self.settings
        return Outbox(
            self._writer,
            self._flusher,
            overflowed,
            settings.history_max,
            settings.waiting_max,
            settings.waiting_bytes_max,
            round(settings.history_s * 1000),
        )
