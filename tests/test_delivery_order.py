"""How events reach sessions (SPEC §4): once, in commit order, and after the caller's result.

How listeners are run, and kept apart from each other, is in `test_listeners`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from busy import begin_mass_expiry
from ears import Ear, join
from slow_journal import SlowJournal

from pysignal import GroupListener, Hub, SignalingEvent, SignalingListener, VirtualClock

pytestmark = pytest.mark.anyio


class Diary(Ear):
    """Writes the kinds of its events into a diary that it shares with others."""

    def __init__(self, diary: list[Any], name: str) -> None:
        super().__init__()
        self.diary = diary
        self.name = name

    def on_signaling_event(self, event: SignalingEvent) -> None:
        self.diary.append((self.name, event.kind))


class GroupEar(GroupListener):
    """Writes down who entered."""

    def __init__(self, diary: list[Any]) -> None:
        self.diary = diary

    def on_member_enter(self, group_id: str, member_list: list[str]) -> None:
        self.diary.append(("member_enter", member_list))

    def on_member_invited(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.diary.append(("member_invited", list(member_list)))
        member_list.clear()

    def on_member_leave(self, group_id: str, member: str) -> None:
        self.diary.append(("member_leave", member))


async def test_a_listener_never_runs_inside_the_call_that_caused_the_event(
    hub: Hub, clock: VirtualClock
) -> None:
    _, other = await join(hub, "amy", "2")
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    await hub.groups.put("g", ["amy", "bob"])
    name = await amy.signaling.invite("bob")
    await amy.signaling.modify_invitation(name, "new")
    await bob.signaling.accept(name)
    await amy.signaling.invite_in_group("g", ["bob"])
    await bob.groups.quit_group("g")
    await hub.login("carol")
    assert [ear.heard, ear.events, other.heard] == [[], [], []]
    await clock.settle()
    assert len(ear.heard) == 4


async def test_events_of_several_invitations_are_heard_in_commit_order(
    hub: Hub, clock: VirtualClock
) -> None:
    _, ear = await join(hub, "bob")
    _, second = await join(hub, "bob", "2")
    first = await hub.invite_as("amy", "bob", timeout=2)
    other = await hub.invite_as("carol", ["bob", "amy"], timeout=1)
    await hub.modify_invitation_as("amy", first, "x")
    await hub.accept_as("amy", other)
    third = await hub.invite_as("bob", "amy")
    await hub.cancel_as("bob", third)
    await clock.advance(2)
    assert [(event.invite_id, event.kind) for event in ear.events] == [
        (first, "opened"), (other, "opened"), (first, "modified"), (other, "accepted"),
        (third, "opened"), (third, "cancelled"), (other, "timed_out"), (first, "timed_out"),
    ]  # fmt: skip
    assert [event.position for event in ear.events] == sorted(e.position for e in ear.events)
    assert second.heard == ear.heard


async def test_a_group_callback_comes_after_the_events_of_its_change(
    hub: Hub, clock: VirtualClock
) -> None:
    diary: list[Any] = []
    bob = await hub.login("bob", listener=Diary(diary, "bob"))
    bob.add_group_listener(GroupEar(diary))
    await hub.groups.put("g", ["amy", "bob", "carol"])
    await clock.settle()
    diary.clear()
    await hub.invite_in_group_as("amy", "g", ["carol"])
    await hub.quit_group_as("carol", "g")
    await hub.groups.add("g", ["dave"])
    await hub.invite_in_group_as("amy", "g", ["dave"])
    await clock.settle()
    assert [name for name, _ in diary[:2]] == ["bob", "bob"]
    assert diary[2] == ("member_leave", "carol")
    assert diary[-1] == ("bob", "opened")
    assert len(diary) == 5


class Eager(SignalingListener):
    """Answers at once, as a plain method and without a task where it can."""

    def __init__(self, accept: Any) -> None:
        self.accept = accept

    def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
        call = self.accept(invite_id)
        with pytest.raises(StopIteration):
            call.send(None)


@pytest.mark.parametrize("request_id", [None, "r"])
@pytest.mark.parametrize("group", [False, True])
async def test_the_caller_has_its_result_before_its_session_hears_what_follows(
    hub: Hub, clock: VirtualClock, request_id: str | None, group: bool
) -> None:
    diary: list[Any] = []
    await hub.groups.put("g", ["amy", "bob"])
    amy = await hub.login("amy", listener=Diary(diary, "amy"))
    await hub.login("bob", listener=Eager(lambda name: hub.accept_as("bob", name)))

    async def call() -> None:
        if group:
            name = await amy.signaling.invite_in_group("g", ["bob"], request_id=request_id)
        else:
            name = await amy.signaling.invite("bob", request_id=request_id)
        diary.append(("result", len(name) > 0))

    await asyncio.gather(call(), call())
    await clock.settle()
    assert diary[0] == ("result", True)
    assert diary.count(("amy", "accepted")) == (1 if request_id else 2)


async def test_a_call_that_waited_has_its_result_before_its_session_hears_what_follows(
    hub: Hub, clock: VirtualClock
) -> None:
    diary: list[Any] = []
    amy = await hub.login("amy", listener=Diary(diary, "amy"))
    await join(hub, "bob")
    name = await amy.signaling.invite("bob")
    await clock.settle()
    advancing = await begin_mass_expiry(hub, clock)

    async def modify() -> None:
        await amy.signaling.modify_invitation(name, "new")
        diary.append(("result", "modified"))

    calls = [asyncio.ensure_future(modify()), asyncio.ensure_future(hub.accept_as("bob", name))]
    await asyncio.sleep(0)
    assert hub.stats()["commands_waiting"] >= 2
    await asyncio.gather(*calls, advancing)
    assert diary == [("result", "modified"), ("amy", "accepted")]


@pytest.mark.parametrize("request_id", [None, "r"])
async def test_a_call_whose_record_had_to_become_durable_has_its_result_before_what_follows(
    clock: VirtualClock, request_id: str | None
) -> None:
    diary: list[Any] = []
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        amy = await hub.login("amy", listener=Diary(diary, "amy"))
        name = await amy.signaling.invite("bob")
        await clock.settle()
        journal.shut()

        async def modify() -> None:
            await amy.signaling.modify_invitation(name, "new", request_id=request_id)
            diary.append(("result", "modified"))

        calls = [asyncio.ensure_future(modify()), asyncio.ensure_future(hub.accept_as("bob", name))]
        await clock.settle()
        assert diary == []
        journal.release(all_later=True)
        await asyncio.gather(*calls)
        await clock.settle()
    assert diary == [("result", "modified"), ("amy", "accepted")]


class Spoiler(SignalingListener):
    """Changes the lists it is given, and tries to change the event."""

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        invitee_list.append("spoilt")

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        invitee_list.clear()

    def on_signaling_event(self, event: SignalingEvent) -> None:
        event.invitee_list.clear()


class AsyncSpoiler(SignalingListener):
    """The same, later."""

    async def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        assert invitee_list == ["bob", "carol"]
        invitee_list.append("spoilt")


async def test_what_one_listener_does_to_its_lists_no_other_sees(
    hub: Hub, clock: VirtualClock
) -> None:
    ears = [Ear() for _ in range(3)]
    bob = await hub.login("bob", listener=Spoiler())
    for ear in ears:
        bob.signaling.add_signaling_listener(ear)
        bob.signaling.add_signaling_listener(Spoiler())
        bob.signaling.add_signaling_listener(AsyncSpoiler())
    _, other = await join(hub, "carol")
    name = await hub.invite_as("amy", ["bob", "carol"], timeout=1)
    outcome = asyncio.ensure_future(name.outcome())
    await clock.advance(1)
    for ear in [*ears, other]:
        assert [heard[-1 if heard[0] == "invitation_timeout" else 4] for heard in ear.heard] == [
            ["bob", "carol"], ["bob", "carol"],
        ]  # fmt: skip
        assert [event.invitees for event in ear.events] == [("bob", "carol")] * 2
    assert (await outcome).statuses == {"bob": "timed_out", "carol": "timed_out"}


async def test_what_one_group_listener_does_to_its_lists_no_other_sees(
    hub: Hub, clock: VirtualClock
) -> None:
    diary: list[Any] = []
    for device in ("1", "2"):
        amy = await hub.login("amy", device)
        amy.add_group_listener(GroupEar(diary))
        amy.add_group_listener(GroupEar(diary))
    owner = await hub.login("owner")
    await owner.groups.create_group("Work", "g", member_list=["amy"])
    await clock.settle()
    diary.clear()
    await owner.groups.invite_user_to_group("g", ["bob", "carol"])
    await clock.settle()
    assert diary == [("member_invited", ["bob", "carol"])] * 4


async def test_nothing_is_heard_after_logout_has_returned(hub: Hub, clock: VirtualClock) -> None:
    bob, ear = await join(hub, "bob")
    await hub.invite_as("amy", "bob")
    await bob.logout()
    await clock.settle()
    assert ear.heard == ear.events == []


async def test_events_iterates_over_all_that_the_session_hears(
    hub: Hub, clock: VirtualClock
) -> None:
    bob, ear = await join(hub, "bob")
    heard = bob.events()
    name = await bob.signaling.invite("amy")
    await hub.accept_as("amy", name)
    await hub.invite_as("amy", "bob")
    await clock.settle()
    await bob.logout()
    assert [event async for event in heard] == ear.events
    assert [event.kind for event in ear.events] == ["accepted", "opened"]
