"""The door: HTTP, the handshake, and the sockets that are listened on (aiohttp)."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from aiohttp import web

from pysignal.protocol.numbers import PATH, SUBPROTOCOL
from pysignal.server.socket_wire import SocketWire, wire_over

if TYPE_CHECKING:
    from pysignal.server.server import Server

# Looks at each connection between two pings.
LOOKS_PER_PING: Final = 5

# Connections that are looked at in one turn of the loop.
LOOKED_AT_PER_TURN: Final = 64

# Connections that wait for the handshake.
BACKLOG: Final = 1024


class Door:
    """Lets WebSockets in to a server.

    Args:
        server: takes each connection once its handshake is answered.

    Attributes:
        app: the aiohttp application.
        url: where clients connect to; `""` before it listens.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._wires: set[SocketWire] = set()
        self._runner: web.AppRunner | None = None
        self._sites: list[web.BaseSite] = []
        self._looking: asyncio.TimerHandle | None = None
        self.url = ""
        self.app = web.Application()
        self.app.router.add_get(PATH, self._enter)

    async def open(
        self,
        host: str | None,
        port: int,
        path: str | os.PathLike[str] | None,
        sock: socket.socket | None,
    ) -> None:
        """Listen; see `Server.start`."""
        if self._runner is None:
            # Whoever sends no whole request in time is sent away, as who does not log in.
            self._runner = web.AppRunner(
                self.app,
                access_log=None,
                handle_signals=False,
                keepalive_timeout=self._server.settings.login_s,
            )
            await self._runner.setup()
            self._look_again()
        site: web.BaseSite
        if path is not None:
            where = _absolute(path)
            await _refuse_if_served(where)
            site = web.UnixSite(self._runner, where, backlog=BACKLOG)
            url = f"unix://{quote(where)}"
        elif sock is not None:
            site = web.SockSite(self._runner, sock, backlog=BACKLOG)
            url = _url_of(sock)
        else:
            sock = _bound(host or "127.0.0.1", port)
            site = web.SockSite(self._runner, sock, backlog=BACKLOG)
            url = _url_of(sock)
        await site.start()
        self._sites.append(site)
        self.url = self.url or url

    async def stop_listening(self) -> None:
        """Let nobody in any more."""
        for site in self._sites:
            await site.stop()
        self._sites = []

    async def close(self) -> None:
        """Wait until the connections have ended, for as long as they may take."""
        if self._looking is not None:
            self._looking.cancel()
        if self._wires:
            endings = [wire.ended for wire in self._wires]
            await asyncio.wait(endings, timeout=self._server.settings.close_s)
        for wire in list(self._wires):
            wire.abort()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _enter(self, request: web.Request) -> web.StreamResponse:
        """Answer a handshake, and hand the connection over."""
        offered = request.headers.getall("Sec-WebSocket-Protocol", [])
        if SUBPROTOCOL not in {name.strip() for each in offered for name in each.split(",")}:
            raise web.HTTPBadRequest(
                text=f"Offer the subprotocol {SUBPROTOCOL} in Sec-WebSocket-Protocol.\n"
            )
        response = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False, autoping=False)
        await response.prepare(request)
        if request.transport is None:  # it has ended meanwhile
            return response
        settings = self._server.settings
        wire = wire_over(
            request.transport,
            request.protocol,
            settings.frame_bytes_max,
            # With the headers of frames; what comes in the same packet is not the client's fault.
            2 * settings.login_frame_bytes_max,
            settings.close_s,
        )
        wire.begin_at(len(self._wires) % LOOKS_PER_PING)
        wire.peer = self._server.connect(wire)
        self._wires.add(wire)
        try:
            await wire.ended
        finally:
            self._wires.discard(wire)
        return response

    def _look_again(self) -> None:
        """Look at every connection now and then."""
        settings = self._server.settings
        every_s = settings.ping_s / LOOKS_PER_PING
        self._looking = asyncio.get_running_loop().call_later(every_s, self._look_again)
        self._look_at(list(self._wires), max(round(settings.dead_s / every_s), LOOKS_PER_PING + 1))

    def _look_at(self, wires: list[SocketWire], dead_looks: int) -> None:
        """Look at some, and at the others in the turns that follow."""
        for wire in wires[-LOOKED_AT_PER_TURN:]:
            wire.look(LOOKS_PER_PING, dead_looks)
        del wires[-LOOKED_AT_PER_TURN:]
        if wires:
            asyncio.get_running_loop().call_soon(self._look_at, wires, dead_looks)


def _absolute(path: str | os.PathLike[str]) -> str:
    return str(Path(path).absolute())


async def _refuse_if_served(path: str) -> None:
    """Take no unix socket away from a server that answers on it."""
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return  # nobody is there, or nothing
    writer.close()
    raise OSError(errno.EADDRINUSE, f"another server listens on {path}: choose another path")


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to an address."""
    [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind(address)
    except OSError:
        sock.close()
        raise
    return sock


def _url_of(sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        return f"unix://{sock.getsockname()}"
    host, port = sock.getsockname()[:2]
    return f"ws://[{host}]:{port}{PATH}" if ":" in host else f"ws://{host}:{port}{PATH}"
