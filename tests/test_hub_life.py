"""The edges of a hub's life: closing, logins given up, a failing engine, who may follow what."""

from __future__ import annotations

import asyncio
import copy
import inspect
import pickle
from typing import Any

import pytest
from ears import ConnectionEar, Ear, join
from slow_journal import SlowJournal

from pysignal import (
    Call,
    ConnectionListener,
    GroupListener,
    Hub,
    HubClosed,
    InvalidParameter,
    Invitation,
    InvitationEnded,
    Limits,
    NotPermitted,
    Session,
    SignalingEvent,
    SignalingListener,
    VersionConflict,
    VirtualClock,
    delivery,
)

pytestmark = pytest.mark.anyio


async def test_a_listener_may_close_the_hub(clock: VirtualClock) -> None:
    closed = asyncio.Event()

    class Closing(SignalingListener):
        async def on_receive_new_invitation(self, *_: Any) -> None:
            await hub.close()
            closed.set()

    hub = Hub(clock=clock)
    await hub.open()
    await hub.login("bob", listener=Closing())
    await hub.invite_as("amy", "bob")
    async with asyncio.timeout(10):
        await closed.wait()
    assert not hub.is_open


async def test_closing_twice_at_once_waits_for_one_end(clock: VirtualClock) -> None:
    journal = SlowJournal()
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    bob, _ = await join(hub, "bob")
    connection = ConnectionEar()
    bob.add_connection_listener(connection)
    first, second = asyncio.ensure_future(hub.close()), asyncio.ensure_future(hub.close())
    await asyncio.gather(first, second)
    await hub.close()
    assert connection.heard == [("disconnected", 6013)]
    with pytest.raises(HubClosed):
        await bob.signaling.invite("amy")


async def test_from_the_first_moment_of_closing_every_call_is_refused(
    clock: VirtualClock,
) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        amy, _ = await join(hub, "amy")
        await clock.settle()
        journal.shut()
        waiting = asyncio.ensure_future(amy.signaling.invite("bob"))
        await clock.settle()
        closing = asyncio.ensure_future(hub.close())
        await clock.settle()
        with pytest.raises(HubClosed):
            await amy.signaling.invite("bob")
        with pytest.raises(HubClosed):
            await hub.login("cy")
        journal.release(all_later=True)
        assert await waiting, "what was committed is still answered"
        await closing


async def test_a_sink_gets_the_last_events_of_a_hub(clock: VirtualClock) -> None:
    class Sink:
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def deliver(self, events: list[Any], receivers: list[list[Session]]) -> None:
            self.kinds += [event.kind for event in events if not isinstance(event, Call)]

    sink, ear = Sink(), Ear()
    async with Hub(clock=clock, sink=sink) as hub:
        await hub.login("bob", listener=ear)
        await hub.invite_as("amy", "bob")
    assert sink.kinds == ["opened"]
    assert ear.heard == []


async def test_a_login_that_is_given_up_leaves_no_session(clock: VirtualClock) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        await clock.settle()
        journal.shut()
        calling = asyncio.ensure_future(hub.invite_as("amy", "bob"))
        await clock.settle()
        login = asyncio.ensure_future(hub.login("bob"))
        await clock.settle()
        login.cancel()
        await clock.settle()
        assert hub.stats()["sessions"] == 0
        journal.release(all_later=True)
        await calling
        assert hub.stats()["sessions"] == 0


