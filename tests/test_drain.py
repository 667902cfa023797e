"""After everything has ended and was forgotten, memory and counters are back at the start (E4).

What a machine or a hub holds is counted object by object, as the garbage collector sees it. Chunks
of tables are kept for what comes next, so it is the second round that must add nothing; what a
round holds by name (users, invitations, request IDs, devices, texts) must be gone after the first.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections import Counter
from types import FunctionType, ModuleType
from typing import Any

import pytest
from conftest import assert_runs_empty
from ears import join
from machine_talk import START_MS, make
from scale import scaled

from pysignal import Hub, Limits, Session, SignalingError, SignalingListener, VirtualClock
from pysignal.engine.machine import Machine

DAY_S = 86_400

# More than the events that a hub keeps for handles which begin to follow late.
RECENT = 1024


# Code, and numbers: small ones are shared, so that how many there are says nothing.
LEFT_OUT = (type, ModuleType, FunctionType, int, float)


def census(root: Any) -> Counter[str]:
    """Count what can be reached from an object, by type: what it has itself, not the code of it."""
    seen = {id(root)}
    waiting = [root]
    found: Counter[str] = Counter()
    while waiting:
        here = waiting.pop()
        found[type(here).__qualname__] += 1
        for other in gc.get_referents(here):
            if id(other) not in seen and not isinstance(other, LEFT_OUT):
                seen.add(id(other))
                waiting.append(other)
    return found


def assert_only_ours_refers_to(texts: list[str]) -> None:
    """Nobody but the list, and the loop that asks, may hold one of the texts."""
    gc.collect()
    held = [text for text in texts if sys.getrefcount(text) > 3]
    assert not held


class TestMachine:
    """A machine by itself, without a journal and with one."""

    def play(self, machine: Machine, now_ms: int, size: int, texts: list[str]) -> None:
        """Open and end invitations of each kind in each way; some are left to their deadlines."""

        def text(what: str) -> str:
            texts.append(f"{what} {now_ms} {len(texts)}")
            return texts[-1]

        for i in range(size):
            users = [f"user-{now_ms}-{i}-{k}" for k in range(20)]
            group = f"group-{now_ms}-{i}"
            ids = [
                machine.open(now_ms, users[0], users[1], text("one"), 50),
                machine.open(now_ms, users[0], users[1:], text("list"), 50),
                machine.open(now_ms, users[0], users[1:4], text("group"), 0, group_id=group),
                machine.open(now_ms, users[1], users[2:5], text("left"), group_id=group),
                machine.open(now_ms, users[0], [], text("nobody"), group_id=group),
            ]
            machine.hold(users[0])
            machine.accept(now_ms, ids[i % 3], users[1], text("yes"))
            machine.reject(now_ms, ids[1 + i % 2], users[2], text("no"))
            if i % 4 == 0:
                machine.modify(now_ms, ids[2], users[0], text("new"))
            if i % 4 == 1:
                machine.cancel(now_ms, ids[1], users[0], text("stop"))
            if i % 4 == 2:
                machine.leave(now_ms, users[1], group)
            if i % 4 == 3:
                machine.dismiss(now_ms, group)
            machine.mark_told(now_ms, ids[1], users[3]) if i % 4 != 1 else None
            machine.unhold(users[0])

    @pytest.mark.parametrize("journaled", [False, True], ids=["bare", "journaled"])
    def test_when_all_is_forgotten_a_machine_holds_what_it_held_before(
        self, journaled: bool
    ) -> None:
        machine = make(journaled=journaled, ended_max=100)
        texts: list[str] = []
        size = scaled(400, at_least=40)
        after: list[tuple[dict[str, int], Counter[str]]] = []
        for _ in range(3):
            self.play(machine, machine.now_ms, size, texts)
            assert machine.stats()["users"] > size
            assert_runs_empty(machine)
            assert_only_ours_refers_to(texts)
            stats = machine.stats()
            assert stats["groups"] == 0
            assert stats["invitees_waiting"] == 0
            after.append((stats, census(machine)))
            for name in ("position", "invitations", *filter(ends_count, stats)):
                del stats[name]  # those count what has ever been
        assert after[1] == after[2]
        assert after[0][0] == after[1][0]

    def test_a_machine_that_is_dropped_gives_back_every_text(self) -> None:
        texts: list[str] = []
        machine = make(journaled=True)
        self.play(machine, START_MS, 8, texts)
        machine.records()
        machine.take(machine.position // 2)
        del machine
        assert_only_ours_refers_to(texts)


def ends_count(name: str) -> bool:
    """Whether a figure of `stats` counts ends, which only ever grows."""
    return name in {f"invitees_{end}" for end in ("accepted", "rejected", "cancelled", "timed_out")}


class Slow(SignalingListener):
    """A listener with a courier."""

    async def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        await asyncio.sleep(0)


LIMITS = Limits(told_keep_s=600, requests_keep_s=120, ended_keep_s=60, devices_remembered=4)


async def play(hub: Hub, clock: VirtualClock, number: int, texts: list[str]) -> None:
    """Sessions, groups, request IDs, handles, listeners: one round with everything in it."""

    def text(what: str) -> str:
        texts.append(f"{what} {number} {len(texts)}")
        return texts[-1]

    sessions: list[Session] = []
    for i in range(40):
        session, _ = await join(hub, f"user-{number}-{i}", f"device-{i % 3}")
        sessions.append(session)
    names = [session.user_id for session in sessions]
    host, guest = sessions[:2]
    host.add_signaling_listener(Slow())
    await host.groups.create_group("Meeting", f"group-{number}")
    await hub.groups.add(f"group-{number}", names[1:])
    followed = []
    for i in range(12):
        one = await host.signaling.invite(
            guest.user_id, text("one"), timeout=i % 3 * 20, request_id=f"request-{number}-{i}"
        )
        many = await host.signaling.invite_in_group(f"group-{number}", names[1:9], text("group"))
        followed += [asyncio.ensure_future(one.outcome()), asyncio.ensure_future(many.outcome())]
        followed.append(asyncio.ensure_future(read(many)))
        await asyncio.sleep(0)
        if i % 3 == 0:
            await guest.signaling.accept(one, text("yes"))
            await guest.signaling.reject(many, text("no"))
        elif i % 3 == 1:
            await host.signaling.modify_invitation(many, text("new"))
            await one.cancel(text("stop"), request_id=f"cancel-{number}-{i}")
        with pytest.raises(SignalingError):
            await guest.signaling.cancel(many, request_id=f"refused-{number}-{i}")
        if i == 6:
            await guest.logout()
            await clock.advance(1)
            await guest.login("hot")
    await clock.advance(5)
    await hub.groups.dismiss(f"group-{number}")
    await clock.advance(DAY_S + 1)
    for future in followed:
        await future
    for session in sessions:
        await session.logout()


async def read(invitation: Any) -> int:
    return len([event async for event in invitation])


async def drain(hub: Hub, clock: VirtualClock) -> None:
    """Let everything be forgotten that has a time for it, and push it out of what has a size."""
    for _ in range(3):
        await clock.advance(DAY_S)
        sweeper = await hub.login("sweeper")
        for i in range(RECENT // 2 + 1):
            with pytest.raises(SignalingError):
                await sweeper.signaling.accept("none", request_id=f"{i}")
            invitation = await sweeper.signaling.invite("nobody", "")
            await invitation.cancel()
            if i % 100 == 0:
                await clock.settle()
        await sweeper.logout()


@pytest.mark.anyio
async def test_when_all_is_forgotten_a_hub_holds_what_it_held_before(clock: VirtualClock) -> None:
    async with Hub(clock=clock, limits=LIMITS, seed=1) as hub:
        await drain(hub, clock)
        texts: list[str] = []
        counts = [hub.stats()]
        held = []
        for number in range(3):
            await play(hub, clock, number, texts)
            assert hub.stats()["requests_remembered"] > 0
            await drain(hub, clock)
            assert_only_ours_refers_to(texts)
            counts.append(hub.stats())
            held.append(census(hub))
        ever = ("position", "invitations", "slots", "free", "memory_bytes")
        for stats in counts:
            for name in (*ever, *filter(ends_count, stats)):
                del stats[name]
        assert counts == [counts[0]] * len(counts)
        assert held[1] - held[0] == held[2] - held[1] == Counter()


@pytest.mark.anyio
async def test_nothing_of_a_hub_is_left_when_it_is_dropped(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # what looks after every hub holds it
    texts: list[str] = []
    async with Hub(clock=clock, limits=LIMITS) as hub:
        await play(hub, clock, 1, texts)
    await asyncio.sleep(0)
    left = weakref.ref(hub)
    del hub
    gc.collect()
    assert left() is None
    assert_only_ours_refers_to(texts)
