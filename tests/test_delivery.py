"""The way from a commit to those who hear it: bounded turns, bounded queues, one order."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from busy import PATIENCE_S, begin_mass_expiry, code_of
from ears import Ear, join

import pysignal.hub
from pysignal import (
    Call,
    Clock,
    Hub,
    InvitationEnded,
    NotPermitted,
    Session,
    SignalingEvent,
    SignalingListener,
    VirtualClock,
)
from pysignal.commands import BACKLOG_MAX

pytestmark = pytest.mark.anyio


class Stopwatch:
    """Stands in for the time that work takes: it goes on when it is told to."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


class Costly(SignalingListener):
    """Each call takes so long, and is noted with the turn of the loop that it came in."""

    def __init__(self, stopwatch: Stopwatch, cost_ns: int) -> None:
        self.stopwatch = stopwatch
        self.cost_ns = cost_ns
        self.spent_ns: dict[int, int] = defaultdict(int)
        self.turn = 0
        self.calls = 0

    def on_signaling_event(self, event: SignalingEvent) -> None:
        self.stopwatch.now_ns += self.cost_ns
        self.spent_ns[self.turn] += self.cost_ns
        self.calls += 1

    async def count_turns(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turn += 1


class HandClock(Clock):
    """Engine time as it is set, and one timer that is fired by hand."""

    def __init__(self) -> None:
        self.ms = 1_700_000_000_000
        self.timer: tuple[int, Callable[[], None]] | None = None

    def now_ms(self) -> int:
        return self.ms

    def call_at(self, when_ms: int, call: Callable[[], None]) -> Any:
        self.timer = (when_ms, call)
        return self

    def cancel(self) -> None:
        self.timer = None

    def fire(self) -> None:
        assert self.timer is not None
        (_, call), self.timer = self.timer, None
        call()


async def idle(hub: Hub) -> None:
    """Let the loop run until the hub has nothing to do."""
    quiet = 0
    async with asyncio.timeout(PATIENCE_S):
        while quiet < 5:
            await asyncio.sleep(0)
            stats = hub.stats()
            waiting = stats["commands_waiting"] + stats["deliveries_waiting"]
            quiet = 0 if waiting + stats["facts_waiting"] else quiet + 1


# -- turns -----------------------------------------------------------------------------------------


async def test_a_drain_yields_to_the_loop_in_the_middle_of_an_event(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopwatch = Stopwatch()
    monkeypatch.setattr(pysignal.hub, "stopwatch_ns", stopwatch)
    async with Hub(clock=clock) as hub:
        listener = Costly(stopwatch, cost_ns=100_000)
        users = [f"user {number}" for number in range(500)]
        for user in users:
            await hub.login(user, listener=listener)
        await clock.settle()
        counting = asyncio.ensure_future(listener.count_turns())
        await asyncio.sleep(0)
        await hub.invite_as("amy", users)
        await clock.settle()
        counting.cancel()
    assert listener.calls == 500
    assert max(listener.spent_ns.values()) <= 3_000_000, "a turn takes about a millisecond"


async def test_one_event_reaches_10000_sessions_each_once(hub: Hub, clock: VirtualClock) -> None:
    heard: dict[str, int] = defaultdict(int)

    class Counting(SignalingListener):
        def __init__(self, user: str) -> None:
            self.user = user

        def on_receive_new_invitation(self, *_: Any) -> None:
            heard[self.user] += 1

    students = [f"student {number}" for number in range(10_000)]
    await hub.groups.put("class", ["teacher", *students])
    teacher, ear = await join(hub, "teacher")
    for student in students:
        await hub.login(student, listener=Counting(student))
    invite_id = await teacher.signaling.invite_in_group("class", students, "hands up")
    await clock.settle()
    assert heard == dict.fromkeys(students, 1)
    await hub.accept_as(students[7], invite_id)
    await clock.advance(30)
    assert [event.kind for event in ear.events] == ["accepted", "timed_out"]
    assert len(ear.events[1].affected) == 9999


async def test_a_mass_expiry_ends_and_tells_everything_in_slices(
    clock: VirtualClock,
) -> None:
    async with Hub(clock=clock) as hub:
        amy, ear = await join(hub, "amy")
        invite_ids = [
            str(await amy.signaling.invite(f"user {number}", timeout=5)) for number in range(20_000)
        ]
        await idle(hub)
        advancing = asyncio.ensure_future(clock.advance(5))
        largest = turns = 0
        async with asyncio.timeout(PATIENCE_S):
            while not advancing.done():
                before = len(ear.heard)
                await asyncio.sleep(0)
                largest = max(largest, len(ear.heard) - before)
                turns += len(ear.heard) > before
        assert [call[1] for call in ear.take()] == invite_ids
        assert hub.stats()["open"] == 0
        assert turns > 4
        assert largest < 10_000


async def test_what_stands_in_the_queue_alone_is_delivered(hub: Hub, clock: VirtualClock) -> None:
    amy, ear = await join(hub, "amy")
    ringing = await amy.signaling.invite("bob", timeout=3600)
    advancing = await begin_mass_expiry(hub, clock)
    _, bob_ear = await join(hub, "bob")
    await asyncio.wait_for(advancing, PATIENCE_S)
    await idle(hub)
    assert [call[1] for call in bob_ear.take()] == [ringing]
    assert ear.heard == []


# -- commands that wait ----------------------------------------------------------------------------


async def test_an_operation_between_two_slices_is_judged_by_its_arrival() -> None:
    clock = HandClock()
    async with Hub(clock=clock) as hub:
        amy, ear = await join(hub, "amy")
        crowd = [f"user {number}" for number in range(8000)]
        await amy.signaling.invite(crowd, timeout=1)
        await amy.signaling.invite(crowd, timeout=1)
        in_time = await amy.signaling.invite("bob", timeout=1.005)
        too_late = await amy.signaling.invite("bob", timeout=1.002)
        await idle(hub)
        clock.ms += 1000
        clock.fire()
        assert hub.stats()["commands_waiting"] == 1, "the expiry takes more than one slice"
        clock.ms += 2
        bob = hub.acting_as("bob")
        accepting = asyncio.ensure_future(bob.signaling.accept(in_time))
        late = asyncio.ensure_future(bob.signaling.accept(too_late))
        await asyncio.sleep(0)
        clock.ms += 100
        await asyncio.wait_for(accepting, PATIENCE_S)
        assert await code_of(late) == 8010
        await idle(hub)
        kinds = {event.invite_id: event.kind for event in ear.events}
        assert kinds[in_time] == "accepted"
        assert kinds[too_late] == "timed_out"
        times = [event.time for event in ear.events]
        assert times == sorted(times)


async def test_commands_that_wait_are_carried_out_first_come_first_served(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    _, ear = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=60)
    advancing = await begin_mass_expiry(hub, clock)
    calls = [
        asyncio.ensure_future(amy.signaling.modify_invitation(invite_id, str(number)))
        for number in range(50)
    ]
    await asyncio.wait_for(asyncio.gather(advancing, *calls), PATIENCE_S)
    await idle(hub)
    modified = [call[2] for call in ear.take() if call[0] == "invitation_modified"]
    assert modified == [str(number) for number in range(50)]


async def test_a_waiting_operation_whose_caller_gave_up_happens_once(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    advancing = await begin_mass_expiry(hub, clock)
    calls = [
        asyncio.ensure_future(amy.signaling.invite("bob", "plain")),
        asyncio.ensure_future(amy.signaling.invite("bob", "named", request_id="r")),
        asyncio.ensure_future(amy.signaling.invite("bob", "kept")),
    ]
    login = asyncio.ensure_future(hub.login("cy"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for call in (*calls[:2], login):
        call.cancel()
    await asyncio.wait_for(asyncio.gather(advancing, calls[2]), PATIENCE_S)
    await idle(hub)
    assert sorted(call[5] for call in ear.take()) == ["kept", "named", "plain"]
    assert hub.stats()["sessions"] == 2, "nobody has the session of a login that was given up"
    again = await amy.signaling.invite("bob", "named", request_id="r")
    await idle(hub)
    assert ear.heard == []
    await bob.signaling.accept(again)


async def test_more_events_than_are_delivered_make_operations_wait_and_lose_nothing(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopwatch = Stopwatch()
    monkeypatch.setattr(pysignal.hub, "stopwatch_ns", stopwatch)
    async with Hub(clock=clock) as hub:
        amy, _ = await join(hub, "amy")
        listener = Costly(stopwatch, cost_ns=1_000_000)
        ear = Ear()
        bob = hub.session("bob")
        bob.add_signaling_listener(listener)
        bob.add_signaling_listener(ear)
        await bob.login()
        invite_ids: list[str] = []
        backlog = waited = 0

        async def ring(count: int) -> None:
            for _ in range(count):
                invite_ids.append(str(await amy.signaling.invite("bob", timeout=0.5)))
                await asyncio.sleep(0)

        ringing = asyncio.gather(*[ring(50) for _ in range(80)])
        async with asyncio.timeout(PATIENCE_S):
            while not ringing.done():
                stats = hub.stats()
                waiting = stats["deliveries_waiting"] + stats["facts_waiting"]
                backlog = max(backlog, waiting)
                waited = max(waited, stats["commands_waiting"])
                await asyncio.sleep(0)
        await idle(hub)
        heard = [call[1] for call in ear.take()]
        assert sorted(heard) == sorted(invite_ids)
        assert len(heard) == 4000
        assert waited > 0
        assert backlog <= BACKLOG_MAX + 100, "the queue is bounded, whatever the callers do"


async def test_a_caller_who_never_pauses_leaves_turns_to_others(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    _, ear = await join(hub, "bob")
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(count())
    await asyncio.sleep(0)
    for _ in range(5000):
        await amy.signaling.invite("bob", timeout=1)
    counting.cancel()
    assert turns > 2, "5,000 operations in a row held the loop"
    assert len(ear.heard) > 2000
    await idle(hub)


# -- answers before events, and one order ----------------------------------------------------------


@pytest.mark.parametrize("waiting", [False, True], ids=["at once", "after waiting"])
@pytest.mark.parametrize("request_id", [None, "r"])
async def test_a_caller_has_its_result_before_it_hears_later_events(
    hub: Hub, clock: VirtualClock, waiting: bool, request_id: str | None
) -> None:
    order: list[str] = []

    class Listening(SignalingListener):
        def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
            order.append("heard")

    amy = await hub.login("amy", listener=Listening())
    invite_id = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    advancing = await begin_mass_expiry(hub, clock) if waiting else None

    async def modify() -> None:
        await amy.signaling.modify_invitation(invite_id, "new", request_id=request_id)
        order.append("returned")

    async def accept() -> None:
        if request_id is not None:
            await asyncio.sleep(0)  # the call above has begun by then
        await hub.accept_as("bob", invite_id)

    await asyncio.wait_for(asyncio.gather(modify(), accept()), PATIENCE_S)
    if advancing is not None:
        await asyncio.wait_for(advancing, PATIENCE_S)
    await idle(hub)
    assert order == ["returned", "heard"]


@pytest.mark.parametrize("seed", range(8))
async def test_every_session_hears_commit_order_under_random_load(
    clock: VirtualClock, seed: int
) -> None:
    choose = random.Random(seed)
    users = [f"user {number}" for number in range(12)]
    async with Hub(clock=clock, seed=seed) as hub:
        await hub.groups.put("g", users)
        sessions: list[Session] = []
        ears: list[Ear] = []
        for user in users:
            for device in "12":
                session, ear = await join(hub, user, device)
                sessions.append(session)
                ears.append(ear)
        opened: list[str] = []

        async def act() -> None:
            session = choose.choice(sessions)
            signaling = session.signaling
            others = [user for user in users if user != session.user_id]
            some = choose.sample(others, choose.randint(1, 4))
            act = choose.randrange(7)
            timeout = choose.choice([0, 0.01, 0.1, 5])
            with contextlib.suppress(InvitationEnded, NotPermitted):
                if act == 0:
                    opened.append(await signaling.invite(some[0], timeout=timeout))
                elif act == 1:
                    opened.append(await signaling.invite(some, timeout=timeout))
                elif act == 2:
                    opened.append(
                        await signaling.invite_in_group(
                            "g", some, timeout=timeout, notify=choose.choice(["members", "parties"])
                        )
                    )
                elif opened:
                    operation = choose.choice(
                        [signaling.accept, signaling.reject, signaling.cancel]
                    )
                    if act == 3:
                        await signaling.modify_invitation(choose.choice(opened[-9:]), "x")
                    else:
                        await operation(choose.choice(opened[-9:]))

        for _ in range(300):
            for _ in range(choose.randint(0, 5)):
                await act()
            await clock.advance(choose.choice([0, 0.001, 0.02]))
        await clock.advance(10)
        total = 0
        for ear in ears:
            positions = [event.position for event in ear.events]
            assert positions == sorted(set(positions))
            seqs: dict[str, int] = {}
            ended: set[str] = set()
            for event in ear.events:
                assert event.seq > seqs.get(event.invite_id, 0)
                assert event.invite_id not in ended, "nothing is heard after the end"
                seqs[event.invite_id] = event.seq
                if event.ends:
                    ended.add(event.invite_id)
            total += len(positions)
        assert total > 1000


# -- a sink of the embedding server ----------------------------------------------------------------


class Basket:
    """A sink that keeps what it is given."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.taken: list[tuple[SignalingEvent | Call, list[Session]]] = []

    def deliver(self, events: list[SignalingEvent | Call], receivers: list[list[Session]]) -> None:
        self.taken.extend(zip(events, receivers, strict=True))
        if self.error is not None:
            raise self.error


async def test_a_sink_gets_events_and_receivers_in_place_of_listeners(
    clock: VirtualClock,
) -> None:
    sink = Basket()
    async with Hub(clock=clock, sink=sink) as hub:
        await hub.groups.put("g", ["amy", "bob", "cy"])
        amy, ear = await join(hub, "amy", "1")
        amy2, _ = await join(hub, "amy", "2")
        bob, bob_ear = await join(hub, "bob")
        cy, _ = await join(hub, "cy")
        await clock.settle()
        sink.taken.clear()
        invite_id = await amy.signaling.invite_in_group("g", ["bob"], timeout=5)
        await clock.settle()
        await cy.logout()
        await bob.signaling.accept(invite_id)
        await hub.groups.dismiss("g")
        await clock.settle()
        opened, accepted, dismissed = sink.taken
        assert isinstance(opened[0], SignalingEvent)
        assert (opened[0].kind, set(opened[1])) == ("opened", {amy2, bob, cy})
        assert isinstance(accepted[0], SignalingEvent)
        assert (accepted[0].kind, set(accepted[1])) == ("accepted", {amy, amy2})
        assert isinstance(dismissed[0], Call)
        assert (dismissed[0].name, dismissed[0].args) == ("on_group_dismissed", ("g", ""))
        assert (ear.heard, bob_ear.heard) == ([], [])
        call = await amy.signaling.invite("bob", timeout=1)
        waiting = asyncio.ensure_future(call.outcome())
        await clock.advance(1)
        assert (await waiting).status == "timed_out"


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()])
async def test_a_sink_that_raises_is_logged_and_harms_nothing(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    sink = Basket(error)
    async with Hub(clock=clock, sink=sink) as hub:
        amy, _ = await join(hub, "amy")
        bob, _ = await join(hub, "bob")
        call = await amy.signaling.invite("bob", timeout=5)
        await clock.settle()
        await bob.signaling.accept(call)
        await clock.settle()
        assert (await call.outcome()).status == "accepted"
        await amy.signaling.invite("bob", timeout=5)
        await clock.advance(5)
        assert [item.kind for item, _ in sink.taken if isinstance(item, SignalingEvent)] == [
            "opened",
            "accepted",
            "opened",
            "timed_out",
        ]
        assert len(caplog.records) == 4
