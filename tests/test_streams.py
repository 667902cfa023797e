"""Other ways to listen: `session.events()`, listeners of groups and of the connection, threads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
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
    SignalingError,
    SignalingEvent,
    SignalingListener,
    VirtualClock,
)

pytestmark = pytest.mark.anyio


async def ring(session: Session, count: int = 1) -> list[str]:
    return [str(await session.signaling.invite("bob", timeout=60)) for _ in range(count)]


async def read(stream: AsyncIterator[SignalingEvent]) -> list[str]:
    """Read a stream to its end."""
    return [event.invite_id async for event in stream]


# -- session.events() ------------------------------------------------------------------------------


async def test_events_yields_all_that_the_session_hears_in_order_and_ends_at_logout(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")

    async def follow() -> list[tuple[str, str]]:
        return [(event.kind, event.invite_id) async for event in bob.events()]

    task = asyncio.ensure_future(follow())
    await asyncio.sleep(0)
    one = await amy.signaling.invite("bob", timeout=60)
    own = await bob.signaling.invite("amy", timeout=1)
    await amy.signaling.modify_invitation(one, "new")
    await amy.signaling.cancel(one)
    await clock.advance(1)
    assert not task.done()
    await bob.logout()
    seen = await asyncio.wait_for(task, PATIENCE_S)
    assert seen == [("opened", one), ("modified", one), ("cancelled", one), ("timed_out", own)]
    assert seen == [(event.kind, event.invite_id) for event in ear.events]


async def test_events_that_wait_at_the_logout_are_still_read(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    stream = bob.events()
    invite_ids = await ring(amy, 3)
    await clock.settle()
    await bob.logout()
    assert await read(stream) == invite_ids
    assert await read(stream) == []
    assert await code_of(_call(bob.events)) == 6014


async def _call(function: Any, *args: Any) -> Any:
    return function(*args)


async def test_two_iterators_of_a_session_see_everything_from_their_beginning(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    early = bob.events()
    first = await ring(amy)
    await clock.settle()
    late = bob.events()
    second = await ring(amy, 2)
    await clock.settle()
    await bob.logout()
    assert await read(late) == second
    assert await read(early) == first + second


async def test_one_iterator_is_for_one_reader(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    stream = bob.events()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another task"):
        await anext(stream)
    (invite_id,) = await ring(amy)
    assert (await asyncio.wait_for(reader, PATIENCE_S)).invite_id == invite_id


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_cancelled_reader_loses_no_event(
    hub: Hub, clock: VirtualClock, arrived: bool
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    stream = bob.events()
    reader = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)

    class Canceller(SignalingListener):
        def on_signaling_event(self, event: SignalingEvent) -> None:
            asyncio.get_running_loop().call_soon(reader.cancel)

    if arrived:
        bob.add_signaling_listener(Canceller())
    else:
        reader.cancel()
    invite_ids = await ring(amy, 2)
    await clock.settle()
    got = [] if reader.cancelled() else [reader.result().invite_id]
    await bob.logout()
    assert got + await read(stream) == invite_ids


async def test_an_iterator_that_is_not_read_disconnects_its_session_only(
    clock: VirtualClock,
) -> None:
    async with Hub(clock=clock, limits=Limits(queue_max=4)) as hub:
        amy, _ = await join(hub, "amy")
        bob, _ = await join(hub, "bob")
        _, other = await join(hub, "bob", "2")
        connection = ConnectionEar()
        bob.add_connection_listener(connection)
        stream = bob.events()
        invite_ids = await ring(amy, 4)
        await clock.settle()
        assert bob.online
        invite_ids += await ring(amy, 2)
        await clock.settle()
        assert connection.heard == [("disconnected", 7008)]
        assert await code_of(bob.signaling.accept(invite_ids[0])) == 6014
        assert [call[1] for call in other.take()] == invite_ids
        got = await read(stream)
        hot, ear = await join(hub, "bob", start="hot")
        await clock.settle()
        got += [call[1] for call in ear.take()]
        assert got == invite_ids, "what the iterator had no room for rings the hot login"
        assert len(hot.snapshot.open) == 6


async def test_a_closed_iterator_hears_nothing_and_harms_nobody(clock: VirtualClock) -> None:
    async with Hub(clock=clock, limits=Limits(queue_max=2)) as hub:
        amy, _ = await join(hub, "amy")
        bob, _ = await join(hub, "bob")
        stream: Any = bob.events()
        await ring(amy)
        await clock.settle()
        await stream.aclose()
        await ring(amy, 5)
        await clock.settle()
        assert await read(stream) == []
        assert bob.online


async def test_events_ends_when_the_hub_does(clock: VirtualClock) -> None:
    async with Hub(clock=clock) as hub:
        amy, _ = await join(hub, "amy")
        bob, _ = await join(hub, "bob")
        reader = asyncio.ensure_future(read(bob.events()))
        await asyncio.sleep(0)
        invite_ids = await ring(amy)
    assert await asyncio.wait_for(reader, PATIENCE_S) == invite_ids


# -- listeners of groups ---------------------------------------------------------------------------


class GroupEar(GroupListener):
    """Writes down the dismissals that it hears of."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_group_dismissed(self, group_id: str, op_user: str) -> None:
        self.heard.append(group_id)


