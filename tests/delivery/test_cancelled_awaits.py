"""Awaits that are cancelled, at every turn of the loop at which they could be.

Each operation is called where it takes several turns: behind undelivered events, behind a mass
expiry, behind a journal that is slow. For every n it is cancelled after the n-th turn. Whenever
that was, the operation has taken effect as if nobody had cancelled, or not at all, which everybody
hears likewise; and the hub goes on. IDs are repeatable, so that whole states can be compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from busy import run_now
from delivery.stage import OPERATIONS, Operation, Stage, set_up
from slow_journal import SlowJournal

from pysignal import Hub, HubClosed, Invitation, VirtualClock

BACKLOG_MAX = 8
TURNS_MAX = 60

HOLDS = ("backlog", "expiry", "journal")


# What changes something takes a request ID, by which it is safe to ask again.
RETRIED: dict[str, Callable[[Stage, str], Awaitable[object]]] = {
    "invite": lambda s, r: s.amy.signaling.invite("bob", "new", request_id=r),
    "accept": lambda s, r: s.bob.signaling.accept(s.ids["one"], "yes", request_id=r),
    "cancel": lambda s, r: s.amy.signaling.cancel(s.ids["list"], "off", request_id=r),
    "modify": lambda s, r: s.amy.signaling.modify_invitation(s.ids["one"], "o", request_id=r),
    "quit": lambda s, r: s.bob.groups.quit_group("crew", request_id=r),
    "kick": lambda s, r: s.amy.groups.kick_group_member("crew", "bob", request_id=r),
}


async def hold(stage: Stage, how: str) -> asyncio.Future[Any] | None:
    """Bring the hub to a moment at which an operation takes several turns.

    Returns:
        What else is under way, to be awaited in the end.
    """
    if how == "backlog":
        await stage.hub.groups.put("noise", ["x", "y"])
        for _ in range(5):
            await stage.hub.invite_in_group_as("x", "noise", ["y"])
        await stage.clock.settle()
        while (
            stage.hub.stats()["deliveries_waiting"] + stage.hub.shard.machine.waiting
        ) < BACKLOG_MAX - 1:
            run_now(stage.hub.invite_as("y", "x"))
        run_now(stage.hub.groups.dismiss("noise"))
    elif how == "expiry":
        for number in range(60):
            await stage.hub.invite_as("y", f"x {number}", timeout=1)
        return asyncio.ensure_future(stage.clock.advance(1))
    elif stage.journal is not None:
        stage.journal.shut()
        waiting = asyncio.ensure_future(stage.hub.invite_as("y", "x"))
        await asyncio.sleep(0)
        return waiting
    return None


def picture(stage: Stage) -> tuple[Any, ...]:
    """All that an operation could change, and all that was heard."""
    hub = stage.hub
    stats = hub.stats()
    names = ("open", "timers", "sessions", "groups_existing", "watches", "commands_waiting")
    return (
        hub.shard.machine.state_hash(),
        hub.shard.groups.state_hash(),
        [stats[name] for name in names],
        [ear.heard for ear in stage.ears],
    )


async def play(
    how: str, operation: Operation | None, turns: int | None, retry: Operation | None = None
) -> tuple[tuple[Any, ...], str, int]:
    """Play an operation, cancelled after some turns, or not; returns picture, outcome, turns."""
    clock = VirtualClock()
    journal = SlowJournal() if how == "journal" else None
    async with Hub(clock=clock, journal=journal, seed=7) as hub:
        stage = await set_up(hub, clock, journal)
        under_way = await hold(stage, how)
        while how == "expiry" and not hub._commands:  # noqa: ASYNC110 - until it has begun
            await asyncio.sleep(0)
        outcome, taken = "", 0
        if operation is not None:
            task = asyncio.ensure_future(operation(stage))
            for taken in range(TURNS_MAX):
                if task.done() or taken == turns:
                    break
                await asyncio.sleep(0)
                if journal is not None and taken == 3:
                    journal.release(all_later=True)
            task.cancel()
            [result] = await asyncio.gather(task, return_exceptions=True)
            outcome = "cancelled" if isinstance(result, asyncio.CancelledError) else repr(result)
        if journal is not None:
            journal.release(all_later=True)
        if under_way is not None:
            await under_way
        await clock.settle()
        if retry is not None:
            outcome = repr(await retry(stage))
            await clock.settle()
        found = picture(stage)
        # The hub goes on: the next operation works, and is heard.
        for ear in stage.ears:
            ear.take()
        after = await hub.invite_as("zoe", "bob")
        await clock.settle()
        assert [heard[1] for heard in stage.ears[2].heard] == [after]
    return found, outcome, taken


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few invitations are a mass expiry already, and a few events more than a turn delivers."""
    monkeypatch.setattr("pysignal.shard.STEPS_MAX", 16)
    monkeypatch.setattr("pysignal.commands.BACKLOG_MAX", BACKLOG_MAX)
    monkeypatch.setattr("pysignal.hub.TURN_NS", 0)


