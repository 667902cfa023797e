"""Slow sessions at their bound, one over it, and what a hot login catches up with (SPEC §4, §7)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ears import ConnectionEar, Ear
from machine_talk import START_MS, make
from slow_journal import SlowJournal

from pysignal import (
    GroupListener,
    Hub,
    Limits,
    OutcomeUnknown,
    Session,
    SignalingListener,
    VirtualClock,
)
from pysignal.delivery import Delivery
from pysignal.journal import MemoryJournal
from pysignal.receivers import Receiver

pytestmark = pytest.mark.anyio

QUEUE_MAX = Limits().queue_max


class Gate(SignalingListener):
    """Hears nothing further until it is opened."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.is_open = asyncio.Event()

    async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
        await self.is_open.wait()
        self.heard.append(invite_id)


class GroupGate(GroupListener):
    """Likewise, of a group."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def on_group_info_changed(self, group_id: str, changes: dict[str, str]) -> None:
        await self.is_open.wait()


def slow_listener(session: Session) -> Callable[[], None]:
    gate = Gate()
    session.add_signaling_listener(gate)
    return gate.is_open.set


def slow_group_listener(session: Session) -> Callable[[], None]:
    gate = GroupGate()
    session.add_group_listener(gate)
    return gate.is_open.set


def slow_reader(session: Session) -> Callable[[], None]:
    stream = session.events()
    return lambda: setattr(stream, "_is_kept", True)


# How a session is made slow, and how many of what it hears are not waiting: the first one is with
# the listener already.
WAYS = {
    "listener": (slow_listener, 1),
    "group listener": (slow_group_listener, 1),
    "events()": (slow_reader, 0),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("over", [0, 1])
async def test_exactly_the_bound_may_wait_and_one_more_disconnects(
    hub: Hub, clock: VirtualClock, way: str, over: int
) -> None:
    make, busy_with = WAYS[way]
    connection, fast = ConnectionEar(), Ear()
    slow = hub.session("bob", "slow")
    slow.add_connection_listener(connection)
    await slow.login()
    await hub.login("bob", "fast", listener=fast)
    await hub.groups.put("crew", ["bob", "amy"], "amy")
    await clock.settle()
    let_go = make(slow)

    async def tell(number: int) -> None:
        if way == "group listener":
            await hub.acting_as("amy").groups.set_group_info("crew", name=str(number))
        else:
            await hub.invite_as("amy", "bob", str(number))

    await tell(-1)  # so that a courier's task has begun with it
    await clock.settle()
    for number in range(QUEUE_MAX - 1 + busy_with + over):
        await tell(number)
    await clock.settle()
    assert slow.online is (over == 0)
    assert connection.heard == ([("disconnected", 7008)] if over else [])
    if way != "group listener":
        assert len(fast.heard) == QUEUE_MAX + busy_with + over
    let_go()
    await clock.settle()
    assert connection.heard == ([("disconnected", 7008)] if over else [])


@pytest.mark.parametrize("way", ["listener", "events()"])
@pytest.mark.parametrize("again", ["the same session", "a new session"])
async def test_who_was_too_slow_is_rung_once_for_each_invitation_after_a_hot_login(
    hub: Hub, clock: VirtualClock, way: str, again: str
) -> None:
    gate = Gate()
    rung: list[str] = []
    session = await hub.login("bob", "slow")
    stream = session.events() if way == "events()" else None
    if stream is None:
        session.add_signaling_listener(gate)
    ids = [await hub.invite_as("amy", "bob") for _ in range(10)]
    await clock.settle()
    while session.online:
        ids.append(await hub.invite_as("amy", "bob"))
        await asyncio.sleep(0)
    ids += [await hub.invite_as("amy", "bob") for _ in range(10)]
    gate.is_open.set()
    await clock.settle()
    if stream is not None:
        rung += [event.invite_id async for event in stream]
    else:
        rung += gate.heard
        gate.heard.clear()
    if again == "the same session":
        session.remove_signaling_listener(gate)
    else:
        session = hub.session("bob", "slow")
    later = Ear()
    session.add_signaling_listener(later)
    await session.login("hot")
    await clock.settle()
    rung += [heard[1] for heard in later.heard]
    assert rung == ids
    assert [info.invite_id for info in session.snapshot.open] == ids


async def test_a_session_that_is_disconnected_while_others_wait_keeps_nothing_from_them(
    clock: VirtualClock,
) -> None:
    async with Hub(clock=clock, limits=Limits(queue_max=3)) as hub:
        ears = [Ear() for _ in range(3)]
        gates = []
        for number, ear in enumerate(ears):
            session = await hub.login("bob", str(number), listener=ear)
            gates.append(Gate())
            session.add_signaling_listener(gates[-1])
        gates[0].is_open.set()
        gates[2].is_open.set()
        ids = []
        for _ in range(8):  # an open gate lets through what a turn brings
            ids.append(await hub.invite_as("amy", "bob"))
            await clock.settle()
        heard = [[call[1] for call in ear.heard] for ear in ears]
        assert heard[0] == heard[2] == ids
        assert heard[1] == ids[:5], "one with the listener, three waiting, one too many"
        assert gates[0].heard == gates[2].heard == ids
        assert hub.stats()["sessions"] == 2
        gates[1].is_open.set()


async def test_the_end_of_a_hub_lets_others_have_their_turns(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left to deliver, to log out and to fail is done in slices."""
    monkeypatch.setattr("pysignal.hub.TURN_NS", 0)
    turns = 0
    is_closed = False

    async def count() -> None:
        nonlocal turns
        while not is_closed:
            turns += 1
            await asyncio.sleep(0)

    hub = Hub(clock=clock)
    await hub.open()
    ear = Ear()
    for number in range(320):
        await hub.login(f"user {number}", listener=ear)
    users = [f"user {number}" for number in range(320)]
    handle = await hub.invite_as("amy", users)
    waiting = [asyncio.ensure_future(handle.outcome()) for _ in range(320)]
    counting = asyncio.ensure_future(count())
    await asyncio.sleep(0)
    await hub.close()
    is_closed = True
    await counting
    assert len(ear.heard) == 320
    # One turn for each delivery, and one for 32 sessions or followers.
    assert turns >= 320 + 10 + 10
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert {getattr(result, "code", 0) for result in results} == {6013}


