"""Listeners: isolated from each other, bounded, in order, and never called after their removal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from busy import PATIENCE_S, code_of, run_now
from ears import ConnectionEar, Ear, join

from pysignal import (
    ConnectionListener,
    GroupListener,
    Hub,
    InvalidParameter,
    Limits,
    Session,
    SignalingListener,
    VirtualClock,
)

pytestmark = pytest.mark.anyio


class Ringing(SignalingListener):
    """Calls back on each new invitation."""

    def __init__(self, call: Callable[[str], object]) -> None:
        self.call = call

    def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
        self.call(invite_id)


class SlowRinging(SignalingListener):
    """Awaits on each new invitation."""

    def __init__(self, call: Callable[[str], Awaitable[object]]) -> None:
        self.call = call

    async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
        await self.call(invite_id)


class Door:
    """Calls wait here, one after another, until it is opened."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.left: list[str] = []
        self.opened = asyncio.Event()

    async def pass_through(self, invite_id: str) -> None:
        self.came.append(invite_id)
        await self.opened.wait()
        self.left.append(invite_id)


async def ring(session: Session, count: int = 1) -> list[str]:
    return [str(await session.signaling.invite("bob", timeout=60)) for _ in range(count)]


def rung(ear: Ear) -> list[str]:
    return [call[1] for call in ear.take() if call[0] == "receive_new_invitation"]


# -- raising ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError(), MemoryError()])
@pytest.mark.parametrize("slow", [False, True])
async def test_a_listener_that_raises_is_logged_and_harms_nobody(
    hub: Hub, clock: VirtualClock, caplog: pytest.LogCaptureFixture, error: Any, slow: bool
) -> None:
    amy, _ = await join(hub, "amy")
    bob = hub.session("bob")
    calls: list[str] = []

    def fail(invite_id: str) -> None:
        calls.append(invite_id)
        raise error

    async def fail_later(invite_id: str) -> None:
        fail(invite_id)

    first, last = Ear(), Ear()
    listener = SlowRinging(fail_later) if slow else Ringing(fail)
    for each in (first, listener, last):
        bob.add_signaling_listener(each)
    await bob.login()
    _, other = await join(hub, "bob", "2")
    invite_ids = [str(await amy.signaling.invite("bob", "secret")) for _ in range(3)]
    await clock.settle()
    assert calls == invite_ids
    for ear in (first, last, other):
        assert rung(ear) == invite_ids
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 3
    for record, invite_id in zip(caplog.records, invite_ids, strict=True):
        assert invite_id in record.getMessage()
        assert "secret" not in record.getMessage()
    assert bob.online