async def test_one_failing_advance_stops_no_later_deadline(
    hub: Hub, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    amy, ear = await join(hub, "amy")
    await amy.signaling.invite("bob", timeout=1)
    await clock.settle()
    tick, failures = hub.shard.tick, [MemoryError("once")]

    def failing(now_ms: int) -> Any:
        if failures:
            raise failures.pop()
        return tick(now_ms)

    monkeypatch.setattr(hub.shard, "tick", failing)
    with pytest.raises(MemoryError):
        await clock.advance(1)
    await clock.advance(2)
    assert [call[0] for call in ear.heard] == ["invitation_timeout"]


async def test_a_login_of_the_callee_tells_no_handle_of_a_second_opening(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    invitation = await amy.signaling.invite("bob", timeout=60)
    events: list[SignalingEvent] = []

    async def follow() -> None:
        events.extend([event async for event in invitation])

    following = asyncio.ensure_future(follow())
    for _ in range(2):
        bob, ear = await join(hub, "bob")
        await clock.settle()
        assert [event.replayed for event in ear.events] == [True]
        await bob.logout()
    await hub.cancel_by_server(invitation)
    await asyncio.wait_for(following, 10)
    assert [event.kind for event in events] == ["opened", "cancelled"]
    assert not any(event.replayed for event in events)


async def test_who_knows_an_id_cannot_follow_what_is_not_theirs(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    eve, _ = await join(hub, "eve")
    bob, _ = await join(hub, "bob")
    invitation = await amy.signaling.invite("bob", "secret")
    with pytest.raises(NotPermitted):
        await Invitation(invitation, eve).outcome()
    with pytest.raises(NotPermitted):
        await anext(aiter(Invitation(invitation, eve)))
    waiting = asyncio.ensure_future(Invitation(invitation, bob).outcome())
    await clock.settle()
    await bob.signaling.accept(invitation)
    assert (await asyncio.wait_for(waiting, 10)).status == "accepted"


async def test_a_broken_iteration_leaves_nothing_behind(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    invitation = await amy.signaling.invite("bob", timeout=60)
    for _ in range(20):
        async for _event in invitation:
            break
    await clock.settle()
    assert (hub.stats()["watches"], len(amy._watches)) == (0, 0)


@pytest.mark.parametrize("limits", [Limits(queue_max=4)])
async def test_slow_group_callbacks_are_bounded_too(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    class Slow(GroupListener):
        async def on_member_invited(self, *_: Any) -> None:
            await asyncio.Event().wait()

    bob = await hub.login("bob")
    connection = ConnectionEar()
    bob.add_connection_listener(connection)
    bob.groups.add_group_listener(Slow())
    await hub.groups.put("g", ["bob"])
    for number in range(10):
        await hub.groups.add("g", [f"user {number}"])
        await clock.settle()
    assert connection.heard == [("disconnected", 7008)]


async def test_a_plain_method_may_return_what_can_be_awaited(hub: Hub, clock: VirtualClock) -> None:
    done: list[str] = []

    class Decorated(SignalingListener):
        def on_receive_new_invitation(self, invite_id: str, *_: Any) -> Any:
            return self.answer(invite_id)

        async def answer(self, invite_id: str) -> None:
            await asyncio.sleep(0)
            done.append(invite_id)

    await hub.login("bob", listener=Decorated())
    invitation = await hub.invite_as("amy", "bob")
    await clock.settle()
    assert done == [invitation]


@pytest.mark.parametrize(
    "error",
    [
        InvitationEnded("it has ended", how="it timed out"),
        InvalidParameter("timeout", "must be a number", given="x"),
    ],
)
def test_an_error_can_be_copied_and_sent_to_another_process(error: Any) -> None:
    for other in (copy.copy(error), pickle.loads(pickle.dumps(error)), error.again()):
        assert type(other) is type(error)
        assert (str(other), other.details) == (str(error), error.details)


async def test_the_time_away_counts_from_the_logout_itself(hub: Hub, clock: VirtualClock) -> None:
    """Nothing was committed for a day before the logout; it is remembered all the same."""
    bob, ear = await join(hub, "bob")
    amy, _ = await join(hub, "amy")
    invitation = await amy.signaling.invite("bob", timeout=10 * 86_400)
    await clock.settle()
    ear.take()
    await clock.advance(86_400)
    await bob.logout()
    await amy.signaling.cancel(invitation)
    await bob.login("hot")
    await clock.settle()
    assert ear.take() == []
    assert [info.invite_id for info in bob.snapshot.ended] == [invitation]


async def test_a_listener_of_both_kinds_of_methods_hears_in_order(
    hub: Hub, clock: VirtualClock
) -> None:
    heard: list[str] = []

    class Phone(SignalingListener):
        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            await asyncio.sleep(0)
            heard.append(f"ring {invite_id}")

        def on_invitation_cancelled(self, invite_id: str, *_: Any) -> None:
            heard.append(f"stop {invite_id}")

    class Friend(GroupListener):
        async def on_member_invited(self, group_id: str, *_: Any) -> None:
            await asyncio.sleep(0)
            heard.append("invited")

        def on_group_dismissed(self, *_: Any) -> None:
            heard.append("dismissed")

    amy, _ = await join(hub, "amy")
    bob = await hub.login("bob", listener=Phone())
    bob.groups.add_group_listener(Friend())
    calls = []
    for _ in range(2):
        calls.append(await amy.signaling.invite("bob"))
        await calls[-1].cancel()
    await hub.groups.put("g", ["bob"])
    await hub.groups.dismiss("g")
    await clock.settle()
    assert heard == [
        *(f"{what} {call}" for call in calls for what in ("ring", "stop")),
        "invited",
        "dismissed",
    ]


async def test_a_version_conflict_names_both_versions(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    invitation = await amy.signaling.invite("bob", "v1")
    await amy.signaling.modify_invitation(invitation, "v2")
    with pytest.raises(VersionConflict) as refused:
        await amy.signaling.modify_invitation(invitation, "v3", expected_version=1)
    assert refused.value.details == {"expected": 1, "current": 2}


async def test_a_hub_is_opened_once(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    async with hub:
        with pytest.raises(HubClosed, match="make a new one"):
            await hub.open()
        assert hub.is_open
    with pytest.raises(HubClosed, match="make a new one"):
        await hub.open()


async def test_a_session_ends_with_the_block_that_holds_it(hub: Hub) -> None:
    async with await hub.login("amy") as amy:
        assert repr(amy) == "<Session amy device 1 online>"
    assert not amy.online
    assert repr(amy) == "<Session amy device 1 offline>"


async def test_a_stream_ends_with_the_block_that_holds_it(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    async with bob.events() as events:
        await amy.signaling.invite("bob")
        assert (await anext(events)).kind == "opened"
    await amy.signaling.invite("bob")
    await clock.settle()
    assert [event async for event in events] == []


@pytest.mark.parametrize("base", [SignalingListener, ConnectionListener, GroupListener])
def test_a_listener_may_pass_on_what_it_hears_to_its_base_class(base: type) -> None:
    names = [name for name in vars(base) if name.startswith("on_")]
    assert names
    for name in names:
        count = len(inspect.signature(getattr(base, name)).parameters) - 1
        assert getattr(base(), name)(*[None] * count) is None


def test_an_entry_of_the_queue_is_made_by_delivery_alone() -> None:
    with pytest.raises(TypeError, match=r"Delivery\.post"):
        delivery.Entry()


async def test_callbacks_of_a_sink_wait_for_their_records(clock: VirtualClock) -> None:
    class Bin:
        def __init__(self) -> None:
            self.kinds: list[str] = []

        def deliver(self, events: list[Any], receivers: list[list[Session]]) -> None:
            self.kinds += [event.kind for event in events]

    journal, sink = SlowJournal(), Bin()
    async with Hub(clock=clock, journal=journal, sink=sink) as hub:
        await hub.invite_as("amy", "bob")
        await clock.settle()
        journal.shut()
        asking = asyncio.ensure_future(hub.invite_as("amy", "cy"))
        await clock.settle()
        assert sink.kinds == ["opened"]
        journal.release(all_later=True)
        await asking
        await clock.settle()
        assert sink.kinds == ["opened"] * 2