async def test_followers_are_fed_in_slices_before_any_listener_and_each_once(
    clock: VirtualClock, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.hub.TURN_NS", 0)
    ear = Ear()
    await hub.login("bob", listener=ear)
    handle = await hub.invite_as("amy", "bob")
    await clock.settle()
    waiting = []
    for _ in range(100):
        waiting.append(asyncio.ensure_future(handle.outcome()))
        await asyncio.sleep(0)
    streams = [aiter(handle) for _ in range(20)]
    ear.take()
    await hub.accept_as("bob", handle, "yes")
    while not any(task.done() for task in waiting):  # noqa: ASYNC110 - until some were fed
        await asyncio.sleep(0)
    assert not all(task.done() for task in waiting), "it was to take several turns"
    assert ear.heard == []
    late = asyncio.ensure_future(handle.outcome())
    stopping = waiting.pop()
    stopping.cancel()
    await clock.settle()
    assert [call[0] for call in ear.heard] == ["invitee_accepted"]
    assert {(await task).status for task in [*waiting, late]} == {"accepted"}
    for stream in streams:
        assert [event.kind async for event in stream] == ["opened", "accepted"]


async def test_an_append_that_never_returns_does_not_keep_a_hub_from_closing(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pysignal.journal.writer.APPEND_S", 0.01)

    class Stuck(MemoryJournal):
        """Does not return, nor heed that it is cancelled, until it is let go."""

        def __init__(self) -> None:
            super().__init__()
            self.is_stuck = False
            self.let_go = asyncio.Event()

        async def append(self, records: Sequence[bytes], expected_position: int) -> None:
            while self.is_stuck and not self.let_go.is_set():
                try:
                    await self.let_go.wait()
                except asyncio.CancelledError:
                    continue
            await super().append(records, expected_position)

    journal = Stuck()
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    await hub.login("bob")
    journal.is_stuck = True
    calling = asyncio.ensure_future(hub.invite_as("amy", "bob"))
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(OutcomeUnknown):
        await calling
    assert "left behind" in caplog.text
    journal.let_go.set()
    await clock.settle()


async def test_an_append_that_is_too_slow_is_cancelled_when_a_hub_closes(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.journal.writer.APPEND_S", 0.01)
    journal = SlowJournal()
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    ear = Ear()
    await hub.login("bob", listener=ear)
    journal.shut()
    calling = asyncio.ensure_future(hub.invite_as("amy", "bob"))
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(OutcomeUnknown):
        await calling
    assert journal.under_way == 0
    assert ear.heard == []


# -- without memory --------------------------------------------------------------------------------


class Scarce:
    """A key that stands where another is looked up, with no memory to compare the two."""

    def __init__(self, other: str) -> None:
        self.hash = hash(other)
        self.is_out = True

    def __hash__(self) -> int:
        return self.hash

    def __eq__(self, other: object) -> bool:
        if self.is_out:
            raise MemoryError
        return False


def test_a_sink_takes_what_there_is_memory_for_and_the_rest_later() -> None:
    machine = make()
    bob = Receiver("bob", "1")
    bob.online = True
    delivery = Delivery(lambda *_: None)
    names = [machine.open(START_MS, "amy", "bob") for _ in range(3)]
    for event in machine.take():
        delivery.post_event(event, [bob], 0)
    key = Scarce(names[1])
    delivery.watchers[key] = []  # type: ignore[index]
    taken, receivers = delivery.take_all()
    assert ([event.invite_id for event in taken], receivers) == (names[:1], [[bob]])
    with pytest.raises(MemoryError):
        delivery.take_all()
    assert len(delivery) == 2
    key.is_out = False
    taken, receivers = delivery.take_all()
    assert ([event.invite_id for event in taken], receivers) == (names[1:], [[bob]] * 2)