async def test_each_listener_gets_a_list_of_its_own(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob = hub.session("bob")

    class Spoiler(SignalingListener):
        def on_receive_new_invitation(
            self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
        ) -> None:
            invitee_list.clear()

        def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
            invitee_list.append("nobody")

    ear = Ear()
    bob.add_signaling_listener(Spoiler())
    bob.add_signaling_listener(ear)
    await bob.login()
    invite_id = await amy.signaling.invite("bob", timeout=1)
    await clock.advance(1)
    assert ear.take() == [
        ("receive_new_invitation", invite_id, "amy", "", ["bob"], ""),
        ("invitation_timeout", invite_id, ["bob"]),
    ]


# -- never inside a call, never after the end ------------------------------------------------------


async def test_no_listener_runs_inside_the_call_that_caused_the_event(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, amy_ear = await join(hub, "amy")
    bob, bob_ear = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob")
    assert bob_ear.heard == []
    await clock.settle()
    await bob.signaling.accept(invite_id)
    assert amy_ear.heard == []
    await hub.groups.put("g", ["amy", "bob"])
    await amy.signaling.invite_in_group("g", ["bob"])
    await hub.groups.dismiss("g")
    assert (amy_ear.heard, len(bob_ear.heard)) == ([], 1)


async def test_a_listener_may_log_out_its_session_and_hears_nothing_more(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, amy_ear = await join(hub, "amy")
    bob = hub.session("bob")
    before, after = Ear(), Ear()
    bob.add_signaling_listener(before)
    bob.add_signaling_listener(Ringing(lambda _: run_now(bob.logout())))
    bob.add_signaling_listener(after)
    await bob.login()
    invite_ids = await ring(amy, 3)
    await clock.settle()
    assert rung(before) == invite_ids[:1]
    assert after.heard == []
    assert not bob.online
    assert amy_ear.heard == []
    _, hot = await join(hub, "bob", start="hot")
    await clock.settle()
    assert rung(hot) == invite_ids[1:], "the first one was told"


async def test_an_async_listener_may_log_out_its_session_and_hears_nothing_more(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob = hub.session("bob")
    heard: list[str] = []

    async def leave(invite_id: str) -> None:
        heard.append(invite_id)
        await bob.logout()

    bob.add_signaling_listener(SlowRinging(leave))
    await bob.login()
    invite_ids = await ring(amy, 3)
    await clock.settle()
    assert heard == invite_ids[:1]
    _, hot = await join(hub, "bob", start="hot")
    await clock.settle()
    assert rung(hot) == invite_ids[1:], "what was dropped from the queue was never told"


async def test_an_operation_started_by_a_callback_is_carried_out(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, amy_ear = await join(hub, "amy")
    bob = hub.session("bob")
    tasks: list[asyncio.Task[None]] = []
    bob.add_signaling_listener(
        Ringing(lambda name: tasks.append(asyncio.create_task(bob.signaling.accept(name, "yes"))))
    )
    await bob.login()
    (invite_id,) = await ring(amy)
    await clock.settle()
    assert amy_ear.take() == [("invitee_accepted", invite_id, "bob", "yes")]
    assert all(task.done() for task in tasks)


async def test_an_async_callback_may_await_operations_and_outcomes(
    hub: Hub, clock: VirtualClock
) -> None:
    amy = hub.session("amy")
    bob = hub.session("bob")
    seen: list[str] = []

    async def accept(invite_id: str) -> None:
        await bob.signaling.accept(invite_id)
        back = await bob.signaling.invite("amy", timeout=5)
        seen.append((await back.outcome()).status)

    bob.add_signaling_listener(SlowRinging(accept))
    await amy.login()
    await bob.login()
    call = await amy.signaling.invite("bob")
    assert (await call.outcome()).status == "accepted"
    await clock.advance(5)
    assert seen == ["timed_out"]


# -- adding and removing ---------------------------------------------------------------------------


async def test_a_listener_may_remove_itself_and_others_and_add_more(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob = hub.session("bob")
    heard: list[str] = []
    victim, added = Ear(), Ear()

    class Meddler(Ear):
        def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            heard.append(invite_id)
            bob.signaling.remove_signaling_listener(self)
            bob.signaling.remove_signaling_listener(victim)
            bob.signaling.add_signaling_listener(added)

    meddler = Meddler()
    survivor = Ear()
    for listener in (meddler, victim, survivor):
        bob.signaling.add_signaling_listener(listener)
    await bob.login()
    invite_ids = await ring(amy, 3)
    await clock.settle()
    assert heard == invite_ids[:1]
    assert meddler.events == [], "no other method of it is called either"
    assert (victim.heard, victim.events) == ([], [])
    assert rung(survivor) == invite_ids
    assert rung(added) == invite_ids[1:]


async def test_nothing_queued_for_a_removed_listener_is_called(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob = hub.session("bob")
    door = Door()
    other = Ear()
    listener = SlowRinging(door.pass_through)
    bob.add_signaling_listener(listener)
    bob.add_signaling_listener(other)
    await bob.login()
    invite_ids = await ring(amy, 3)
    await clock.settle()
    bob.remove_signaling_listener(listener)
    bob.remove_signaling_listener(listener)
    door.opened.set()
    await clock.settle()
    assert door.came == invite_ids[:1]
    assert rung(other) == invite_ids
    bob.add_signaling_listener(listener)
    later = await ring(amy)
    await clock.settle()
    assert door.came == invite_ids[:1] + later


async def test_the_same_listener_twice_counts_once_and_equal_ones_are_two(
    hub: Hub, clock: VirtualClock
) -> None:
    class Alike(Ear):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    class AlikeGroups(GroupListener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

        def on_group_dismissed(self, group_id: str, op_user: str) -> None:
            self.heard.append(group_id)

    class AlikeConnection(ConnectionEar):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    amy, _ = await join(hub, "amy")
    await hub.groups.put("g", ["bob"])
    bob = hub.session("bob")
    ears, groups = [Alike(), Alike()], [AlikeGroups(), AlikeGroups()]
    connections = [AlikeConnection(), AlikeConnection()]
    for _ in range(2):
        for number in range(2):
            bob.signaling.add_signaling_listener(ears[number])
            bob.groups.add_group_listener(groups[number])
            bob.add_connection_listener(connections[number])
    await bob.login()
    invite_ids = await ring(amy)
    await hub.groups.dismiss("g")
    await clock.settle()
    assert [rung(ear) for ear in ears] == [invite_ids] * 2
    assert [ear.heard for ear in groups] == [["g"]] * 2
    await join(hub, "bob")
    await clock.settle()
    assert [ear.heard for ear in connections] == [[("kicked_offline", 6208)]] * 2


@pytest.mark.parametrize("wrong", [None, "ear", 7, object(), Ear, ConnectionEar()])
async def test_what_is_no_listener_is_refused(hub: Hub, wrong: Any) -> None:
    bob = hub.session("bob")
    for add in (bob.signaling.add_signaling_listener, bob.groups.add_group_listener):
        with pytest.raises(InvalidParameter) as caught:
            add(wrong)
        assert caught.value.code == 6017
    if not isinstance(wrong, ConnectionListener):
        with pytest.raises(InvalidParameter):
            bob.add_connection_listener(wrong)
    if wrong is not None:
        assert await code_of(hub.login("bob", listener=wrong)) == 6017
    bob.signaling.remove_signaling_listener(wrong)
    bob.groups.remove_group_listener(wrong)
    bob.remove_connection_listener(wrong)
    assert hub.stats()["sessions"] == 0


async def test_a_listener_heard_from_the_first_callback_on_belongs_to_a_login(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob = hub.session("bob")
    early, late = Ear(), Ear()
    bob.signaling.add_signaling_listener(early)
    invite_ids = await ring(amy)
    await bob.login()
    bob.signaling.add_signaling_listener(late)
    await clock.settle()
    assert rung(early) == rung(late) == invite_ids


# -- async listeners -------------------------------------------------------------------------------


async def test_async_listeners_of_a_session_run_one_after_another_in_one_task(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    running = 0
    order: list[tuple[str, str]] = []
    tasks = set()

    class Slow(SignalingListener):
        def __init__(self, name: str) -> None:
            self.name = name

        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            await self.note(invite_id)

        async def on_invitation_cancelled(self, invite_id: str, *_: Any) -> None:
            await self.note(invite_id)

        async def note(self, invite_id: str) -> None:
            nonlocal running
            running += 1
            assert running == 1
            tasks.add(asyncio.current_task())
            await asyncio.sleep(0)
            order.append((self.name, invite_id))
            running -= 1

    bob = hub.session("bob")
    for name in "xy":
        bob.add_signaling_listener(Slow(name))
    await bob.login()
    one, two = await ring(amy, 2)
    await amy.signaling.cancel(one)
    await amy.signaling.cancel(two)
    await clock.settle()
    assert order == [(name, each) for each in (one, two, one, two) for name in "xy"]
    assert len(tasks) == 1


async def test_sessions_do_not_wait_for_each_others_async_listeners(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    doors = {device: Door() for device in "12"}
    for device, door in doors.items():
        await hub.login("bob", device, listener=SlowRinging(door.pass_through))
    invite_ids = await ring(amy, 2)
    doors["2"].opened.set()
    await clock.settle()
    assert (doors["1"].left, doors["2"].left) == ([], invite_ids)
    doors["1"].opened.set()
    await clock.settle()
    assert doors["1"].left == invite_ids


async def test_a_listener_whose_task_is_cancelled_loses_that_call_only(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    heard: list[str] = []

    async def cancel_myself(invite_id: str) -> None:
        heard.append(invite_id)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        heard.append("never")

    await hub.login("bob", listener=SlowRinging(cancel_myself))
    invite_ids = await ring(amy, 3)
    await clock.settle()
    assert heard == invite_ids


async def test_a_listener_that_still_runs_when_the_hub_closes_is_stopped(
    clock: VirtualClock,
) -> None:
    doors = Door(), Door()
    async with Hub(clock=clock) as hub:
        amy, _ = await join(hub, "amy")
        for device, door in enumerate(doors):
            await hub.login("bob", str(device), listener=SlowRinging(door.pass_through))
        await ring(amy)
        await clock.settle()
        await hub._delivery.accounts["bob"].online[0].logout()
    await asyncio.sleep(0)
    left = [task for task in asyncio.all_tasks() if "Courier" in repr(task)]
    assert left == [], "one of them had logged out before"
    assert [door.left for door in doors] == [[], []]


# -- too slow --------------------------------------------------------------------------------------


async def test_a_slow_async_listener_is_disconnected_and_a_hot_login_catches_up(
    clock: VirtualClock,
) -> None:
    async with Hub(clock=clock, limits=Limits(queue_max=4)) as hub:
        amy, amy_ear = await join(hub, "amy")
        bob = hub.session("bob")
        door, connection = Door(), ConnectionEar()
        bob.add_signaling_listener(SlowRinging(door.pass_through))
        bob.add_connection_listener(connection)
        await bob.login()
        _, other = await join(hub, "bob", "2")
        invite_ids = await ring(amy, 1)
        await clock.settle()
        invite_ids += await ring(amy, 4)
        await clock.settle()
        assert bob.online, "one runs, four wait"
        invite_ids += await ring(amy, 2)
        await clock.settle()
        assert connection.heard == [("disconnected", 7008)]
        assert not bob.online
        assert await code_of(bob.signaling.accept(invite_ids[0])) == 6014
        assert rung(other) == invite_ids
        door.opened.set()
        await clock.settle()
        assert door.left == invite_ids[:1], "nothing is called after the disconnect"
        _, hot = await join(hub, "bob", start="hot")
        await clock.settle()
        assert rung(hot) == invite_ids[1:], "all that the listener never heard of"
        assert amy_ear.heard == []
        await asyncio.wait_for(hub.close(), PATIENCE_S)
