"""The turn of a hub, with the n-th of Python's allocations failing, for every n.

A turn publishes what was committed, to the journal and to those who hear it. Whatever fails in it,
the next turns make up for: the journal gets every record once, handles and listeners every event
once. Only who could not be called for want of memory is disconnected (7008), and catches up; and
where a listener itself runs out of memory, that is logged, as all that listeners raise.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from ears import ConnectionEar, Ear
from memory import PYTHON, Memory

import pysignal.hub
from pysignal import Hub, LimitExceeded, Session, SignalingListener, VirtualClock
from pysignal.journal.memory import MemoryJournal

# Events in a batch of which Python makes no tuple out of what it keeps.
MANY = 25

USERS = ("anna", "ben", "carl", "dora")


class Courier(SignalingListener):
    """A listener that is called by its session's courier."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_signaling_event(self, event: Any) -> None:
        self.heard.append(f"{event.kind} {event.seq} {event.data}")


class Batches(SignalingListener):
    """Hears everything in batches."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_signaling_events(self, events: list[Any]) -> None:
        for event in events:
            self.heard.append(f"{event.kind} {event.seq} {event.data}")


class CourierBatches(Batches):
    """Hears everything in batches, from its session's courier."""

    async def on_signaling_events(self, events: list[Any]) -> None:  # type: ignore[override]
        super().on_signaling_events(events)


class Stage:
    """A hub with sessions of every sort, and news for each of them that was not delivered yet."""

    async def set_up(self, journaled: bool) -> None:
        self.journal = MemoryJournal() if journaled else None
        self.clock = VirtualClock()
        self.hub = Hub(clock=self.clock, journal=self.journal, seed=1)
        await self.hub.open()
        self.sessions: list[Session] = []
        self.seats: list[tuple[Session, Any, ConnectionEar]] = []
        for user, device in (*((user, "1") for user in USERS), ("ben", "2")):
            session = self.hub.session(user, device)
            end = ConnectionEar()
            session.add_connection_listener(end)
            is_async = (user, device) == ("carl", "1")
            ears = (Courier(), CourierBatches()) if is_async else (Ear(), Batches())
            for ear in ears[: 1 if user == "dora" else 2]:
                session.add_signaling_listener(ear)
                self.seats.append((session, ear, end))
            await session.login()
            self.sessions.append(session)
        await self.sessions[0].groups.create_group("Meeting", "class")
        await self.hub.groups.add("class", USERS[1:])
        self.read = self.sessions[3].events()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def act(self) -> None:
        """Commit things; with a journal the callers wait for it, and are left waiting here."""
        server = self.hub.acting_as("anna").signaling  # it is never disconnected
        ids = await asyncio.gather(
            server.invite("ben", "one", request_id="r"),
            server.invite("ben", "notice", timeout=0),
            server.invite_in_group("class", ["ben", "carl"], "group"),
        )
        self.outcomes = [asyncio.ensure_future(ask(invitation)) for invitation in ids]
        self.events = asyncio.ensure_future(follow(ids[2]))
        await self.settle()
        machine, ids = self.hub.shard.machine, [str.__str__(invite_id) for invite_id in ids]
        machine.accept(self.hub.now_ms, ids[0], "ben", "yes", device=0)
        machine.accept(self.hub.now_ms, ids[2], "carl", "here")
        for number in range(MANY):
            machine.modify(self.hub.now_ms, ids[2], "anna", f"changed {number}")
        machine.cancel(self.hub.now_ms, ids[1], "anna", "never mind")
        machine.cancel(self.hub.now_ms, ids[2], None, "enough")

    async def outcome(self) -> list[Any]:
        """Everything that anybody has heard of it, and what the journal holds."""
        self.hub._schedule()  # as the next command does: it may be that which had no memory
        await self.settle()
        said: list[Any] = [
            *[result(task) for task in (*self.outcomes, self.events)],
            [] if self.journal is None else list(self.journal.replay()),
            self.hub.stats(),
        ]
        for session, ear, end in self.seats:
            said.append((ear.heard, session.online, end.heard))
        await self.hub.close()
        said.append([f"{event.kind} {event.seq} {event.data}" async for event in self.read])
        return said


def result(task: asyncio.Task[Any]) -> Any:
    """What a task has come to; None where asyncio itself had no memory to wake it."""
    if not task.done():
        waits_for = task._fut_waiter  # type: ignore[attr-defined]
        assert waits_for.done(), "somebody waits for ever"
        task.cancel()
        return None
    return task.result()


async def ask(invitation: Any) -> Any:
    """Wait for the outcome; ask again where memory has run out."""
    try:
        outcome = await invitation.outcome()
    except LimitExceeded:
        outcome = await invitation.outcome()
    return outcome.state, outcome.statuses


async def follow(invitation: Any) -> list[str]:
    """Read all events; begin again where memory has run out."""
    try:
        return [f"{event.kind} {event.seq} {event.data}" async for event in invitation]
    except LimitExceeded:
        return [f"{event.kind} {event.seq} {event.data}" async for event in invitation]


async def turn(memory: Memory, count: int, in_a_row: int, journaled: bool) -> tuple[list[Any], int]:
    """Let allocation `count` of a turn fail; return (what came of it, how many failed)."""
    stage = Stage()
    await stage.set_up(journaled)
    await stage.act()
    try:
        _, failed = memory.attempt(PYTHON, count, in_a_row, stage.hub._turn)
    except MemoryError:
        failed = 1
    return await stage.outcome(), failed


class Logged(logging.Handler):
    """Counts the failures of listeners."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        assert record.msg.startswith("listener")
        self.count += 1


def compare(wanted: list[Any], found: list[Any], raised: int) -> int:
    """Compare what came of a turn with what should; return how many sessions were disconnected.

    Args:
        wanted: what comes of it where nothing fails.
        found: what came of it.
        raised: how many listeners have raised.
    """
    for ours, theirs in zip(found[:4], wanted[:4], strict=True):
        assert ours in (theirs, None), (ours, theirs)
    assert found[4] == wanted[4], "the journal holds something else"
    disconnected = 0
    for ours, theirs in zip(found[6:-1], wanted[6:-1], strict=True):
        if ours != theirs:
            heard, online, ends = ours
            left = iter(theirs[0])
            assert all(one in left for one in heard)  # some of it, in order, nothing twice
            if online:
                raised -= 1
                continue
            assert ends == [("disconnected", 7008)]
            disconnected += 1
    assert raised >= 0, "somebody was not called, and nothing was logged"
    return disconnected


async def play(memory: Memory) -> None:
    """Print how many allocations a turn makes, and how often failing one has cost a session."""
    logged = Logged()
    log = logging.getLogger("pysignal")
    log.addHandler(logged)
    log.propagate = False
    pysignal.hub.TURN_NS = 10**10  # type: ignore[misc] # all in one turn, on a slow machine too
    for journaled in (False, True):
        wanted, _ = await turn(memory, 0, 0, journaled)
        count, disconnected, failed = 0, 0, 1
        while failed:
            logged.count = 0
            found, failed = await turn(memory, count, 1, journaled)
            disconnected += compare(wanted, found, logged.count)
            count += 1
        print(count, disconnected)


if __name__ == "__main__":
    asyncio.run(play(Memory()))
