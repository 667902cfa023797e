"""Events in batches: each once, in order, whole, and never after the listener or session is gone.

`test_listeners` has what holds for every listener; here is what is so of `on_signaling_events`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from busy import run_now
from delivery.steps import STEP_MS_MAX, StepMeter, run_metered
from ears import ConnectionEar, Ear, join
from invariants.scenes import turns
from scale import scaled

import pysignal.hub
from pysignal import Hub, Invitation, Limits, Session, SignalingEvent, SignalingListener
from pysignal.clock import VirtualClock

pytestmark = pytest.mark.anyio


class Batches(SignalingListener):
    """Keeps the batches, and calls what the test says with each."""

    def __init__(self, call: Callable[[list[SignalingEvent]], object] = len) -> None:
        self.batches: list[list[SignalingEvent]] = []
        self.call = call

    def on_signaling_events(self, events: list[SignalingEvent]) -> None:
        self.batches.append(list(events))
        self.call(events)

    @property
    def events(self) -> list[SignalingEvent]:
        return [event for batch in self.batches for event in batch]


class AsyncBatches(Batches):
    """The same, called by the session's courier."""

    async def on_signaling_events(self, events: list[SignalingEvent]) -> None:
        await turns(1)
        super().on_signaling_events(events)


class Hearing(SignalingListener):
    """Calls what the test says with each event."""

    def __init__(self, call: Callable[[SignalingEvent], object]) -> None:
        self.call = call

    def on_signaling_event(self, event: SignalingEvent) -> None:
        self.call(event)


def ids(events: list[SignalingEvent]) -> list[str]:
    return [event.invite_id for event in events]


async def ring(hub: Hub, count: int, user: str = "bob", **options: Any) -> list[Invitation]:
    return [await hub.invite_as("amy", user, **options) for _ in range(count)]


# -- what they hear --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Batches, AsyncBatches])
@pytest.mark.parametrize("seed", range(4))
async def test_every_event_comes_once_in_the_order_of_the_commits(
    hub: Hub, clock: VirtualClock, kind: type[Batches], seed: int
) -> None:
    dice = random.Random(seed)
    users = ["amy", "bob", "cy"]
    await hub.groups.put("g", users)
    listeners: list[tuple[Ear, Batches]] = []
    sessions: list[Session] = []

    async def enter(user: str, device: str) -> None:
        session, ear = await join(hub, user, device)
        batches = kind()
        session.add_signaling_listener(batches)
        sessions.append(session)
        listeners.append((ear, batches))

    for user in users:
        for device in "12":
            await enter(user, device)
    opened: list[Invitation] = []
    for step in range(scaled(1000, 200)):
        session = dice.choice(sessions)
        signaling = session.signaling
        others = [user for user in users if user != session.user_id]
        act = dice.randrange(6)
        if act == 0:
            opened.append(await signaling.invite(dice.choice(others), timeout=dice.choice([1, 9])))
        elif act == 1:
            opened.append(await signaling.invite_in_group("g", others, timeout=9))
        elif act == 2:
            await clock.settle()
        elif act == 3:
            await turns(1)
        elif opened:
            name = opened.pop(dice.randrange(len(opened)))
            if act == 4:
                await hub.modify_invitation_as(name._actor.user_id, name, str(step))
                opened.append(name)
            else:
                await hub.cancel_by_server(name)
    await clock.advance(10)
    await clock.settle()
    for ear, batches in listeners:
        assert ear.events == batches.events
        assert all(batches.batches), "no batch is empty"
        positions = [event.position for event in batches.events]
        assert positions == sorted(set(positions))
    assert max(len(batch) for _, batches in listeners for batch in batches.batches) > 1


@pytest.mark.usefixtures("whole_turns")
async def test_a_turn_makes_one_batch(hub: Hub, clock: VirtualClock) -> None:
    batches = Batches()
    await hub.login("bob", listener=batches)
    for count in (1, 5, 300):
        names = await ring(hub, count)
        await clock.settle()
        assert [ids(batch) for batch in batches.batches] == [names]
        batches.batches.clear()
    await clock.settle()
    assert batches.batches == []


@pytest.mark.usefixtures("whole_turns")
async def test_a_login_rings_again_in_a_batch(hub: Hub, clock: VirtualClock) -> None:
    names = await ring(hub, 7)
    await clock.settle()
    batches = Batches()
    await hub.login("bob", listener=batches)
    await clock.settle()
    assert [ids(batch) for batch in batches.batches] == [names]
    assert all(event.replayed for event in batches.events)


