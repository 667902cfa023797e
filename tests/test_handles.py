"""The handle that `invite` returns (SPEC §2): a `str` in every way, and what can be awaited."""

from __future__ import annotations

import asyncio
import copy
import gc
import json
import pickle
import random
from typing import Any

import orjson
import pytest
from ears import Ear, join

from pysignal import (
    Hub,
    Invitation,
    InvitationEnded,
    Limits,
    NotLoggedIn,
    Outcome,
    Session,
    SignalingError,
    SignalingEvent,
    SignalingListener,
    VirtualClock,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
async def amy(hub: Hub) -> Session:
    """The inviter."""
    return await hub.login("amy")


async def code_of(call: Any) -> int:
    with pytest.raises(SignalingError) as caught:
        await call
    return caught.value.code


def later(call: Any) -> asyncio.Future[Any]:
    return asyncio.ensure_future(call)


async def collect(invitation: Invitation) -> list[str]:
    return [event.kind async for event in invitation]


# -- a str -----------------------------------------------------------------------------------------


async def test_a_handle_is_a_str_in_every_way(amy: Session) -> None:
    handle = await amy.signaling.invite("bob")
    plain = str(handle)
    assert type(plain) is str
    assert isinstance(handle, str)
    assert handle == plain
    assert plain == handle
    assert hash(handle) == hash(plain)
    assert {handle: 1}[plain] == {plain: 1}[handle] == 1
    assert {handle, plain} == {plain}
    assert (f"{handle}", "%s" % handle, repr(handle)) == (plain, plain, repr(plain))  # noqa: UP031
    assert (handle + "x", len(handle), handle.upper()) == (plain + "x", len(plain), plain.upper())
    assert bool(handle)


async def test_a_handle_is_serialised_as_its_id(amy: Session) -> None:
    handle = await amy.signaling.invite("bob")
    plain = str(handle)
    assert json.loads(json.dumps({"id": handle, handle: 1})) == {"id": plain, plain: 1}
    assert orjson.loads(orjson.dumps([handle])) == [plain]
    assert orjson.loads(orjson.dumps({handle: 1}, option=orjson.OPT_NON_STR_KEYS)) == {plain: 1}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        loaded = pickle.loads(pickle.dumps([handle], protocol))
        assert loaded == [plain]
        assert type(loaded[0]) is str
    assert copy.copy(handle) == copy.deepcopy([handle])[0] == plain


async def test_handles_sort_as_their_ids(amy: Session) -> None:
    handles = [await amy.signaling.invite("bob") for _ in range(20)]
    mixed: list[str] = [*handles, *map(str, handles)]
    random.Random(7).shuffle(mixed)
    assert sorted(mixed) == sorted(map(str, mixed))
    assert len(set(mixed)) == 20


async def test_a_handle_is_taken_where_an_id_is(hub: Hub, amy: Session) -> None:
    handle = await amy.signaling.invite("bob", "old")
    await amy.signaling.modify_invitation(handle, "new")
    found = await hub.invitation(handle)
    assert found is not None
    assert (found.invite_id, found.data, type(found.invite_id)) == (handle, "new", str)
    await hub.accept_as("bob", handle)


async def test_a_handle_cancels(hub: Hub, clock: VirtualClock, amy: Session) -> None:
    _, ear = await join(hub, "bob")
    handle = await amy.signaling.invite("bob")
    await handle.cancel("never mind")
    await clock.settle()
    assert ear.heard[-1] == ("invitation_cancelled", handle, "amy", "never mind")
    assert await code_of(handle.cancel()) == 8010
    again = await amy.signaling.invite("bob")
    await again.cancel(request_id="r")
    await again.cancel(request_id="r")


# -- outcome ---------------------------------------------------------------------------------------


def summary(outcome: Outcome) -> tuple[Any, ...]:
    return outcome.state, outcome.reason, outcome.statuses, outcome.data


@pytest.mark.parametrize("awaited", ["before", "in time", "after", "later"])
async def test_an_outcome_is_known_before_and_after_the_end(
    hub: Hub, clock: VirtualClock, amy: Session, awaited: str
) -> None:
    handle = await amy.signaling.invite("bob")
    waiting = later(handle.outcome()) if awaited == "before" else None
    if awaited == "before":
        await clock.settle()
    await hub.accept_as("bob", handle, "yes")
    if awaited == "after":
        await clock.settle()
    elif awaited == "later":
        await clock.advance(59)
    outcome = await (waiting or handle.outcome())
    assert summary(outcome) == ("completed", "", {"bob": "accepted"}, "yes")
    assert (outcome.status, outcome.accepted, outcome.invite_id) == ("accepted", ["bob"], handle)
    assert outcome.event is not None
    assert outcome.event.actor == "bob"


async def test_an_outcome_that_is_asked_for_long_after_is_8010(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    await hub.accept_as("bob", handle)
    await clock.advance(61)
    assert await hub.invitation(handle) is None
    assert await code_of(handle.outcome()) == 8010
    with pytest.raises(InvitationEnded):
        await collect(handle)


async def test_every_kind_of_end_is_an_outcome(hub: Hub, clock: VirtualClock, amy: Session) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    invite, in_group = amy.signaling.invite, amy.signaling.invite_in_group
    handles = [
        await invite("bob"),
        await invite("bob"),
        await invite("bob"),
        await invite("bob", timeout=5),
        await invite("bob", timeout=0),
        await in_group("g", ["bob"], timeout=0),
        await in_group("g", ["carol", "bob"], timeout=0),
        await in_group("g", []),
    ]
    waiting = [later(handle.outcome()) for handle in handles]
    await hub.reject_as("bob", handles[0], "no")
    await handles[1].cancel("x")
    await hub.cancel_by_server(handles[2], "y")
    await clock.advance(86_400)
    last = await in_group("g", ["bob"])
    waiting.append(later(last.outcome()))
    left = await in_group("g", ["carol", "bob"])
    waiting.append(later(left.outcome()))
    await hub.accept_as("carol", left, "yes")
    await hub.groups.remove("g", ["bob"])
    gone = await in_group("g", ["carol"])
    waiting.append(later(gone.outcome()))
    await hub.groups.dismiss("g")
    assert [summary(outcome) for outcome in await asyncio.gather(*waiting)] == [
        ("completed", "", {"bob": "rejected"}, "no"),
        ("cancelled", "", {"bob": "cancelled"}, "x"),
        ("cancelled", "server", {"bob": "cancelled"}, "y"),
        ("completed", "", {"bob": "timed_out"}, ""),
        ("completed", "lifetime", {"bob": "timed_out"}, ""),
        ("completed", "lifetime", {"bob": "timed_out"}, ""),
        ("completed", "lifetime", {"carol": "timed_out", "bob": "timed_out"}, ""),
        ("completed", "", {}, ""),
        ("completed", "left_group", {"bob": "rejected"}, ""),
        ("completed", "left_group", {"carol": "accepted", "bob": "rejected"}, ""),
        ("cancelled", "group_dismissed", {"carol": "cancelled"}, ""),
    ]


async def test_the_outcome_of_a_list_says_where_each_stands(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite(["dave", "bob", "carol", "erin"], timeout=9)
    before = later(handle.outcome())
    await clock.settle()
    await hub.accept_as("carol", handle)
    await clock.settle()
    middle = later(handle.outcome())
    await hub.reject_as("bob", handle)
    await hub.accept_as("dave", handle)
    await clock.advance(9)
    statuses = {"dave": "accepted", "bob": "rejected", "carol": "accepted", "erin": "timed_out"}
    for outcome in (await before, await middle, await handle.outcome()):
        assert list(outcome.statuses.items()) == list(statuses.items())
        assert (outcome.status, outcome.accepted) == ("", ["dave", "carol"])


async def test_many_wait_and_one_who_stops_disturbs_nobody(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    waiting = [later(handle.outcome()) for _ in range(50)]
    await clock.settle()
    for each in waiting[::2]:
        each.cancel()
    await clock.settle()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await handle.outcome()
    await hub.accept_as("bob", handle)
    outcomes = await asyncio.gather(*waiting[1::2])
    assert {outcome.status for outcome in outcomes} == {"accepted"}
    assert all(each.cancelled() for each in waiting[::2])
    assert (hub.stats()["watches"], len(amy._watches)) == (0, 0)


async def test_a_waiter_who_stops_leaves_nothing_behind(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    waiting = later(handle.outcome())
    await clock.settle()
    assert hub.stats()["watches"] == 1
    waiting.cancel()
    await clock.settle()
    assert (hub.stats()["watches"], len(amy._watches)) == (0, 0)


async def test_a_logout_fails_those_who_wait_and_ends_nothing(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    other, _ = await join(hub, "amy", "2")
    handle = await amy.signaling.invite("bob")
    waiting, reading = later(handle.outcome()), later(collect(handle))
    kept = later(Invitation(handle, other).outcome())
    await clock.settle()
    await amy.logout()
    assert (await code_of(waiting), await code_of(reading)) == (6014, 6014)
    assert await code_of(handle.outcome()) == 6014
    assert await code_of(collect(handle)) == 6014
    assert await code_of(handle.cancel()) == 6014
    await hub.accept_as("bob", handle)
    assert (await kept).status == "accepted"
    await amy.login("hot")
    assert (await handle.outcome()).status == "accepted"


async def test_a_logout_fails_all_who_wait_however_many(
    clock: VirtualClock, amy: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.session.FAILED_PER_TURN", 2)
    handle = await amy.signaling.invite("bob")
    waiting = [later(handle.outcome()) for _ in range(7)]
    await clock.settle()
    await amy.logout()
    async with asyncio.timeout(5):
        assert [await code_of(each) for each in waiting] == [6014] * 7


async def test_a_kicked_session_fails_those_who_wait(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    waiting = later(handle.outcome())
    await clock.settle()
    await hub.login("amy")
    assert await code_of(waiting) == 6014
    assert (await hub.pending("bob"))[0].invite_id == handle


async def test_the_end_of_the_hub_fails_those_who_wait(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    async with hub:
        amy = await hub.login("amy")
        handles = [await amy.signaling.invite("bob"), await hub.invite_as("amy", "bob")]
        waiting = [later(handle.outcome()) for handle in handles]
        reading = [later(collect(handle)) for handle in handles]
        await clock.settle()
    for each in [*waiting, *reading]:
        assert await code_of(each) == 6013
    for handle in handles:
        assert await code_of(handle.outcome()) == 6013


async def test_what_was_committed_before_the_logout_is_an_outcome_still(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    waiting = later(handle.outcome())
    await clock.settle()
    await hub.accept_as("bob", handle)
    await clock.settle()
    await amy.logout()
    assert (await waiting).status == "accepted"


async def test_a_handle_of_the_server_needs_no_login(hub: Hub, clock: VirtualClock) -> None:
    handle = await hub.invite_as("amy", "bob")
    waiting, reading = later(handle.outcome()), later(collect(handle))
    await clock.settle()
    session = await hub.login("amy")
    await session.logout()
    await hub.reject_as("bob", handle)
    assert (await waiting).status == "rejected"
    assert await reading == ["opened", "rejected"]
    second = await hub.invite_as("amy", "bob")
    await second.cancel()


class Awaiting(SignalingListener):
    """Awaits the outcome of what it is told of, in the callback itself."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.session: Session | None = None
        self.outcomes: list[Outcome] = []

    async def on_receive_new_invitation(self, invite_id: str, inviter: str, *_: Any) -> None:
        assert self.session is not None
        if inviter == "amy":
            call = await self.session.signaling.invite("carol")
            self.outcomes.append(await call.outcome())
            await self.session.signaling.accept(invite_id)
            self.outcomes.append(await Invitation(invite_id, self.session).outcome())


async def test_a_callback_may_await_an_outcome(hub: Hub, clock: VirtualClock) -> None:
    listener = Awaiting(hub)
    listener.session = await hub.login("bob", listener=listener)
    handle = await hub.invite_as("amy", "bob")
    await clock.settle()
    await hub.reject_as("carol", (await hub.pending("carol"))[0].invite_id)
    assert (await handle.outcome()).status == "accepted"
    await clock.settle()
    assert [outcome.status for outcome in listener.outcomes] == ["rejected", "accepted"]


# -- iteration -------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", ["at once", "in a new task", "a turn later"])
async def test_an_iteration_yields_everything_own_operations_included(
    hub: Hub, clock: VirtualClock, amy: Session, begun: str
) -> None:
    ear = Ear()
    bob = await hub.login("bob", listener=ear)
    handle = await amy.signaling.invite(["bob", "carol"], "one")
    if begun == "a turn later":
        await clock.settle()
    events: list[SignalingEvent] = []

    async def read() -> None:
        events.extend([event async for event in handle])

    if begun == "at once":
        iterator = aiter(handle)
        reading = later(collect(handle))
        events.append(await anext(iterator))
    else:
        reading = later(read())
    await amy.signaling.modify_invitation(handle, "two")
    await bob.signaling.accept(handle, "yes")
    await clock.settle()
    await handle.cancel("enough")
    await reading
    if begun == "at once":
        events.extend([event async for event in iterator])
    assert [event.kind for event in events] == ["opened", "modified", "accepted", "cancelled"]
    assert [event.seq for event in events] == [1, 2, 3, 4]
    assert events == [*ear.events[:2], events[2], ear.events[2]]
    assert (hub.stats()["watches"], len(amy._watches)) == (0, 0)


async def test_an_iteration_begun_late_or_after_the_end_yields_what_is_remembered_and_ends(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    await amy.signaling.modify_invitation(handle, "x")
    await clock.advance(10)
    late = aiter(handle)
    await hub.accept_as("bob", handle)
    await clock.settle()
    expected = ["opened", "modified", "accepted"]
    assert [event.kind async for event in late] == expected
    assert await collect(handle) == expected
    await clock.advance(30)
    assert await collect(handle) == expected
    for _ in range(1030):
        await hub.cancel_by_server(await hub.invite_as("carol", "dave"))
    await clock.settle()
    assert await collect(handle) == []


async def test_an_iteration_over_what_was_born_completed_ends(amy: Session, hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    assert await collect(await amy.signaling.invite_in_group("g", [])) == ["opened"]


async def test_who_leaves_an_iteration_disturbs_nobody(
    hub: Hub, clock: VirtualClock, amy: Session
) -> None:
    handle = await amy.signaling.invite("bob")
    async for event in handle:
        assert event.kind == "opened"
        break
    closed: Any = aiter(handle)
    assert (await anext(closed)).kind == "opened"
    await closed.aclose()
    cancelled = later(collect(handle))
    reading = later(collect(handle))
    await clock.settle()
    cancelled.cancel()
    await amy.signaling.modify_invitation(handle, "x")
    await hub.accept_as("bob", handle)
    assert await reading == ["opened", "modified", "accepted"]
    gc.collect()
    assert (hub.stats()["watches"], len(amy._watches)) == (0, 0)
    assert amy.online


@pytest.mark.parametrize("limits", [Limits(queue_max=4)])
async def test_an_iteration_that_is_not_read_fails_alone(
    hub: Hub, clock: VirtualClock, amy: Session, limits: Limits
) -> None:
    handle = await amy.signaling.invite("bob")
    unread = aiter(handle)
    waiting, reading = later(handle.outcome()), later(collect(handle))
    for number in range(10):
        await amy.signaling.modify_invitation(handle, str(number))
        await clock.settle()
    await hub.accept_as("bob", handle)
    assert (await waiting).status == "accepted"
    assert len(await reading) == 12
    assert [(await anext(unread)).seq for _ in range(4)] == [1, 2, 3, 4]
    assert await code_of(anext(unread)) == 7008
    assert amy.online


async def test_an_iteration_is_read_by_one_task(hub: Hub, clock: VirtualClock) -> None:
    handle = await hub.invite_as("amy", "bob")
    iterator = aiter(handle)
    await anext(iterator)
    first = later(anext(iterator))  # type: ignore[arg-type]
    await clock.settle()
    with pytest.raises(RuntimeError):
        await anext(iterator)
    await hub.accept_as("bob", handle)
    assert (await first).kind == "accepted"


@pytest.mark.parametrize("code", [8010, 8011])
async def test_an_iteration_is_refused_by_its_steps_and_ends_when_it_is_closed(
    hub: Hub, clock: VirtualClock, amy: Session, code: int
) -> None:
    handle = await amy.signaling.invite("bob")
    eve = await hub.login("eve")
    if code == 8010:
        await handle.cancel()
        await clock.settle()
    refused: Any = aiter(Invitation(handle, eve))
    for _ in range(2):
        assert await code_of(anext(refused)) == code
    await refused.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(refused)
    assert (hub.stats()["watches"], len(eve._watches)) == (0, 0)
    await eve.logout()
    with pytest.raises(NotLoggedIn):
        aiter(Invitation(handle, eve))


async def test_a_handle_that_is_never_asked_costs_nothing(hub: Hub, amy: Session) -> None:
    for _ in range(10):
        await amy.signaling.invite("bob")
    assert (hub.stats()["watches"], len(amy._watches)) == (0, 0)
    with pytest.raises(NotLoggedIn):
        await hub.session("amy", "2").signaling.invite("bob")
