"""What every session hears, whatever happens: B1 to B6, one test each, over random histories.

Users come and go on several devices, hot and cold, invite, answer, cancel, modify, join and leave,
in many tasks at once; some listeners raise, some are slow, some are removed. All that was heard is
written down with what was asked for; each test then reads the same histories for its promise.
A seed is the whole history: `PYSIGNAL_SEED=7 pytest tests/delivery/test_invariants.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import pytest
from scale import scaled

from pysignal import Hub, Limits, Session, SignalingError, SignalingListener, VirtualClock
from pysignal.engine.facts import Event

USERS = ["amy", "bob", "cy", "dee"]
DEVICES = ["1", "2"]
TERMINAL = {"accepted", "rejected", "cancelled", "timed_out"}

SEED = os.environ.get("PYSIGNAL_SEED")
SEEDS = range(scaled(40, at_least=5)) if SEED is None else [int(SEED)]


class Log:
    """What one session heard from a login to its end, and when that end was."""

    def __init__(self, user: str, device: str) -> None:
        self.user = user
        self.device = device
        self.events: list[Event] = []
        self.is_over = False
        self.late: list[Event] = []  # heard after the logout or the removal had returned


class Writing(SignalingListener):
    """Writes down events of its session's login of now; raises now and then if it is told to."""

    def __init__(self, world: World, session: Session, log: Log, rng: random.Random | None) -> None:
        self.world = world
        self.session = session
        self.log = log
        self.rng = rng
        self.is_removed = False

    def on_signaling_event(self, event: Event) -> None:
        self.world.entered += self.world.calling
        is_here = self.session.online and not self.is_removed
        (self.log.events if is_here and not self.log.is_over else self.log.late).append(event)
        if self.rng is not None and self.rng.random() < 0.3:
            raise RuntimeError("on purpose")


class Slow(SignalingListener):
    """Takes a while for everything."""

    async def on_signaling_event(self, event: Event) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