@pytest.mark.usefixtures("whole_turns")
async def test_a_batch_comes_after_handles_and_single_callbacks(
    hub: Hub, clock: VirtualClock
) -> None:
    heard: list[str] = []

    class All(SignalingListener):
        def on_receive_new_invitation(self, *_: Any) -> None:
            heard.append("opened")

        def on_invitation_cancelled(self, *_: Any) -> None:
            heard.append("cancelled")

        def on_signaling_event(self, event: SignalingEvent) -> None:
            heard.append(f"event {event.kind}")

        def on_signaling_events(self, events: list[SignalingEvent]) -> None:
            heard.extend(f"batch {event.kind}" for event in events)

    await hub.login("bob", listener=All())
    name = await hub.invite_as("amy", "bob")
    await clock.settle()
    outcome = asyncio.ensure_future(name.outcome())
    outcome.add_done_callback(lambda _: heard.append("outcome"))
    heard.append("-")
    await turns(3)
    await hub.modify_invitation_as("amy", name, "x")
    await hub.cancel_as("amy", name)
    await clock.settle()
    opening = ["opened", "event opened", "batch opened", "-"]
    assert heard[:4] == opening
    rest = [what for what in heard[4:] if what != "outcome"]
    assert rest == [
        "event modified",
        "cancelled",
        "event cancelled",
        "batch modified",
        "batch cancelled",
    ]
    assert "outcome" in heard


@pytest.mark.usefixtures("whole_turns")
async def test_a_batch_is_the_listeners_own(hub: Hub, clock: VirtualClock) -> None:
    listeners = [Batches(list.clear), Batches(list.clear), AsyncBatches(list.clear)]
    bob = await hub.login("bob")
    for listener in listeners:
        bob.add_signaling_listener(listener)
    names = await ring(hub, 3)
    await clock.settle()
    assert [ids(listener.events) for listener in listeners] == [names] * 3


@pytest.mark.usefixtures("whole_turns")
async def test_one_async_method_makes_the_batches_wait_too(hub: Hub, clock: VirtualClock) -> None:
    heard: list[tuple[str, ...]] = []

    class Mixed(SignalingListener):
        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            await turns(3)
            heard.append(("opened", invite_id))

        def on_signaling_events(self, events: list[SignalingEvent]) -> None:
            heard.append(("batch", *ids(events)))

    await hub.login("bob", listener=Mixed())
    names = await ring(hub, 2)
    await clock.settle()
    assert heard == [("opened", names[0]), ("opened", names[1]), ("batch", *names)]


@pytest.mark.usefixtures("whole_turns")
async def test_a_plain_method_may_give_back_what_can_be_awaited(
    hub: Hub, clock: VirtualClock
) -> None:
    heard: list[list[str]] = []

    class Deferred(SignalingListener):
        def on_signaling_events(self, events: list[SignalingEvent]) -> Any:
            async def later() -> None:
                await turns(2)
                heard.append(ids(events))

            return later()

    bob = await hub.login("bob", listener=Deferred())
    names = await ring(hub, 3)
    await clock.settle()
    assert heard == [names]
    more = await ring(hub, 3)
    await turns(2)  # handed over, and what it gave back waits for the courier
    await bob.logout()
    _, ear = await join(hub, "bob", start="hot")
    await clock.settle()
    told = ids(ear.events)
    assert told == ([] if len(heard) > 1 else more)


# -- who is gone -----------------------------------------------------------------------------------

