"""The embedded way: a hub in this process, under a virtual clock.

Each scenario has a hub of its own. Sessions are logged in as an application does it, with listeners
that report every callback; a cold login is a new session object, as a new process would make it, a
hot one is the same object again.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final

from pysignal.clock import VirtualClock
from pysignal.conformance.scenario import Callback, Scenario, Start, user_and_device
from pysignal.conformance.transport import CannotRun, Recorder
from pysignal.groups.callbacks import GroupListener
from pysignal.hub import Hub
from pysignal.interface import Session as AnySession
from pysignal.listeners import SignalingListener
from pysignal.signaling import SignalingInfo

GROUP_OPERATIONS: Final = frozenset({"quit_group", "kick_group_member", "dismiss_group"})


class Embedded:
    """Runs a scenario against a hub in the same process; a `Transport`.

    Args:
        recorder: is told of every callback.
    """

    # What a refused call may change: room for later calls.
    _uncounted: tuple[str, ...] = ("memory_bytes",)

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._clock = VirtualClock()
        # The same IDs each time, so that a failure can be looked at again.
        self._hub = Hub(clock=self._clock, seed=1)
        self._sessions: dict[str, AnySession] = {}

    async def open(self, scenario: Scenario) -> None:
        """Begin with the scenario's groups."""
        if "message" in scenario.listen:
            raise CannotRun("this way has no messages")
        await self._hub.open()
        for group in scenario.groups:
            owner = self._hub.acting_as(group.owner)
            await owner.groups.create_group(group.group_type, group.group_id)
            await self._hub.groups.add(group.group_id, group.members)

    async def login(self, session: str, start: Start) -> None:
        """Log a session in."""
        if start == "cold" or session not in self._sessions:
            made = self._made(*user_and_device(session))

            def hear(callback: Callback) -> None:
                self._recorder.hear(session, callback)

            made.signaling.add_signaling_listener(SIGNALING_LISTENER(hear))
            made.groups.add_group_listener(GROUP_LISTENER(hear))
            self._sessions[session] = made
        await self._sessions[session].login(start)

    def _made(self, user_id: str, device_id: str) -> AnySession:
        """Make a session that is not logged in yet."""
        return self._hub.session(user_id, device_id)

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

    async def settle(self) -> None:
        """Let the event loop run until nobody has anything to do at this time."""
        await self._clock.settle()

    async def fingerprint(self) -> object:
        """Let end what is due; return hashes of invitations and groups, and all counts."""
        await self._hub._perform(self._hub.shard.tick)
        await self._clock.settle()
        counts = self._hub.stats()
        for name in self._uncounted:
            del counts[name]
        shard = self._hub.shard
        return shard.machine.state_hash(), shard.groups.state_hash(), counts

    async def close(self) -> None:
        """Close the hub."""
        await self._hub.close()


def _recording(base: type) -> Any:
    """Make a listener class that reports each callback with its parameters by name."""
    methods: dict[str, Any] = {"__init__": _keep_hear}
    for name, method in vars(base).items():
        # The event object has no counterpart in the scenarios: it says the same once more.
        if name.startswith("on_") and not name.startswith("on_signaling_event"):
            methods[name] = _reporter(name, [*inspect.signature(method).parameters][1:])
    return type(f"Recording{base.__name__}", (base,), methods)


def _keep_hear(listener: Any, hear: Callable[[Callback], None]) -> None:
    listener.hear = hear


def _reporter(name: str, parameters: list[str]) -> Callable[..., None]:
    def report(listener: Any, *values: Any) -> None:
        listener.hear({"on": name, **dict(zip(parameters, values, strict=True))})

    return report


SIGNALING_LISTENER: Final = _recording(SignalingListener)
GROUP_LISTENER: Final = _recording(GroupListener)
