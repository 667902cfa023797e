"""E1 to E7: what is counted, bounded and given back (docs/invariants.md)."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from busy import code_of
from delivery.steps import STEP_MS_MAX, StepMeter, run_metered
from ears import ConnectionEar, join
from invariants.scenes import DUE_MS, ENDS, OTHERS, PARTY_ENDS, SHAPES, Party, attempt, begin, turns
from machine_histories import History, replay
from machine_talk import DAY_MS, START_MS, make, refused
from scale import scaled

from pysignal import Hub, LimitExceeded, Limits, SignalingEvent, SignalingListener, VirtualClock
from pysignal.commands import BACKLOG_MAX
from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

pytestmark = pytest.mark.anyio

STATUSES = ("waiting", "pending", "accepted", "rejected", "cancelled", "timed_out")


def every_moment(**limits: Any) -> Iterator[tuple[Machine, list[str]]]:
    """Let everything happen to invitations of every shape, and stop at each moment."""
    machine = make(**limits)
    opened: list[str] = []
    acts = [*ENDS.values(), *OTHERS.values()]
    for act in acts:
        for shape in SHAPES.values():
            opened.append(shape(machine))
            yield machine, opened
        opened.append(machine.open(machine.now_ms, "amy", [], group_id="g"))
        opened.append(machine.open(machine.now_ms, "amy", "bob", timeout_ms=0))
        yield machine, opened
        for name in opened[-9:]:
            attempt(act, machine, name)
            yield machine, opened
        machine.take()
        yield machine, opened
    machine.advance(START_MS + 3 * DAY_MS)
    yield machine, opened
    machine.take()
    machine.advance(START_MS + 4 * DAY_MS)
    yield machine, opened


# -- E1 --------------------------------------------------------------------------------------------


def test_e1_all_who_were_invited_stand_in_one_status() -> None:
    invited = 0
    seen = 0
    for machine, opened in every_moment():
        for name in opened[seen:]:
            info = machine.info(name)
            assert info is not None
            invited += len(info.statuses)
        seen = len(opened)
        stats = machine.stats()
        assert stats["invitations"] == seen
        assert sum(stats[f"invitees_{status}"] for status in STATUSES) == invited
    assert stats["invitees_pending"] == 0
    assert all(stats[f"invitees_{status}"] for status in STATUSES[2:])


@pytest.mark.parametrize("seed", range(3))
def test_e1_the_counts_are_those_of_the_events_and_of_every_copy(seed: int) -> None:
    history = History(seed)
    pieces, first = [], 0
    for step in range(400):
        history.step()
        if step == 200:
            history.check()
            already = len(history.records)
            at: int | None = first
            while at is not None:  # a snapshot in slices, with changes in between
                piece, at = snapshot.take_slice(history.machine, at, 8)
                pieces.append(piece)
                history.step()
    history.check()
    counts = {key: n for key, n in history.machine.stats().items() if key.startswith("inv")}
    restore = snapshot.Restore(history.copy())
    for piece in pieces:
        restore.load(piece)
    for record in history.records[min(restore.position, already) :]:
        restore.apply(record)
    for copy in (replay(history), restore.finish()):
        assert {key: copy.stats()[key] for key in counts} == counts, f"seed {seed}"


# -- E2 --------------------------------------------------------------------------------------------


def test_e2_every_slot_is_open_ended_or_free() -> None:
    for machine, _ in every_moment(ended_max=20):
        stats = machine.stats()
        assert stats["open"] + stats["ended_remembered"] + stats["free"] == stats["slots"]
    assert machine.stats()["free"] == machine.stats()["slots"]


@pytest.mark.parametrize("shape", SHAPES)
def test_e2_a_stale_id_is_refused_whatever_its_slot_holds_now(shape: str) -> None:
    machine = make(ended_max=0)
    stale = []
    for _ in range(50):
        stale.append(SHAPES[shape](machine))
        machine.cancel(START_MS, stale[-1], "amy")
        machine.take()
    assert machine.stats()["slots"] < 50
    held = [SHAPES[shape](machine) for _ in range(5)]
    for name in stale:
        assert machine.info(name) is None
        refused(machine, "unknown", machine.accept, START_MS, name, "bob")
        refused(machine, "unknown", machine.cancel, START_MS, name, "amy")
        refused(machine, "unknown", machine.cancel, START_MS, name, None)
        refused(machine, "unknown", machine.modify, START_MS, name, "amy", "x")
        refused(machine, "unknown", machine.mark_told, START_MS, name, "bob")
    for name in held:
        info = machine.info(name)
        assert info is not None
        assert info.data == "data"


def test_e2_a_full_table_refuses_changes_nothing_and_has_room_again() -> None:
    machine = make(capacity=5, ended_max=0)
    for _ in range(3):
        names = [machine.open(START_MS, "amy", "bob") for _ in range(5)]
        refused(machine, "table_full", machine.open, START_MS, "amy", "bob")
        refused(machine, "table_full", machine.open, START_MS, "amy", ["bob", "cy"])
        for name in names:
            machine.reject(START_MS, name, "bob")
        machine.take()


# -- E3 --------------------------------------------------------------------------------------------


def test_e3_a_timer_is_armed_for_each_open_invitation_and_no_other() -> None:
    for machine, opened in every_moment():
        infos = [machine.info(name) for name in opened[-60:]]
        stats = machine.stats()
        assert stats["timers"] == stats["open"]
        due = [info.expires_at for info in infos if info and info.state == "open"]
        if stats["open"] and len(opened) < 60:
            due_ms = [START_MS + DAY_MS if each is None else each for each in due]
            assert machine.next_ms is not None
            assert machine.next_ms <= min(due_ms)
        if not stats["open"]:
            assert machine.next_ms is None


# -- E4 --------------------------------------------------------------------------------------------


def use_and_empty(machine: Machine, texts: list[str]) -> None:
    """Let a lot happen, with these texts, end all and forget it."""
    now_ms = machine.now_ms
    for number, text in enumerate(texts * 20):
        users = [f"user {number} {other}" for other in range(1 + number % 30)]
        name = machine.open(now_ms, "amy", users, text, 1000, group_id="g" * (number % 2))
        for user in users[: number % 5]:
            machine.accept(now_ms, name, user, text)
        with contextlib.suppress(Refused):  # where all have answered
            machine.modify(now_ms, name, "amy", text)
            machine.modify(now_ms, name, "amy", text)
            if number % 3 == 0:
                machine.cancel(now_ms, name, "amy", text)
        if number % 7 == 0:
            machine.take()
    machine.take()
    machine.advance(now_ms + 2000)
    machine.take()
    machine.advance(now_ms + 10 * DAY_MS)
    for _ in range(2 + machine.stats()["users"]):
        machine.hold("sweeper")
        machine.unhold("sweeper")


def test_e4_a_machine_where_all_has_ended_is_as_before() -> None:
    texts = ["".join(["some", "data", str(number)]) for number in range(20)]
    machine = make()
    use_and_empty(machine, texts)
    first, held = machine.stats(), [sys.getrefcount(text) for text in texts]
    for name in ("open", "ended_remembered", "timers", "users", "groups", "facts_waiting"):
        assert first[name] == 0, name
    for _ in range(3):
        use_and_empty(machine, texts)
    again = machine.stats()
    for name in ("memory_bytes", "slots", "free", "users", "groups", "timers"):
        assert again[name] == first[name], name
    assert [sys.getrefcount(text) for text in texts] == held, "references to texts are left"
    machine.check()


async def test_e4_a_hub_where_all_has_ended_holds_nothing(clock: VirtualClock) -> None:
    limits = Limits(told_keep_s=10, requests_keep_s=10, ended_keep_s=10)
    async with Hub(clock=clock, limits=limits) as hub:
        before = hub.stats()
        for number in range(3):
            party = await Party(hub).gather()
            for way in PARTY_ENDS:
                await hub.groups.put("g", ["amy", "bob", "cy"])
                amy = party.sessions["amy 1"].signaling
                name = await amy.invite_in_group("g", ["bob", "cy"], request_id=f"{number} {way}")
                await party.sessions["cy 1"].signaling.accept(name, request_id=f"{number} {way}")
                await party.ends(way, name)
                await clock.settle()
            await hub.groups.put("g", [])
            await hub.groups.dismiss("g")
            for session in party.sessions.values():
                await session.logout()
            await clock.advance(86_400)
            for _ in range(3):  # what is forgotten by the way
                await hub.invite_as("amy", "bob", timeout=0.001, request_id=f"{number} last")
                session = await hub.login("sweeper")
                await session.logout()
                await clock.advance(30)
        after = hub.stats()
        for name in ("open", "ended_remembered", "timers", "facts_waiting", "groups", "watches"):
            assert after[name] == before[name], name
        for name in ("sessions", "groups_existing", "commands_waiting", "deliveries_waiting"):
            assert after[name] == before[name], name
        assert after["users"] <= 1
        assert after["requests_remembered"] <= 3
        assert not hub._presence._answered
        assert set(hub._delivery.accounts) <= {"sweeper"}
        assert not hub._couriers


# -- E5 --------------------------------------------------------------------------------------------


class Stuck(SignalingListener):
    """Never comes back from its first callback."""

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        await asyncio.Event().wait()


@pytest.mark.parametrize("consumer", ["listener", "stream"])
@pytest.mark.parametrize("limits", [Limits(queue_max=16)])
async def test_e5_a_slow_consumer_is_disconnected_and_catches_up_later(
    hub: Hub, clock: VirtualClock, limits: Limits, consumer: str
) -> None:
    bob = await hub.login("bob", "slow")
    connection = ConnectionEar()
    bob.add_connection_listener(connection)
    stream = bob.events() if consumer == "stream" else None
    if stream is None:
        bob.add_signaling_listener(Stuck())
    _, quick = await join(hub, "bob", "quick")
    names = []
    for number in range(40):
        names.append(await hub.invite_as("amy", "bob", timeout=500))
        await turns(3)
        assert len(quick.heard) == number + 1, "nobody waits for a slow one"
        assert bob.online == (number < (16 if stream is not None else 17)), number
    await clock.settle()
    assert connection.heard == [("disconnected", 7008)]
    for name in names[:10]:
        await hub.cancel_as("amy", name)
    again, ear = await join(hub, "bob", "slow", "hot")
    await clock.settle()
    told_before = 16 if stream is not None else 1
    told_now = [event.invite_id for event in ear.events]
    assert told_now == [name for name in names[told_before:] if name not in names[:10]]
    assert len(again.snapshot.open) == 30
    if stream is not None:
        assert len([event async for event in stream]) == 16


@pytest.mark.parametrize("limits", [Limits(queue_max=16)])
async def test_e5_a_handle_that_nobody_reads_is_ended(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    name = await hub.invite_as("amy", "bob", timeout=500)
    await clock.settle()
    stream = aiter(name)
    for _ in range(40):
        await hub.modify_invitation_as("amy", name, "x")
        await clock.settle()
    assert [(await anext(stream)).seq for _ in range(16)] == list(range(1, 17))
    with pytest.raises(LimitExceeded):
        await anext(stream)
    assert hub.stats()["watches"] == 0


async def test_e5_a_burst_waits_its_turn_and_no_queue_grows_with_it(
    hub: Hub, clock: VirtualClock
) -> None:
    _, ear = await join(hub, "bob")
    calls = [asyncio.ensure_future(hub.invite_as("amy", "bob", timeout=500)) for _ in range(6000)]
    longest = 0
    while not all(call.done() for call in calls):
        await turns(1)
        stats = hub.stats()
        longest = max(longest, stats["deliveries_waiting"] + stats["facts_waiting"])
    await clock.settle()
    assert len(ear.heard) == 6000
    assert longest <= BACKLOG_MAX + 100


@pytest.mark.parametrize(
    "limits",
    [Limits(ended_max=30, requests_max=20, devices_remembered=3, sessions_per_user=4, open_max=50)],
)
async def test_e5_what_is_remembered_is_bounded(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    for number in range(100):
        name = await hub.invite_as("amy", "bob", request_id=f"r {number}")
        await hub.cancel_by_server(name)
        session = await hub.login("bob", f"device {number}")
        await session.logout()
        await clock.settle()
    stats = hub.stats()
    assert stats["ended_remembered"] <= 30 + 1
    assert stats["requests_remembered"] <= 20
    assert len(hub._delivery.accounts["bob"].devices) <= 3
    for number in range(4):
        await hub.login("bob", str(number))
    assert await code_of(hub.login("bob", "one more")) == 7008
    for _ in range(50):
        await hub.invite_as("amy", "bob")
    assert await code_of(hub.invite_as("amy", "bob")) == 7008


# -- E6 (every allocation of the core in turn: tests/engine/test_memory_runs_out.py) ---------------


@pytest.mark.parametrize("table", ["users_max", "groups_max", "capacity"])
def test_e6_whatever_runs_out_first_is_a_clean_error(table: str) -> None:
    for size in range(1, 12):
        machine = make(**{table: size}, ended_max=0)
        opened = 0
        for number in range(30):
            before, stats = machine.state_hash(), machine.stats()

            def invite(machine: Machine, name: str) -> None:
                machine.open(START_MS, f"amy {name}", [f"bob {name}", "cy"], group_id=f"g {name}")

            result = attempt(invite, machine, str(number))
            machine.check()
            opened += result == "done"
            if result != "done":
                assert result == "table_full"
                assert machine.state_hash() == before
                for key in ("open", "timers", "slots", "free", "position", "invitations"):
                    assert machine.stats()[key] == stats[key], key
        assert opened <= size
        assert table == "users_max" or opened == size
        machine.advance(DUE_MS)
        machine.take()
        machine.advance(DUE_MS + DAY_MS)
        machine.check()
        assert machine.stats()["open"] == 0


# -- E7 (each heavy thing by itself: tests/delivery) -----------------------------------------------


def test_e7_nothing_holds_the_loop() -> None:
    """Everything expires at once; a group hears of much; a list is cancelled; a group ends."""
    crowd = [f"user {number}" for number in range(scaled(4000, 1000))]
    ends_per_turn: list[int] = []

    async def work(meter: StepMeter) -> None:
        clock = VirtualClock()
        async with Hub(clock=clock) as hub:
            for user in crowd[: scaled(1000, 250)]:
                await join(hub, user)
            await hub.groups.put("g", ["amy", *crowd])
            for number in range(scaled(30_000, 20_000)):
                callee = crowd[number % len(crowd)]
                await hub.invite_as(f"caller {number % 50}", callee, timeout=60)
            await clock.settle()
            with meter.on():
                await asyncio.sleep(0)
                working = begin(mass_work(hub, clock))
                while not working.done():
                    position = hub.shard.machine.position
                    await asyncio.sleep(0)
                    ends_per_turn.append(hub.shard.machine.position - position)
            await working
            assert hub.stats()["open"] == 0

    async def mass_work(hub: Hub, clock: VirtualClock) -> None:
        await clock.advance(60)
        for _ in range(20):
            name = await hub.invite_in_group_as("amy", "g", crowd[:100])
        await hub.cancel_as("amy", name)
        await hub.groups.dismiss("g")
        await clock.settle()

    meter = run_metered(work)
    assert max(ends_per_turn) <= 2048, "more ends in one turn than a slice or two"
    assert meter.longest.work_ms < STEP_MS_MAX, str(meter.longest)