LEAVE: dict[str, Callable[[Hub, Session], object]] = {
    "logout": lambda hub, bob: run_now(bob.logout()),
    "kicked": lambda hub, bob: run_now(hub.login("bob", listener=Ear())),
    "overflow": lambda hub, bob: None,  # by a stream that nobody reads
}


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("limits", [Limits(queue_max=8)])
@pytest.mark.parametrize("kind", [Batches, AsyncBatches])
@pytest.mark.parametrize("how", LEAVE)
async def test_who_goes_between_collecting_and_handing_over_is_told_later(
    hub: Hub, clock: VirtualClock, how: str, kind: type[Batches]
) -> None:
    bob = await hub.login("bob")
    end = ConnectionEar()
    bob.add_connection_listener(end)
    batches = kind()
    bob.add_signaling_listener(batches)
    [first] = await ring(hub, 1, timeout=500)
    await clock.settle()
    if how == "overflow":
        stream = bob.events()
    names = await ring(hub, 12, timeout=500)
    # Heard after the batches have taken the event in.
    at = names[8]
    bob.add_signaling_listener(
        Hearing(lambda event: LEAVE[how](hub, bob) if event.invite_id == at else None)
    )
    await clock.settle()
    assert ids(batches.events) == [first], "nothing is called afterwards"
    assert not bob.online
    assert [name for name, _ in end.heard] == {
        "logout": [],
        "kicked": ["kicked_offline"],
        "overflow": ["disconnected"],
    }[how]
    again = Batches()
    if how == "overflow":
        await stream.aclose()
    await hub.login("bob", start="hot", listener=again)
    await clock.settle()
    if how == "kicked":  # the session that took the place was cold: it has rung them all
        assert again.events == []
    else:
        assert ids(again.events) == names


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("kind", [Batches, AsyncBatches])
async def test_who_is_removed_between_collecting_and_handing_over_hears_nothing(
    hub: Hub, clock: VirtualClock, kind: type[Batches]
) -> None:
    bob = await hub.login("bob")
    removed, kept = kind(), kind()
    bob.add_signaling_listener(removed)
    bob.add_signaling_listener(kept)
    names = await ring(hub, 4)

    def remove(event: SignalingEvent) -> None:
        if event.invite_id == names[2]:
            bob.remove_signaling_listener(removed)

    bob.add_signaling_listener(Hearing(remove))
    await clock.settle()
    assert (removed.batches, ids(kept.events)) == ([], names)
    bob.add_signaling_listener(removed)
    more = await ring(hub, 2)
    await clock.settle()
    assert ids(removed.events) == more


@pytest.mark.usefixtures("whole_turns")
async def test_nothing_queued_as_a_batch_is_called_after_the_removal(
    hub: Hub, clock: VirtualClock
) -> None:
    bob = await hub.login("bob")
    first, second = AsyncBatches(), AsyncBatches()
    first.call = lambda _: bob.remove_signaling_listener(second)
    bob.add_signaling_listener(first)
    bob.add_signaling_listener(second)
    names = await ring(hub, 3)
    await clock.settle()
    assert (ids(first.events), second.events) == (names, [])


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("limits", [Limits(queue_max=16)])
async def test_a_slow_listener_of_batches_is_disconnected_and_catches_up(
    hub: Hub, clock: VirtualClock
) -> None:
    """Of its queue each event takes a place, whether in a batch or not."""
    door = asyncio.Event()

    class Stuck(Batches):
        async def on_signaling_events(self, events: list[SignalingEvent]) -> None:
            self.batches.append(events)
            await door.wait()

    stuck = Stuck()
    bob = await hub.login("bob", listener=stuck)
    end = ConnectionEar()
    bob.add_connection_listener(end)
    names = await ring(hub, 3, timeout=500)
    await clock.settle()
    assert ids(stuck.events) == names
    for _ in range(2):
        names += await ring(hub, 8, timeout=500)
        await clock.settle()
        assert bob.online
    names += await ring(hub, 2, timeout=500)
    await clock.settle()
    assert end.heard == [("disconnected", 7008)]
    assert ids(stuck.events) == names[:3]
    _, ear = await join(hub, "bob", start="hot")
    await clock.settle()
    assert ids(ear.events) == names[3:]
    door.set()
    await clock.settle()
    assert ids(stuck.events) == names[:3]