@pytest.mark.parametrize("how", HOLDS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_cancelled_at_any_turn_has_happened_wholly_or_not_at_all(
    name: str, how: str
) -> None:
    async def run() -> None:
        without, _, _ = await play(how, None, None)
        whole, result, turns = await play(how, OPERATIONS[name], None)
        assert result != "cancelled"
        assert turns > 1, "it was to take several turns"
        assert turns < TURNS_MAX - 1
        for at in range(turns + 1):
            found, outcome, _ = await play(how, OPERATIONS[name], at)
            if at == 0:  # it had not begun
                assert (found, outcome) == (without, "cancelled")
            else:  # it has its place in the order
                assert found == whole
                assert outcome == (result if at == turns else "cancelled")

    asyncio.run(run())


@pytest.mark.parametrize("how", HOLDS)
@pytest.mark.parametrize("name", RETRIED)
def test_an_operation_cancelled_at_any_turn_is_retried_with_one_effect(name: str, how: str) -> None:
    def call(stage: Stage) -> Awaitable[object]:
        return RETRIED[name](stage, "r")

    async def run() -> None:
        whole, result, turns = await play(how, call, None)
        for at in range(turns + 1):
            found, outcome, _ = await play(how, call, at, retry=call)
            if at > 0:
                assert found == whole
            assert outcome == result

    asyncio.run(run())


# -- those who follow an invitation, or a session --------------------------------------------------


async def follow(stage: Stage, found: list[str], attempt: int) -> asyncio.Task[Any]:
    """Begin to wait for an outcome or an event, in one of several ways."""
    stream = stage.amy.events()

    async def read() -> None:
        found.append((await anext(stream)).kind)

    invitation = stage.ids["one"]
    waits: list[Callable[[], Any]] = [
        lambda: Invitation(invitation, stage.amy).outcome(),
        lambda: anext(aiter(Invitation(invitation, stage.bob))),
        read,
    ]
    return asyncio.ensure_future(waits[attempt % len(waits)]())


@pytest.mark.parametrize("way", range(3), ids=["outcome", "iteration", "events"])
def test_who_stops_waiting_at_any_turn_leaves_nothing_and_disturbs_nobody(way: int) -> None:
    async def run(turns: int) -> bool:
        """Cancel one who waits after some turns; whether it was done by then."""
        clock = VirtualClock()
        async with Hub(clock=clock, seed=7) as hub:
            stage = await set_up(hub, clock, None)
            found: list[str] = []
            invitation = Invitation(stage.ids["one"], stage.amy)
            staying = asyncio.ensure_future(invitation.outcome())
            reading = aiter(invitation)
            stopping = await follow(stage, found, way)
            answering = asyncio.ensure_future(stage.bob.signaling.accept(invitation, "yes"))
            for _ in range(turns):
                await asyncio.sleep(0)
            was_done = stopping.done()
            stopping.cancel()
            [result] = await asyncio.gather(stopping, return_exceptions=True)
            assert isinstance(result, asyncio.CancelledError) is not was_done
            assert await answering is None
            assert (await staying).status == "accepted"
            assert [event.kind async for event in reading] == ["opened", "accepted"]
            assert hub.stats()["watches"] == len(stage.amy._watches) == 0
            del stopping
            return was_done

    done = [asyncio.run(run(turns)) for turns in range(8)]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (False, True)


def test_a_reader_who_is_cancelled_at_any_turn_reads_every_event_once() -> None:
    async def run(turns: int) -> None:
        clock = VirtualClock()
        async with Hub(clock=clock, seed=7) as hub:
            stage = await set_up(hub, clock, None)
            invitation = Invitation(stage.ids["one"], stage.amy)
            streams = [aiter(invitation), stage.bob.events()]
            read: list[list[str]] = [[], []]
            for number in range(5):
                await stage.amy.signaling.modify_invitation(invitation, str(number))
                for stream, kinds in zip(streams, read, strict=True):
                    reading = asyncio.ensure_future(anext(stream))
                    for _ in range((turns + number) % 4):
                        await asyncio.sleep(0)
                    reading.cancel()
                    [event] = await asyncio.gather(reading, return_exceptions=True)
                    if not isinstance(event, BaseException):
                        kinds.append(event.data)
            await stage.bob.signaling.accept(invitation, "yes")
            await clock.settle()
            await stage.bob.logout()
            for stream, kinds in zip(streams, read, strict=True):
                kinds += [event.data async for event in stream]
            modified = [str(number) for number in range(5)]
            assert read == [["one", *modified, "yes"], modified]

    for turns in range(4):
        asyncio.run(run(turns))


@pytest.mark.parametrize("how", HOLDS)
def test_an_end_that_is_cancelled_at_any_turn_goes_on(how: str) -> None:
    async def run(turns: int) -> bool:
        clock = VirtualClock()
        journal = SlowJournal() if how == "journal" else None
        hub = Hub(clock=clock, journal=journal, seed=7)
        await hub.open()
        stage = await set_up(hub, clock, journal)
        for ear in stage.ears:
            ear.take()
        under_way = await hold(stage, how)
        calling = asyncio.ensure_future(stage.amy.signaling.invite("bob", "last"))
        await asyncio.sleep(0)
        closing = asyncio.ensure_future(hub.close())
        for turn in range(turns):
            await asyncio.sleep(0)
            if journal is not None and turn == 3:
                journal.release(all_later=True)
        was_done = closing.done()
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        if journal is not None:
            journal.release(all_later=True)
        await hub.close()
        [result] = await asyncio.gather(calling, return_exceptions=True)
        heard = [call[1] for call in stage.ears[2].heard if call[0] == "receive_new_invitation"]
        # Who was answered is heard, who was refused is not.
        assert heard == ([result] if isinstance(result, str) else [])
        assert not isinstance(result, BaseException) or isinstance(result, HubClosed)
        assert not any(session.online for session in (stage.amy, stage.bob))
        if under_way is not None:
            await asyncio.gather(under_way, return_exceptions=True)
        return was_done

    done = [asyncio.run(run(turns)) for turns in range(TURNS_MAX)]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (False, True)
