"""Races, each made by hand: what is cancelled, raises, closes or comes back between two lines."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
import uvloop
from busy import PATIENCE_S, begin_mass_expiry, code_of
from ears import ConnectionEar, join
from scale import SLOWDOWN
from slow_journal import SlowJournal

from pysignal import (
    Hub,
    Limits,
    Session,
    SignalingError,
    SignalingEvent,
    SignalingInfo,
    SignalingListener,
    VirtualClock,
)
from pysignal.journal import MemoryJournal
from pysignal.journal.entries import MACHINE

pytestmark = pytest.mark.anyio


@pytest.fixture
def journal() -> SlowJournal:
    return SlowJournal()


class Hearing(SignalingListener):
    """Hears every event with an `async def` method that the test gives."""

    def __init__(self, hear: Callable[[SignalingEvent], Awaitable[None]]) -> None:
        self.hear = hear

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        await self.hear(event)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


def begin(call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    return asyncio.ensure_future(call)


# -- the end of a hub ------------------------------------------------------------------------------


async def crowd(hub: Hub, size: int) -> list[Session]:
    """Sessions whose logout takes several turns."""
    return [await hub.login(f"user {number}") for number in range(size)]


async def test_closing_twice_at_once_while_the_journal_is_slow_is_one_end(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    amy, _ = await join(hub, "amy")
    journal.shut()
    inviting = begin(amy.signaling.invite("bob"))
    await turns(1)
    both = [begin(hub.close()), begin(hub.close())]
    await turns(5)
    journal.release(all_later=True)
    assert await asyncio.gather(*both) == [None, None]
    assert await inviting


async def test_who_stops_waiting_for_the_end_does_not_stop_it(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    await hub.open()
    sessions = await crowd(hub, 600)
    outcome = begin((await sessions[-1].signaling.invite("zoe")).outcome())
    await turns(1)
    closing = begin(hub.close())
    await turns(2)
    closing.cancel()
    await hub.close()
    assert not any(session.online for session in sessions)
    assert await code_of(outcome) == 6013


async def test_a_call_made_while_a_hub_closes_is_refused_and_writes_nothing(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    sessions = await crowd(hub, 600)
    closing = begin(hub.close())
    await turns(2)
    last = next(session for session in reversed(sessions) if session.online)
    calls = [begin(last.signaling.invite("zoe")) for _ in range(600)]
    await closing
    assert {await code_of(call) for call in calls} == {6013}
    assert not any(record[:1] == MACHINE for record in journal.replay())
    assert journal.under_way == 0


async def test_a_block_with_a_session_may_end_while_the_hub_closes(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    await hub.open()
    await crowd(hub, 600)
    connection = ConnectionEar()

    async def use() -> str:
        async with await hub.login("zoe") as zoe:
            zoe.add_connection_listener(connection)
            while hub.is_open:
                await turns(1)
        return "went on"

    using = begin(use())
    await turns(1)
    await hub.close()
    assert await asyncio.wait_for(using, PATIENCE_S) == "went on"
    assert len(connection.heard) <= 1


async def test_listeners_that_close_the_hub_go_on(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    await hub.open()
    done = []

    async def hear(event: SignalingEvent) -> None:
        await hub.close()
        await asyncio.sleep(0)
        done.append(event.kind)

    for device in "12":
        await hub.login("bob", device, listener=Hearing(hear))
    await hub.invite_as("amy", "bob")
    await turns(50)
    assert (hub.is_open, done) == (False, ["opened"] * 2)


async def test_a_listener_that_will_not_stop_does_not_keep_a_hub_from_closing(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.courier.STOP_S", 0.02)
    door = asyncio.Event()

    async def hear(_: SignalingEvent) -> None:
        while not door.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await door.wait()

    hub = Hub(clock=clock)
    await hub.open()
    await hub.login("bob", listener=Hearing(hear))
    await hub.invite_as("amy", "bob")
    await clock.settle()
    closing = begin(hub.close())
    done, _ = await asyncio.wait({closing}, timeout=1)
    door.set()
    await closing
    assert done, "the end waits for a listener that swallows its cancellation"


async def test_a_hub_that_could_not_be_opened_can_be_closed(clock: VirtualClock) -> None:
    journal = MemoryJournal()
    await journal.append([b"no key"], 0)
    hub = Hub(clock=clock, journal=journal)
    with pytest.raises(ValueError, match="key"):
        await hub.open()
    await hub.close()


async def test_closing_after_the_journal_failed_never_holds_the_loop(
    clock: VirtualClock, journal: SlowJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    sessions = await crowd(hub, 1500)
    users = [session.user_id for session in sessions]
    for number in range(20):
        await hub.groups.put(f"g{number}", users)
    await clock.settle()
    journal.shut()
    inviting = (hub.invite_in_group_as(users[0], f"g{n % 20}", [users[1]]) for n in range(400))
    calls = [begin(call) for call in inviting]
    await turns(3)
    journal.error = OSError("disk")
    journal.release(all_later=True)
    assert {await code_of(call) for call in calls} == {6012}
    closing = begin(hub.close())
    longest_s = 0.0
    while not closing.done():
        began = time.thread_time()
        await asyncio.sleep(0)
        longest_s = max(longest_s, time.thread_time() - began)
    assert longest_s < 0.05 * SLOWDOWN


# -- the journal -----------------------------------------------------------------------------------


async def test_an_outcome_asked_for_after_the_journal_failed_fails(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    async with Hub(clock=clock, journal=journal) as hub:
        amy, _ = await join(hub, "amy")
        call = await amy.signaling.invite("bob", timeout=5)
        journal.error = OSError("disk")
        assert await code_of(amy.signaling.invite("bob")) == 6012
        assert await code_of(call.outcome()) == 6012


async def test_virtual_time_moves_on_while_calls_wait_for_a_journal_that_sleeps_in_it(
    clock: VirtualClock,
) -> None:
    class Disk(MemoryJournal):
        async def append(self, records: Sequence[bytes], expected_position: int) -> None:
            await clock.sleep(0.01)
            await super().append(records, expected_position)

    async with Hub(clock=clock, journal=Disk()) as hub:
        calls = [begin(hub.invite_as("amy", f"guest {number}")) for number in range(1500)]
        try:
            await asyncio.wait_for(clock.advance(0.2), 2)
            assert all(call.done() for call in calls)
        finally:  # nothing else would let time pass now
            for call in calls:
                call.cancel()
            closing = begin(hub.close())
            while not closing.done():
                for _, _, timer in clock._timers:
                    callback, timer.call = timer.call, None
                    if callback is not None:
                        callback()
                await asyncio.sleep(0)


class Stop(BaseException):
    """Neither an error nor a cancellation."""


@pytest.mark.parametrize("how", ["cancelled before its first step", "stopped"])
def test_whatever_ends_an_append_everybody_hears_of_it_and_nothing_is_left_out(how: str) -> None:
    clock, journal = VirtualClock(), SlowJournal()

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        async with Hub(clock=clock, journal=journal) as hub:
            await hub.invite_as("amy", "bob")
            await turns(5)
            journal.error = Stop() if how == "stopped" else None
            before = asyncio.all_tasks()
            calls = [begin(hub.invite_as("amy", "cy"))]
            await turns(2)
            if journal.error is None:
                for task in asyncio.all_tasks() - before - set(calls):
                    task.cancel()
            await turns(5)
            journal.error = None
            calls.append(begin(hub.invite_as("amy", "dee")))
            await turns(5)
            assert [call.done() for call in calls] == [True, True]
            assert [await code_of(call) for call in calls] == [6012, 6012]
        async with Hub(clock=clock, journal=journal) as hub:
            assert len(await hub.pending("bob")) == 1

    logging.getLogger("pysignal").disabled = True
    try:
        asyncio.run(run())
    finally:
        logging.getLogger("pysignal").disabled = False


# -- logins ----------------------------------------------------------------------------------------


async def test_a_handle_hears_of_the_opening_once_whoever_logs_in(
    hub: Hub, clock: VirtualClock
) -> None:
    call = await hub.invite_as("amy", "bob")
    early, late = aiter(call), aiter(call)
    assert (await anext(early)).kind == "opened"
    for device in "12":
        await join(hub, "bob", device)
        await clock.settle()
    await hub.accept_as("bob", call)
    await clock.settle()
    assert [event.kind async for event in early] == ["accepted"]
    assert [event.kind async for event in late] == ["opened", "accepted"]


async def test_what_one_device_has_heard_without_a_deadline_no_cold_login_in_its_turn_rings(
    hub: Hub, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, first = await join(hub, "bob", "1")
    advancing = await begin_mass_expiry(hub, clock)
    monkeypatch.setattr("pysignal.commands.RUN_NS", 0)  # one call each turn
    calls = [begin(hub.invite_as("amy", "bob", timeout=0))]
    calls += [begin(hub.pending("amy")) for _ in range(3)]
    await turns(1)
    joining = begin(join(hub, "bob", "2"))
    await turns(1)
    calls.append(begin(hub.pending("amy")))  # still waits when the login is carried out
    _, second = await joining
    assert [heard[0] for heard in first.take()] == ["receive_new_invitation"]
    await asyncio.gather(*calls, advancing)
    await clock.settle()
    assert second.take() == []


async def test_a_push_that_is_checked_after_the_logout_is_answered(clock: VirtualClock) -> None:
    async with Hub(clock=clock, limits=Limits(devices_remembered=0)) as hub:
        name = await hub.invite_as("amy", "bob", online_user_only=True, timeout=60)
        bob, _ = await join(hub, "bob")
        advancing = await begin_mass_expiry(hub, clock)
        info = SignalingInfo(name, "amy", "", ["bob"])
        adding = begin(bob.signaling.add_invited_signaling(info))
        await turns(1)
        await bob.logout()
        with contextlib.suppress(SignalingError):
            await adding
        await advancing


# -- listeners -------------------------------------------------------------------------------------


async def test_an_async_listener_with_the_wrong_parameters_is_logged_with_its_invitation(
    hub: Hub, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Wrong(SignalingListener):
        async def on_signaling_event(self) -> None:  # type: ignore[override]
            """Take no event."""

    await hub.login("bob", listener=Wrong())
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    name = await hub.invite_as("amy", "bob")
    await clock.settle()
    gc.collect()
    assert [name in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize("when", ["before its first step", "by a listener that goes on"])
async def test_a_cancelled_task_of_listeners_takes_nothing_from_the_others(
    hub: Hub, clock: VirtualClock, when: str
) -> None:
    heard = []

    async def cancel(_: SignalingEvent) -> None:
        task = asyncio.current_task()
        if task is not None and when != "before its first step":
            task.cancel()

    async def hear(event: SignalingEvent) -> None:
        await asyncio.sleep(0)
        heard.append(event.kind)

    bob = await hub.login("bob", listener=Hearing(cancel))
    bob.add_signaling_listener(Hearing(hear))
    await clock.settle()
    before = asyncio.all_tasks()
    await hub.invite_as("amy", "bob")
    hub._turn()
    if when == "before its first step":
        for task in asyncio.all_tasks() - before:
            task.cancel()
    await clock.settle()
    assert heard == ["opened"]


@pytest.mark.parametrize("how", ["logout", "removal"])
async def test_what_a_plain_method_gave_back_to_be_awaited_ends_with_its_listener(
    hub: Hub, clock: VirtualClock, how: str
) -> None:
    heard = []

    async def hear(event: SignalingEvent) -> None:
        heard.append(event.kind)

    class Plain(SignalingListener):
        def on_signaling_event(self, event: SignalingEvent) -> Awaitable[None]:
            return hear(event)

    listener = Plain()
    bob = await hub.login("bob", listener=listener)
    await hub.invite_as("amy", "bob")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hub._turn()
        if how == "logout":
            await bob.logout()
        else:
            bob.remove_signaling_listener(listener)
        await clock.settle()
        gc.collect()
    assert heard == []


# -- threads and processes -------------------------------------------------------------------------


def test_hubs_on_loops_of_two_threads_do_not_disturb_each_other() -> None:
    names: dict[int, list[str]] = {0: [], 1: []}

    async def run(shard: int) -> None:
        async with Hub(shard=shard) as hub:
            bob, ear = await join(hub, "bob")
            for number in range(600):
                name = await hub.invite_as("amy", "bob", timeout=0.01 if number % 2 else 30)
                names[shard].append(str(name))
                if number % 10 == 0:
                    await bob.signaling.accept(name)
                    await asyncio.sleep(0)
                    hub.shard.machine.check()
            await asyncio.sleep(0.1)
            assert len(ear.heard) == 600 + 300

    (other := threading.Thread(target=lambda: uvloop.run(run(1)))).start()
    asyncio.run(run(0))
    other.join(PATIENCE_S)
    assert len({*names[0], *names[1]}) == 1200


FORK = """
import asyncio
import os

from pysignal import Hub


async def run() -> list[str]:
    async with Hub() as hub:
        read_end, write_end = os.pipe()
        child = os.fork()
        made = [str(await hub.invite_as("amy", "bob")) for _ in range(100)]
        if not child:
            os.write(write_end, " ".join(made).encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            made += pipe.read().split()
        os.waitpid(child, 0)
        return made


print(len(set(asyncio.run(run()))))
"""


def test_processes_that_share_an_open_hub_by_a_fork_never_make_the_same_id() -> None:
    """In a process of its own: to fork that of all tests may need more memory than there is."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200"]
