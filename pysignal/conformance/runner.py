"""Runs a scenario over a way, and says where it went otherwise than expected.

Everything is let arrive after each step, so what was heard belongs to the step before. A scenario
must have an `expect` right after each step that is heard; so whatever has been heard when another
step follows, or none, was heard by mistake. A refused call must not be heard at all.

The runner keeps a record of every invitation that it has opened. It stands behind the names that
scenarios save, it is where an invitation learned from a push comes from, and it knows which two
deadlines fall on the same millisecond and so may fire in either order.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final, NoReturn

from pysignal.conformance import report
from pysignal.conformance.scenario import (
    OPENING,
    Advance,
    Callback,
    Disconnect,
    Do,
    Expect,
    Login,
    Scenario,
    Step,
    user_and_device,
)
from pysignal.conformance.transport import CannotRun, Inspectable, Transport, Way

# Real seconds after which a scenario is given up: nothing in it waits for a real clock.
PATIENCE_S: Final = 60.0

INVITE_ID_LENGTH_MAX: Final = 64
TIMEOUT_DEFAULT_S: Final = 30

SIGNALING: Final = frozenset(
    {
        "on_receive_new_invitation",
        "on_invitee_accepted",
        "on_invitee_rejected",
        "on_invitation_cancelled",
        "on_invitation_timeout",
        "on_invitation_modified",
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """What went otherwise than a scenario says.

    Attributes:
        scenario: the scenario.
        step: its number, from 1; 0 before the first one.
        reason: what is wrong, in a few words.
        lines: expected and heard, for people.
    """

    scenario: Scenario
    step: int
    reason: str
    lines: tuple[str, ...] = ()


class _Failed(Exception):
    def __init__(self, reason: str, lines: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.reason, self.lines = reason, tuple(lines)


@dataclass(frozen=True, slots=True)
class _Opened:
    """The runner's record of a call that opened an invitation; ms from the scenario's start."""

    inviter: str
    group_id: str
    invitees: tuple[str, ...]
    data: str
    timeout_ms: int
    deadline_ms: int | None

    def info(self, invite_id: str) -> dict[str, Any]:
        """Return the invitation as a push would tell of it."""
        return {
            "invite_id": invite_id,
            "inviter": self.inviter,
            "group_id": self.group_id,
            "invitee_list": list(self.invitees),
            "data": self.data,
            "timeout": -(-self.timeout_ms // 1000),
            "action_type": 1,
        }


class Heard:
    """What each session has heard since it was last asked; the `Recorder` of the runner.

    Args:
        listen: which callbacks count: some of signaling, group and message.
    """

    def __init__(self, listen: frozenset[str]) -> None:
        self._listen = listen
        self._callbacks: dict[str, list[Callback]] = {}

    def hear(self, session: str, callback: Callback) -> None:
        """Note a callback, as it is now, if it counts."""
        if _kind(callback["on"]) in self._listen:
            self._callbacks.setdefault(session, []).append(copy.deepcopy(callback))

    def take(self) -> dict[str, list[Callback]]:
        """Return all callbacks by session, and forget them."""
        taken, self._callbacks = self._callbacks, {}
        return taken


def _kind(name: str) -> str:
    if name in SIGNALING:
        return "signaling"
    if name == "on_signaling_event":
        return ""
    return "message" if name.startswith("on_recv_") else "group"


async def run(scenario: Scenario, way: Way) -> Failure | None:
    """Run one scenario; returns what went wrong first, None if nothing did."""
    heard = Heard(scenario.listen)
    try:
        transport = way(heard)
    except Exception as error:
        return Failure(scenario, 0, f"the way cannot be made: {report.error(error)}")
    running = _Run(scenario, transport, heard)
    failure = await _failure_of(running.all_steps(), running)
    failure_to_close = await _failure_of(transport.close(), running)
    return failure or failure_to_close


async def _failure_of(work: Coroutine[Any, Any, None], running: _Run) -> Failure | None:
    """Wait for a part of a run; whatever it raises is a failure of the scenario."""
    patience = asyncio.timeout(PATIENCE_S)
    lines: tuple[str, ...] = ()
    try:
        async with patience:
            await work
        return None
    except _Failed as error:
        reason, lines = error.reason, error.lines
    except CannotRun as error:
        reason = str(error)
    except Exception as error:
        reason = f"raised {report.error(error)}"
        if patience.expired():
            reason = f"has not come to an end within {PATIENCE_S:g} real seconds"
    return Failure(running.scenario, running.step, reason, lines)


class _Run:
    """One scenario on its way. `step` is the number of the step it has come to."""

    def __init__(self, scenario: Scenario, transport: Transport, heard: Heard) -> None:
        self.scenario = scenario
        self.step = 0
        self._transport = transport
        self._heard = heard
        self._elapsed_s = 0.0
        self._saved: dict[str, str] = {}
        self._opened: dict[str, _Opened] = {}

    async def all_steps(self) -> None:
        """Go through the scenario; raises at the first thing that is not as it says."""
        await self._transport.open(self.scenario)
        for session in self.scenario.sessions:
            await self._transport.login(session, "cold")
        steps = self.scenario.steps
        await self._settle_after(steps[0] if steps else None)
        for index, step in enumerate(steps):
            self.step = index + 1
            following = steps[index + 1] if self.step < len(steps) else None
            match step:
                case Do():
                    await self._do(step)
                case Advance():
                    await self._transport.advance(step.seconds)
                    self._elapsed_s += step.seconds
                case Disconnect():
                    await self._transport.disconnect(step.session)
                case Login():
                    await self._transport.login(step.session, step.start)
                case Expect():
                    self._compare(step.heard, "heard otherwise than expected")
            await self._settle_after(following)

    async def _settle_after(self, following: Step | None) -> None:
        """Let everything arrive; unless an `expect` follows, nothing may have been heard."""
        await self._transport.settle()
        if not isinstance(following, Expect):
            self._compare({}, "heard, though no expect follows")

    # -- calls -------------------------------------------------------------------------------------

    async def _do(self, step: Do) -> None:
        arguments = self._arguments(step)
        if step.error is not None:
            await self._do_refused(step, step.error, arguments)
            return
        try:
            result = await self._transport.call(step.by, step.op, arguments)
        except Exception as error:
            self._fail_call("a call that succeeds", report.error(error))
        if step.op in OPENING:
            self._note_opened(step, arguments, result)

    async def _do_refused(self, step: Do, code: int, arguments: dict[str, Any]) -> None:
        """Make a call that must be refused, and must leave everything as it was."""
        before = await self._fingerprint()
        try:
            await self._transport.call(step.by, step.op, arguments)
        except Exception as error:
            if getattr(error, "code", None) != code:
                self._fail_call(f"refused with {code}", report.error(error))
        else:
            self._fail_call(f"refused with {code}", "the call succeeded")
        await self._transport.settle()
        self._compare({}, "the call was refused, and yet heard")
        if await self._fingerprint() != before:
            raise _Failed(
                "the call was refused, and yet has changed something",
                report.versus("nothing has changed", "the engine's state is another"),
            )

    async def _fingerprint(self) -> object:
        if isinstance(self._transport, Inspectable):
            return await self._transport.fingerprint()
        return None

    def _fail_call(self, expected: str, heard: str) -> NoReturn:
        raise _Failed("answered otherwise than expected", report.versus(expected, heard))

    def _arguments(self, step: Do) -> dict[str, Any]:
        arguments: dict[str, Any] = self._resolve(step.arguments)
        if step.op != "add_invited_signaling":
            return arguments
        invite_id = arguments["invite_id"]
        opened = self._opened.get(invite_id) if isinstance(invite_id, str) else None
        if opened is None:
            # Nobody knows the ID, so anything that looks like an invitation of the actor will do.
            user, _ = user_and_device(step.by)
            opened = _Opened("somebody", "", (user,), "", 30_000, None)
        return {"info": opened.info(invite_id)}

    def _note_opened(self, step: Do, arguments: dict[str, Any], result: object) -> None:
        """Keep the record of an invitation, by the ID that the call has returned."""
        if (
            not isinstance(result, str)
            or not 0 < len(result) <= INVITE_ID_LENGTH_MAX
            or not result.isascii()
        ):
            self._fail_call(
                f"an invite ID, 1 to {INVITE_ID_LENGTH_MAX} ASCII characters",
                f"{result!r:.100} was returned",
            )
        if result in self._opened:
            self._fail_call("an invite ID of its own", "that of an earlier invitation")
        user, _ = user_and_device(step.by)
        invitees = arguments["invitee_list" if step.op == "invite_in_group" else "invitee"]
        if isinstance(invitees, str):
            invitees = [invitees]
        timeout_s = arguments.get("timeout", TIMEOUT_DEFAULT_S)
        timeout_ms = max(round(timeout_s * 1000), 1) if timeout_s > 0 else 0
        self._opened[result] = _Opened(
            inviter=user,
            group_id=arguments.get("group_id", ""),
            invitees=tuple(dict.fromkeys(invitees)),
            data=arguments.get("data") or "",
            timeout_ms=timeout_ms,
            deadline_ms=round(self._elapsed_s * 1000) + timeout_ms if timeout_ms else None,
        )
        if step.save is not None:
            self._saved[step.save] = result

    def _resolve(self, value: Any) -> Any:
        """Put IDs in place of the saved names; a `$` that isn't one of them is just a text."""
        if isinstance(value, str):
            return self._saved.get(value[1:], value) if value.startswith("$") else value
        if isinstance(value, list):
            return [self._resolve(item) for item in value]
        if isinstance(value, dict):
            return {key: self._resolve(item) for key, item in value.items()}
        return value

    # -- what was heard ----------------------------------------------------------------------------

    def _compare(self, expected: Mapping[str, list[Callback]], reason: str) -> None:
        """Compare with all that was heard since the last time; order counts within a session."""
        wanted: dict[str, list[Callback]] = self._resolve(dict(expected))
        heard = self._heard.take()
        sessions = [*self.scenario.sessions, *(set(heard) - set(self.scenario.sessions))]
        different = {
            session: (wanted.get(session, []), heard.get(session, []))
            for session in sessions
            if not self._alike(wanted.get(session, []), heard.get(session, []))
        }
        if different:
            names = {invite_id: f"${name}" for name, invite_id in self._saved.items()}
            raise _Failed(reason, report.differences(different, names))

    def _alike(self, expected: list[Callback], heard: list[Callback]) -> bool:
        return identical(self._ordered(expected), self._ordered(heard))

    def _ordered(self, callbacks: list[Callback]) -> list[Callback]:
        """Bring timeouts of the same millisecond that stand in a row into one order."""
        ordered: list[Callback] = []
        for deadline_ms, run_of in groupby(callbacks, self._deadline_ms):
            row = list(run_of)
            if deadline_ms is not None:
                row.sort(key=lambda callback: str(callback.get("invite_id")))
            ordered += row
        return ordered

    def _deadline_ms(self, callback: Callback) -> int | None:
        if callback.get("on") != "on_invitation_timeout":
            return None
        opened = self._opened.get(str(callback.get("invite_id")))
        return None if opened is None else opened.deadline_ms


def identical(one: Any, other: Any) -> bool:
    """Whether two values of JSON are the same; unlike `==`, true is not 1, nor a list a tuple."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(identical(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