async def dismiss(hub: Hub, *group_ids: str) -> None:
    for group_id in group_ids:
        await hub.groups.put(group_id, ["bob"])
        await hub.groups.dismiss(group_id)


@pytest.mark.parametrize("error", [ValueError("x"), asyncio.CancelledError()])
async def test_a_group_listener_that_raises_is_logged_and_harms_nobody(
    hub: Hub, clock: VirtualClock, caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    class Raising(GroupListener):
        def on_group_dismissed(self, group_id: str, op_user: str) -> None:
            raise error

    bob, _ = await join(hub, "bob")
    ear = GroupEar()
    bob.groups.add_group_listener(Raising())
    bob.groups.add_group_listener(ear)
    await dismiss(hub, "g", "h")
    await clock.settle()
    assert ear.heard == ["g", "h"]
    assert ["g" in caplog.messages[0], "h" in caplog.messages[1]] == [True, True]


async def test_a_group_listener_may_remove_others_and_log_out(
    hub: Hub, clock: VirtualClock
) -> None:
    bob, _ = await join(hub, "bob")
    victim, last = GroupEar(), GroupEar()

    class Meddler(GroupEar):
        def on_group_dismissed(self, group_id: str, op_user: str) -> None:
            self.heard.append(group_id)
            bob.groups.remove_group_listener(victim)
            if group_id == "h":
                run_now(bob.logout())

    meddler = Meddler()
    for listener in (meddler, victim, last):
        bob.groups.add_group_listener(listener)
        bob.groups.add_group_listener(listener)
    await dismiss(hub, "g")
    await clock.settle()
    assert (meddler.heard, victim.heard, last.heard) == (["g"], [], ["g"])
    await dismiss(hub, "h")
    await clock.settle()
    assert (meddler.heard, last.heard, bob.online) == (["g", "h"], ["g"], False)


async def test_nothing_queued_for_a_removed_group_listener_is_called(
    hub: Hub, clock: VirtualClock
) -> None:
    opened = asyncio.Event()

    class Slow(GroupEar):
        async def on_group_dismissed(  # type: ignore[override]
            self, group_id: str, op_user: str
        ) -> None:
            self.heard.append(group_id)
            await opened.wait()

    bob, _ = await join(hub, "bob")
    slow = Slow()
    bob.groups.add_group_listener(slow)
    await dismiss(hub, "g", "h", "i")
    await clock.settle()
    bob.groups.remove_group_listener(slow)
    opened.set()
    await clock.settle()
    assert slow.heard == ["g"]


async def test_async_group_and_signaling_listeners_share_one_order(
    hub: Hub, clock: VirtualClock
) -> None:
    order: list[str] = []

    class SlowGroups(GroupListener):
        async def on_group_dismissed(self, group_id: str, op_user: str) -> None:
            await asyncio.sleep(0)
            order.append(group_id)

    class SlowSignaling(SignalingListener):
        async def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
            await asyncio.sleep(0)
            order.append(invite_id)

    bob = await hub.login("bob", listener=SlowSignaling())
    bob.groups.add_group_listener(SlowGroups())
    await hub.groups.put("g", ["amy", "bob"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob"])
    await hub.groups.dismiss("g")
    await clock.settle()
    assert order == [invite_id, "g"]


async def test_an_act_of_the_server_has_no_listeners(hub: Hub) -> None:
    acting = hub.acting_as("bob")
    for call in (
        acting.signaling.add_signaling_listener,
        acting.signaling.remove_signaling_listener,
        acting.groups.add_group_listener,
        acting.groups.remove_group_listener,
    ):
        with pytest.raises(InvalidParameter):
            call(Ear())  # type: ignore[arg-type]


# -- listeners of the connection -------------------------------------------------------------------


async def test_a_connection_listener_hears_nothing_once_it_is_removed(
    hub: Hub, clock: VirtualClock
) -> None:
    bob, _ = await join(hub, "bob")
    removed, kept = ConnectionEar(), ConnectionEar()
    bob.add_connection_listener(removed)
    bob.add_connection_listener(kept)
    await join(hub, "bob")
    bob.remove_connection_listener(removed)
    await clock.settle()
    assert (removed.heard, kept.heard) == ([], [("kicked_offline", 6208)])


async def test_a_logout_is_not_told_to_the_connection_listener(
    hub: Hub, clock: VirtualClock
) -> None:
    bob, _ = await join(hub, "bob")
    connection = ConnectionEar()
    bob.add_connection_listener(connection)
    await bob.logout()
    await clock.settle()
    assert connection.heard == []


async def test_a_connection_listener_that_raises_harms_nobody(
    hub: Hub, clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising(ConnectionListener):
        def on_kicked_offline(self, error: SignalingError) -> None:
            raise error

    bob, _ = await join(hub, "bob")
    connection = ConnectionEar()
    bob.add_connection_listener(Raising())
    bob.add_connection_listener(connection)
    newer, _ = await join(hub, "bob")
    await clock.settle()
    assert connection.heard == [("kicked_offline", 6208)]
    assert len(caplog.records) == 1
    assert newer.online


async def test_an_async_connection_listener_is_told_of_every_way_to_be_disconnected(
    clock: VirtualClock,
) -> None:
    heard: list[tuple[str, int]] = []

    class Slow(ConnectionListener):
        async def on_disconnected(self, error: SignalingError) -> None:
            heard.append(("disconnected", error.code))

        async def on_kicked_offline(self, error: SignalingError) -> None:
            heard.append(("kicked_offline", error.code))

    async with Hub(clock=clock, limits=Limits(queue_max=1)) as hub:
        amy, _ = await join(hub, "amy")
        listener = Slow()
        for device in "12":
            bob, _ = await join(hub, "bob", device)
            bob.add_connection_listener(listener)
        unread = bob.events()
        await ring(amy, 2)
        await clock.settle()
        assert heard == [("disconnected", 7008)]
        assert unread is not None, "dropping an iterator would stop its listening"
        await join(hub, "bob", "1")
        await clock.settle()
        assert heard[1:] == [("kicked_offline", 6208)]
        amy.add_connection_listener(listener)
    assert heard[2:] == [("disconnected", 6013)]


# -- threads ---------------------------------------------------------------------------------------


async def test_calls_from_another_thread_are_refused_with_a_hint(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    call = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    ear.take()
    idle = hub.session("cy")
    before = hub.stats()

    def step(coroutine: Any) -> None:
        try:
            coroutine.send(None)
        finally:
            coroutine.close()

    calls: list[Any] = [
        lambda: step(bob.signaling.accept(call)),
        lambda: step(amy.signaling.invite("bob")),
        lambda: step(amy.signaling.open_invitations("g")),
        lambda: step(bob.groups.create_group("Work")),
        lambda: step(bob.groups.get_joined_group_list()),
        lambda: step(hub.groups.put("g", ["bob"])),
        lambda: step(hub.pending("bob")),
        lambda: step(hub.cancel_by_server(call)),
        lambda: step(idle.login()),
        lambda: step(bob.logout()),
        lambda: step(call.outcome()),
        lambda: step(call.cancel()),
        lambda: hub.acting_as("bob"),
        bob.events,
        call.__aiter__,
        hub.stats,
        lambda: bob.signaling.add_signaling_listener(Ear()),
        lambda: bob.signaling.remove_signaling_listener(ear),
        lambda: bob.groups.add_group_listener(GroupEar()),
        lambda: bob.add_connection_listener(ConnectionEar()),
    ]
    for each in calls:
        with pytest.raises(RuntimeError, match=r"thread.*call_soon_threadsafe"):
            await asyncio.to_thread(each)
    await clock.settle()
    assert hub.stats() == before
    assert ear.take() == []


async def test_a_hub_is_not_closed_from_another_thread(hub: Hub) -> None:
    closing = hub.close()
    try:
        with pytest.raises(RuntimeError, match="thread"):
            await asyncio.to_thread(lambda: closing.send(None))
    finally:
        closing.close()
    assert hub.is_open