async def test_the_end_of_the_hub_hands_everything_over(clock: VirtualClock) -> None:
    batches = Batches()
    async with Hub(clock=clock) as hub:
        await hub.login("bob", listener=batches)
        names = await ring(hub, 50)
    assert ids(batches.events) == names


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("kind", [Batches, AsyncBatches])
@pytest.mark.parametrize("failure", [ValueError, MemoryError, asyncio.CancelledError])
async def test_a_listener_of_batches_that_raises_harms_nobody(
    hub: Hub,
    clock: VirtualClock,
    kind: type[Batches],
    failure: type[BaseException],
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(events: list[SignalingEvent]) -> None:
        events.clear()
        raise failure("secret")

    bob = await hub.login("bob")
    before, bad, after = kind(), kind(fail), kind()
    for listener in (before, bad, after):
        bob.add_signaling_listener(listener)
    names = []
    for _ in range(3):
        names += await ring(hub, 2)
        await clock.settle()
    assert [ids(each.events) for each in (before, bad, after)] == [names] * 3
    assert bob.online
    logged = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(logged) == 3
    assert [str(record.args[1]) for record in logged] == names[1::2]  # type: ignore[index]


# -- many sessions ---------------------------------------------------------------------------------


class Stopwatch:
    """Stands in for the time that work takes."""

    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def work(self, _: object) -> None:
        self.now_ns += 100_000


async def test_the_batches_of_many_sessions_go_in_slices(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listener takes 0.1 ms, and a turn has 1 ms: ten go in a turn, and what is new waits."""
    stopwatch = Stopwatch()
    monkeypatch.setattr(pysignal.hub, "stopwatch_ns", stopwatch)
    async with Hub(clock=clock) as hub:
        users = [f"user {number}" for number in range(100)]
        await hub.groups.put("g", ["amy", *users])
        listeners = [Batches(stopwatch.work) for _ in users]
        for user, listener in zip(users, listeners, strict=True):
            await hub.login(user, listener=listener)
        await clock.settle()
        names = [await hub.invite_in_group_as("amy", "g", [users[0]]) for _ in range(3)]
        per_turn: list[int] = []
        before = 0
        late: list[Invitation] = []
        while not per_turn or before < 200:
            await turns(1)
            done = sum(len(listener.batches) for listener in listeners)
            per_turn.append(done - before)
            before = done
            if len(per_turn) == 5:
                late.append(await hub.invite_in_group_as("amy", "g", [users[0]]))
            assert len(per_turn) < 100
        assert max(per_turn) <= 12
        for listener in listeners:
            assert [ids(batch) for batch in listener.batches] == [names, late]


def test_the_batches_of_thousands_of_sessions_hold_the_loop_no_longer() -> None:
    count = scaled(5000, 1000)
    listeners = [Batches() for _ in range(count)]

    async def work(meter: StepMeter) -> None:
        clock = VirtualClock()
        async with Hub(clock=clock) as hub:
            users = [f"user {number}" for number in range(count)]
            await hub.groups.put("g", ["amy", *users])
            for user, listener in zip(users, listeners, strict=True):
                await hub.login(user, listener=listener)
            await clock.settle()
            with meter.on():
                await asyncio.sleep(0)
                names = [await hub.invite_in_group_as("amy", "g", users[:2]) for _ in range(5)]
                await clock.settle()
                await asyncio.sleep(0)
            for listener in listeners:
                assert ids(listener.events) == names

    meter = run_metered(work)
    assert meter.longest.work_ms < STEP_MS_MAX, str(meter.longest)


# -- queues that are read quickly ------------------------------------------------------------------


@pytest.mark.usefixtures("whole_turns")
@pytest.mark.parametrize("count", [1500, 2000, 6000])
async def test_whoever_reads_quickly_is_not_overrun_by_a_burst(
    clock: VirtualClock, count: int
) -> None:
    """More comes in one turn than a queue holds; the drain stops for those who read it."""
    heard: dict[str, int] = {"listener": 0, "stream": 0, "handle": 0}

    class Quick(SignalingListener):
        async def on_invitation_modified(self, *_: Any) -> None:
            heard["listener"] += 1

        async def on_signaling_event(self, event: SignalingEvent) -> None:
            heard["listener"] += event.kind == "modified"

        async def on_signaling_events(self, events: list[SignalingEvent]) -> None:
            heard["listener"] += sum(event.kind == "modified" for event in events)

    async def read(name: str, stream: Any) -> None:
        async for event in stream:
            heard[name] += event.kind == "modified"

    async with Hub(clock=clock) as hub:
        bob = await hub.login("bob", listener=Quick())
        name = await hub.invite_as("amy", "bob", timeout=500)
        reading = asyncio.gather(read("stream", bob.events()), read("handle", name))
        await clock.settle()
        for _ in range(count):
            await hub.modify_invitation_as("amy", name, "x")
        await clock.settle()
        assert bob.online
        await hub.cancel_as("amy", name)
        await bob.logout()
        await reading
    assert heard == {"listener": 3 * count, "stream": count, "handle": count}


async def test_a_handle_is_not_overrun_beside_a_sink(clock: VirtualClock) -> None:
    class Nowhere:
        def deliver(self, events: Any, receivers: Any) -> None:
            pass

    heard: list[SignalingEvent] = []

    async def read(name: Invitation) -> None:
        async for event in name:
            heard.append(event)  # noqa: PERF401

    async with Hub(clock=clock, sink=Nowhere()) as hub:
        name = await hub.invite_as("amy", "bob", timeout=500)
        reading = asyncio.ensure_future(read(name))
        await clock.settle()
        for _ in range(2000):
            await hub.modify_invitation_as("amy", name, "x")
        await hub.cancel_as("amy", name)
        await reading
    assert [event.seq for event in heard] == list(range(1, 2003))
