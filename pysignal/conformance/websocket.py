"""The scenarios over the network: a server and its clients in this process, on real sockets.

The hub's time is virtual, that of the sockets is real. Everything has arrived when each client has
had an answer to `sync`, which comes behind all that the server had to tell.
"""

from __future__ import annotations

from pysignal.client.session import RemoteSession
from pysignal.conformance.embedded import Embedded
from pysignal.conformance.scenario import Scenario
from pysignal.conformance.transport import Recorder
from pysignal.interface import Session as AnySession
from pysignal.server.auth import Identity
from pysignal.server.server import Server

_WORD = "word"


class _Believing:
    """Asks for nothing but a word: nobody but this process connects in time."""

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        assert token == _WORD
        return Identity(user_id, None)


class OverWebSocket(Embedded):
    """Runs a scenario against a server in the same process; a `Transport`.

    Args:
        recorder: is told of every callback.
    """

    # Beside room for later calls, a refusal is kept, for a client that asks again.
    _uncounted = ("memory_bytes", "requests_remembered")

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._server: Server | None = None

    async def open(self, scenario: Scenario) -> None:
        """Begin with the scenario's groups."""
        await super().open(scenario)
        self._server = Server(self._hub, _Believing())
        await self._server.start()

    def _made(self, user_id: str, device_id: str) -> AnySession:
        assert self._server is not None
        return RemoteSession(self._server.url, user_id, _WORD, device_id=device_id)

    async def advance(self, seconds: float) -> None:
        """Move the virtual clock on."""
        await super().advance(seconds)
        await self.settle()

    async def settle(self) -> None:
        """Wait until every client has heard all that there is to hear."""
        await super().settle()
        for session in list(self._sessions.values()):
            if isinstance(session, RemoteSession) and session.online:
                await session.sync()
        await super().settle()

    async def fingerprint(self) -> object:
        """Let end what is due; return hashes of invitations and groups, and all counts."""
        await self.settle()
        return await super().fingerprint()

    async def close(self) -> None:
        """Log everybody out, and close server and hub."""
        for session in self._sessions.values():
            if session.online:
                await session.logout()
        if self._server is not None:
            await self._server.close()
        await super().close()
