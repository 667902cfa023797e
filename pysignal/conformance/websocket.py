"""The scenarios over the network: a server and its clients in this process, on real sockets.

The hub's time is virtual, that of the sockets is real. Everything has arrived when each client has
had an answer to `sync`, which comes behind all that the server had to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pysignal.client.session import RemoteSession
from pysignal.clock import VirtualClock
from pysignal.conformance.embedded import (
    GROUP_LISTENER,
    GROUP_OPERATIONS,
    SIGNALING_LISTENER,
)
from pysignal.conformance.scenario import Callback, Scenario, Start, user_and_device
from pysignal.conformance.transport import CannotRun, Recorder
from pysignal.hub import Hub
from pysignal.server.auth import Identity
from pysignal.server.server import Server
from pysignal.signaling import SignalingInfo


class _Believing:
    """Takes the name for the token: nobody but this process can connect in time."""

    def __init__(self, word: str) -> None:
        self._word = word

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        assert token == self._word
        return Identity(user_id, None)


class OverWebSocket:
    """Runs a scenario against a server in the same process; a `Transport`.

    Args:
        recorder: is told of every callback.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._clock = VirtualClock()
        self._hub = Hub(clock=self._clock, seed=1)
        self._server: Server | None = None
        self._sessions: dict[str, RemoteSession] = {}

    async def open(self, scenario: Scenario) -> None:
        """Begin with the scenario's groups."""
        if "message" in scenario.listen:
            raise CannotRun("this way has no messages")
        await self._hub.open()
        self._server = Server(self._hub, _Believing("word"))
        await self._server.start()
        for group in scenario.groups:
            owner = self._hub.acting_as(group.owner)
            await owner.groups.create_group(group.group_type, group.group_id)
            await self._hub.groups.add(group.group_id, group.members)

    async def login(self, session: str, start: Start) -> None:
        """Log a session in."""
        if start == "cold" or session not in self._sessions:
            assert self._server is not None
            user_id, device_id = user_and_device(session)
            made = RemoteSession(self._server.url, user_id, "word", device_id=device_id)

            def hear(callback: Callback) -> None:
                self._recorder.hear(session, callback)

            made.signaling.add_signaling_listener(SIGNALING_LISTENER(hear))
            made.groups.add_group_listener(GROUP_LISTENER(hear))
            self._sessions[session] = made
        await self._sessions[session].login(start)

    async def disconnect(self, session: str) -> None:
        """Log a session out."""
        await self._sessions[session].logout()

    async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
        """Carry out an operation as a session."""
        actor = self._sessions[session]
        if op == "add_invited_signaling":
            await actor.signaling.add_invited_signaling(SignalingInfo(**arguments["info"]))
            return None
        operations = actor.groups if op in GROUP_OPERATIONS else actor.signaling
        result: str | None = await getattr(operations, op)(**arguments)
        return result

    async def advance(self, seconds: float) -> None:
        """Move the virtual clock on."""
        await self._clock.advance(seconds)
        await self.settle()

    async def settle(self) -> None:
        """Wait until every client has heard all that there is to hear."""
        await self._clock.settle()
        for session in list(self._sessions.values()):
            if session.online:
                await session.sync()
        await self._clock.settle()

    async def fingerprint(self) -> object:
        """Let end what is due; return hashes of invitations and groups, and all counts."""
        await self._hub._perform(self._hub.shard.tick)
        await self.settle()
        counts = self._hub.stats()
        # Room for later calls, which a refused one may make, and the refusal itself, for a retry.
        del counts["memory_bytes"], counts["requests_remembered"]
        shard = self._hub.shard
        return shard.machine.state_hash(), shard.groups.state_hash(), counts

    async def close(self) -> None:
        """Log everybody out, and close server and hub."""
        for session in self._sessions.values():
            if session.online:
                await session.logout()
        if self._server is not None:
            await self._server.close()
        await self._hub.close()