class World:
    """One history: what was asked for, what came of it, and what was heard."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.clock = VirtualClock()
        self.sessions: dict[tuple[str, str], Session] = {}
        self.logs: list[Log] = []
        self.current: dict[tuple[str, str], tuple[Log, Writing]] = {}
        self.ids: list[str] = []
        self.resolved: dict[int, int] = defaultdict(int)  # how often, by the number of the call
        self.calls = 0
        self.calling = False  # whether the first step of an API call is being made
        self.entered = 0  # how often a listener ran inside one
        self.statuses: dict[str, dict[str, str]] = {}

    async def run(self) -> World:
        async with Hub(clock=self.clock, limits=Limits(queue_max=12), seed=self.seed) as hub:
            self.hub = hub
            await hub.groups.put("crew", USERS)
            for user in USERS:
                await self.log_in(user, "1")
            for _ in range(60):
                acts = [self.act() for _ in range(self.rng.randrange(1, 6))]
                tasks = [asyncio.ensure_future(act) for act in acts]
                for _ in range(self.rng.randrange(4)):
                    await asyncio.sleep(0)
                if self.rng.random() < 0.1:
                    self.rng.choice(tasks).cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                if self.rng.random() < 0.3:
                    await self.clock.advance(self.rng.choice((0.001, 0.5, 2)))
            await self.clock.settle()
            for invite_id in self.ids:
                info = await hub.invitation(invite_id)
                if info is not None:
                    self.statuses[invite_id] = dict(info.statuses)
        return self

    async def call(self, operation: Callable[[], Awaitable[Any]]) -> Any:
        """Make an API call as a task of its own, and count how often it resolves."""
        number = self.calls
        self.calls += 1

        async def first_step() -> Any:
            self.calling = True
            awaitable = operation()
            iterator = awaitable.__await__()
            try:
                waited_for = iterator.send(None)  # type: ignore[attr-defined]
            except StopIteration as result:
                return result.value
            finally:
                self.calling = False
            return await _Rest(iterator, waited_for)

        task = asyncio.ensure_future(first_step())
        task.add_done_callback(lambda _: self.resolved.update({number: self.resolved[number] + 1}))
        try:
            return await task
        except SignalingError:
            return None

    async def act(self) -> None:
        rng = self.rng
        user = rng.choice(USERS)
        others = [other for other in USERS if other != user]
        online = [session for session in self.sessions.values() if session.online]
        mine = [session for session in online if session.user_id == user]
        choice = rng.random()
        if choice < 0.15:
            await self.log_in(user, rng.choice(DEVICES))
        elif choice < 0.22 and mine:
            await self.log_out(rng.choice(mine))
        elif choice < 0.3:
            operation = rng.choice((self.hub.groups.add, self.hub.groups.remove))
            await self.call(lambda: operation("crew", [user]))
        elif not mine:
            return
        elif choice < 0.6:
            await self.invite(rng.choice(mine), others)
        elif self.ids:
            signaling = rng.choice(mine).signaling
            recent = self.ids[-12:]
            invite_id, data = rng.choice(recent), str(rng.random())
            operations = (
                signaling.accept, signaling.reject, signaling.cancel, signaling.modify_invitation,
            )  # fmt: skip
            chosen = rng.choice(operations)
            await self.call(lambda: chosen(invite_id, data))

    async def invite(self, session: Session, others: list[str]) -> None:
        invitees = self.rng.sample(others, self.rng.randrange(1, 4))
        timeout = self.rng.choice((0, 0.5, 2, 30))
        data = str(self.rng.random())
        signaling = session.signaling
        if self.rng.random() < 0.3:
            invited = await self.call(
                lambda: signaling.invite_in_group("crew", invitees, data, timeout=timeout)
            )
        else:
            invited = await self.call(lambda: signaling.invite(invitees, data, timeout=timeout))
        if invited is not None:
            self.ids.append(invited)

    async def log_in(self, user: str, device: str) -> None:
        session = self.sessions.get((user, device))
        if session is not None and session.online:
            return
        session = self.sessions[user, device] = self.hub.session(user, device)
        log = Log(user, device)
        self.logs.append(log)
        rng = self.rng if self.rng.random() < 0.3 else None
        if self.rng.random() < 0.2:
            session.add_signaling_listener(Slow())
        if rng is not None:  # beside the one that counts, and before it
            raising = Writing(self, session, Log(user, device), random.Random(1))
            session.add_signaling_listener(raising)
        writing = Writing(self, session, log, None)
        session.add_signaling_listener(writing)
        self.current[user, device] = log, writing
        start: Any = self.rng.choice(("hot", "cold"))
        await self.call(lambda: session.login(start))

    async def log_out(self, session: Session) -> None:
        log, writing = self.current[session.user_id, session.device_id]
        if self.rng.random() < 0.3:  # the session stays, this listener goes
            session.remove_signaling_listener(writing)
            writing.is_removed = True
            return

        async def log_out() -> None:
            await session.logout()
            log.is_over = True  # at once: a turn later would be too late to judge

        await self.call(log_out)


class _Rest:
    """What is left of a coroutine after its first step."""

    def __init__(self, iterator: Any, waited_for: Any) -> None:
        self.iterator = iterator
        self.waited_for = waited_for

    def __await__(self) -> Any:
        waited_for = self.waited_for
        while True:
            try:
                sent = yield waited_for
            except BaseException as error:
                waited_for = self.iterator.throw(error)
            else:
                try:
                    waited_for = self.iterator.send(sent)
                except StopIteration as result:
                    return result.value


@cache
def world(seed: int) -> World:
    return asyncio.run(World(seed).run())


def live(log: Log) -> list[Event]:
    """What a session heard of what happened while it was there."""
    return [event for event in log.events if not event.replayed]


pytestmark = pytest.mark.parametrize("seed", SEEDS)


def test_b1_a_session_hears_at_most_one_end_of_each_invitee_of_an_invitation(
    seed: int,
) -> None:
    for log in world(seed).logs:
        ended: set[tuple[str, str]] = set()
        for event in log.events:
            if event.kind in TERMINAL:
                for invitee in event.affected:
                    assert (event.invite_id, invitee) not in ended, (seed, log.user, event)
                    ended.add((event.invite_id, invitee))


def test_b2_nothing_is_heard_after_the_end_nor_after_a_logout_or_a_removal(seed: int) -> None:
    for log in world(seed).logs:
        assert log.late == [], seed
        over: set[str] = set()
        for event in log.events:
            assert event.invite_id not in over, (seed, log.user, event)
            if event.ends:
                over.add(event.invite_id)


def test_b3_the_opening_comes_first_and_all_in_the_order_of_the_commits(seed: int) -> None:
    for log in world(seed).logs:
        positions = [event.position for event in live(log)]
        assert positions == sorted(set(positions)), (seed, log.user)
        begun: set[str] = set()
        for event in log.events:
            assert event.kind != "opened" or event.invite_id not in begun, (seed, log.user, event)
            begun.add(event.invite_id)


def test_b4_a_repeat_never_contradicts(seed: int) -> None:
    history = world(seed)
    openings: dict[str, tuple[Any, ...]] = {}
    ends: dict[tuple[str, str], str] = {}
    data: dict[tuple[str, int], str] = {}
    for log in history.logs:
        for event in log.events:
            whole = event.inviter, event.group_id, event.invitees
            assert openings.setdefault(event.invite_id, whole) == whole, seed
            version = event.invite_id, event.data_version
            assert data.setdefault(version, event.invitation_data) == event.invitation_data, seed
            if event.kind in TERMINAL:
                for invitee in event.affected:
                    told = ends.setdefault((event.invite_id, invitee), event.kind)
                    assert told == event.kind, seed
    assert ends, seed
    for (invite_id, invitee), told in ends.items():
        statuses = history.statuses.get(invite_id)
        assert statuses is None or statuses[invitee] == told, seed


def test_b5_every_call_resolves_exactly_once(seed: int) -> None:
    history = world(seed)
    assert history.calls > 50
    assert history.resolved == dict.fromkeys(range(history.calls), 1), seed


def test_b6_no_listener_runs_inside_a_call_and_one_that_raises_or_is_slow_harms_nobody(
    seed: int,
) -> None:
    history = world(seed)
    assert history.entered == 0, seed
    # Sessions of one user that were there all the time between two events heard the same of it.
    for log in history.logs:
        for other in history.logs:
            if other is log or other.user != log.user or not live(log) or not live(other):
                continue
            first = max(live(log)[0].position, live(other)[0].position)
            last = min(live(log)[-1].position, live(other)[-1].position)
            acted = {log.device, other.device}
            heard = [
                [
                    event.position
                    for event in live(one)
                    if first <= event.position <= last
                    and not (event.actor == log.user and event.device in acted)
                ]
                for one in (log, other)
            ]
            assert heard[0] == heard[1], (seed, log.user, log.device, other.device)
