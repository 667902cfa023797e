"""A call that comes where more is due than one slice ends waits for all of it, then counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from ears import Ear, join

from pysignal import Clock, Hub, Limits, SignalingInfo, VirtualClock
from pysignal.shard import MORE

pytestmark = pytest.mark.anyio

DUE = 5


class LateClock(VirtualClock):
    """A clock whose timers have not run yet, however late it is."""

    def pass_by(self, milliseconds: int) -> None:
        """Let time pass, and nothing else."""
        self._now_ms += milliseconds


@pytest.fixture
def clock() -> LateClock:
    return LateClock()


CALLS: dict[str, Callable[[Hub, Any, str], Any]] = {
    "login": lambda hub, amy, asked: hub.login("cy"),
    "invite": lambda hub, amy, asked: amy.signaling.invite("bob"),
    "invite_in_group": lambda hub, amy, asked: amy.signaling.invite_in_group("g", ["bob"]),
    "accept": lambda hub, amy, asked: hub.accept_as("cy", asked),
    "open_invitations": lambda hub, amy, asked: amy.signaling.open_invitations("g"),
    "invitation": lambda hub, amy, asked: hub.invitation(asked),
    "pending": lambda hub, amy, asked: hub.pending("cy"),
    "remove": lambda hub, amy, asked: hub.groups.remove("g", ["bob"]),
    "put": lambda hub, amy, asked: hub.groups.put("new", ["bob"]),
    "add_invited_signaling": lambda hub, amy, asked: amy.signaling.add_invited_signaling(
        SignalingInfo(asked, "bob", "", ["amy", "cy"])
    ),
}


@pytest.mark.parametrize("name", list(CALLS))
async def test_all_that_is_due_ends_before_a_call(
    hub: Hub, clock: LateClock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.shard.STEPS_MAX", 1)
    await hub.groups.put("g", ["amy", "bob", "cy"])
    asked = await hub.invite_as("bob", ["amy", "cy"], timeout=60, online_user_only=True)
    amy, ear = await join(hub, "amy")
    for _ in range(DUE):
        await hub.invite_as("bob", "amy", timeout=1)
    await clock.settle()
    ear.take()
    clock.pass_by(1000)
    await CALLS[name](hub, amy, asked)
    assert hub.stats()["invitees_timed_out"] == DUE
    await clock.settle()
    assert [heard[0] for heard in ear.take()][:DUE] == ["invitation_timeout"] * DUE


@pytest.mark.parametrize("limits", [Limits(open_max=DUE, ended_max=0)])
async def test_what_is_due_makes_room_in_a_full_table(
    hub: Hub, clock: LateClock, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.shard.STEPS_MAX", 1)
    for _ in range(DUE):
        await hub.invite_as("bob", "amy", timeout=1)
    clock.pass_by(1000)
    await hub.invite_as("bob", "amy", timeout=1)
    assert (hub.stats()["open"], hub.stats()["invitees_timed_out"]) == (1, DUE)


async def test_what_is_due_and_fails_in_its_turn_is_logged_and_ends_later(
    hub: Hub,
    clock: LateClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("pysignal.shard.STEPS_MAX", 2)
    _, ear = await join(hub, "bob")
    for _ in range(DUE):
        await hub.invite_as("bob", "amy", timeout=1)
    await clock.settle()
    tick, results = hub.shard.tick, [MORE, MemoryError("once")]

    def failing(now_ms: int) -> Any:
        if not results:
            return tick(now_ms)
        result = results.pop(0)
        if isinstance(result, MemoryError):
            raise result
        return result

    monkeypatch.setattr(hub.shard, "tick", failing)
    await clock.advance(1)
    await clock.advance(1)
    assert results == []
    assert [record.getMessage() for record in caplog.records] == [
        "what was due could not be carried out"
    ]
    heard = [call[0] for call in ear.take() if call[0] == "invitation_timeout"]
    assert heard == ["invitation_timeout"] * DUE


async def test_what_a_group_has_open_is_found_and_ended_in_slices(
    hub: Hub, clock: LateClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.shard.STEPS_MAX", 1)
    await hub.groups.put("g", ["amy", "bob"])
    amy, ear = await join(hub, "amy")
    opened = [await hub.invite_in_group_as("bob", "g", ["amy"]) for _ in range(DUE)]
    found = await amy.signaling.open_invitations("g")
    assert [info.invite_id for info in found] == opened
    await clock.settle()
    ear.take()
    await hub.groups.dismiss("g")
    await clock.settle()
    assert [call[:2] for call in ear.take()] == [("invitation_cancelled", name) for name in opened]
    assert hub.stats()["open"] == 0


async def test_a_timer_that_comes_after_the_end_of_the_hub_does_nothing() -> None:
    calls: list[Callable[[], None]] = []

    class Uncancelled:
        def cancel(self) -> None:
            """Too late."""

    class Careless(Clock):
        def call_at(self, when_ms: int, call: Callable[[], None]) -> Uncancelled:
            calls.append(call)
            return Uncancelled()

    ear = Ear()
    async with Hub(clock=Careless()) as hub:
        await hub.login("amy", listener=ear)
        await hub.invite_as("bob", "amy", timeout=30)
        for _ in range(3):
            await asyncio.sleep(0)
    heard = ear.take()
    assert calls
    for call in calls:
        call()
    assert (heard[0][0], ear.take()) == ("receive_new_invitation", [])
