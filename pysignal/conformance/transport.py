"""The contract between the runner and a way into an engine.

A way is anything that takes calls and tells what was heard: a hub in the same process, a client
over a network, another SDK behind a pipe. The runner knows scenarios and compares; a way knows how
to log in, how to call and how time passes there. It is a class that is made with a `Recorder`, once
for each scenario, and then used as `Transport` says:

    class MySdk:
        def __init__(self, recorder): ...
        async def open(self, scenario): ...
        ...

    python -m pysignal.conformance --over mypackage.conformance:MySdk
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from pysignal.conformance.scenario import Callback, Scenario, Start


class CannotRun(Exception):
    """Raised by `Transport.open`: this way lacks what the scenario needs. The message says what."""


class Recorder(Protocol):
    """Who is told what the sessions hear."""

    def hear(self, session: str, callback: Callback) -> None:
        """Note that a session's listener was called.

        Args:
            session: as the scenario calls it.
            callback: `{"on": name, …}` with every parameter under the name that the listener's
                interface gives it. What the scenario does not listen to is left out here, so a way
                may report everything.
        """


class Transport(Protocol):
    """A way into an engine, for one scenario. It stands still except while it is awaited."""

    async def open(self, scenario: Scenario) -> None:
        """Begin: an engine of its own at time 0, in which the scenario's groups exist.

        Raises:
            CannotRun: this way lacks what the scenario needs.
        """

    async def login(self, session: str, start: Start) -> None:
        """Log a session in, with a listener; called for each right after `open`, then for steps.

        Args:
            session: as the scenario calls it; see `user_and_device`.
            start: `"cold"` for a new process, `"hot"` for the same device coming back.
        """

    async def disconnect(self, session: str) -> None:
        """End a session, without a way to resume it. Later calls as it are refused (6014)."""

    async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
        """Carry out an operation as a session, logged in or not.

        Args:
            session: the actor.
            op: `invite`, `invite_in_group`, `accept`, `reject`, `cancel`, `modify_invitation`,
                `add_invited_signaling`, `quit_group`, `kick_group_member` or `dismiss_group`.
            arguments: by name, as the scenario has them, of any type; what is left out has its
                default. `add_invited_signaling` has only `info`: a mapping of invite_id, inviter,
                group_id, invitee_list, data, timeout (whole seconds) and action_type.

        Returns:
            The invite ID where an invitation was opened, else None.

        Raises:
            Exception: a refusal, with the number of the error as `code`.
        """

    async def advance(self, seconds: float) -> None:
        """Move time on by 0 or more seconds; what falls due happens, in order of deadline."""

    async def settle(self) -> None:
        """Let everything arrive that is on its way, and be acknowledged, without moving time."""

    async def close(self) -> None:
        """End, also after an `open` that failed halfway."""


@runtime_checkable
class Inspectable(Protocol):
    """A way that can also tell whether a refused call has changed something in the engine."""

    async def fingerprint(self) -> object:
        """Let end what is due, and return a value that is equal as long as nothing has changed."""


# Makes a transport for one scenario.
Way = Callable[[Recorder], Transport]
