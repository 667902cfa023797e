"""How invitations end, and how long that is known (SPEC §3).

Deadlines and answers are in `test_operations`; here are the ends that nobody asked for, what a late
tap is told, the invitations without a deadline, and tables that are full.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ears import Ear, join
from refusals import refusal

from pysignal import Hub, InvitationInfo, Limits, SignalingInfo, VirtualClock

pytestmark = pytest.mark.anyio


async def info_of(hub: Hub, invite_id: str) -> InvitationInfo:
    found = await hub.invitation(invite_id)
    assert found is not None
    return found


async def end_of(hub: Hub, invite_id: str) -> tuple[str, str, dict[str, str]]:
    found = await info_of(hub, invite_id)
    return found.state, found.reason, found.statuses


# -- what a late tap is told -----------------------------------------------------------------------


async def test_a_late_tap_is_told_that_another_device_answered(hub: Hub) -> None:
    first, _ = await join(hub, "bob", "phone")
    second, _ = await join(hub, "bob", "laptop")
    invite_id = await hub.invite_as("amy", "bob")
    await first.signaling.accept(invite_id)
    for session, where in ((second, "another device"), (first, "this device")):
        for call in (session.signaling.accept, session.signaling.reject):
            error = await refusal(hub, call(invite_id), 8010)
            assert error.details["status"] == "accepted"
            assert error.details["state"] == "completed"
            assert error.details["reason"] == ""
            assert where in error.details["how"]
            assert error.details["how"] in str(error)


@pytest.mark.parametrize(
    ("act", "state", "reason", "word"),
    [
        (lambda hub, name: hub.cancel_as("amy", name), "cancelled", "", "cancelled"),
        (lambda hub, name: hub.cancel_by_server(name), "cancelled", "server", "cancelled"),
        (lambda hub, name: hub.groups.dismiss("g"), "cancelled", "group_dismissed", "cancelled"),
        (lambda hub, name: hub.groups.remove("g", ["amy"]), "cancelled", "left_group", "cancelled"),
    ],
)
async def test_a_late_tap_is_told_what_called_it_off(
    hub: Hub,
    act: Callable[[Hub, str], Awaitable[None]],
    state: str,
    reason: str,
    word: str,
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob"])
    await act(hub, invite_id)
    error = await refusal(hub, hub.accept_as("bob", invite_id), 8010)
    assert (error.details["state"], error.details["reason"]) == (state, reason)
    assert error.details["status"] == "cancelled"
    assert word in error.details["how"]


async def test_a_late_tap_is_told_of_the_timeout(hub: Hub, clock: VirtualClock) -> None:
    invite_id = await hub.invite_as("amy", "bob", timeout=1)
    await clock.advance(1)
    error = await refusal(hub, hub.reject_as("bob", invite_id), 8010)
    assert (error.details["status"], error.details["state"]) == ("timed_out", "completed")
    assert "timed out" in error.details["how"]
    error = await refusal(hub, hub.cancel_as("amy", invite_id), 8010)
    assert "timed out" in error.details["how"]


async def test_an_inviter_who_cancels_too_late_is_told_who_answered(hub: Hub) -> None:
    accepted = await hub.invite_as("amy", "bob")
    await hub.accept_as("bob", accepted)
    rejected = await hub.invite_as("amy", "bob")
    await hub.reject_as("bob", rejected)
    for invite_id, word in ((accepted, "accepted"), (rejected, "rejected")):
        error = await refusal(hub, hub.cancel_as("amy", invite_id), 8010)
        assert error.details["state"] == "completed"
        assert word in error.details["how"]
        assert "bob" in error.details["how"]


async def test_who_rejected_is_not_told_of_having_left_because_somebody_else_did(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob", "carol"])
    await hub.reject_as("bob", invite_id)
    await hub.groups.remove("g", ["carol"])
    error = await refusal(hub, hub.accept_as("bob", invite_id), 8010)
    assert error.details["status"] == "rejected"
    assert "left" not in error.details["how"]


async def test_who_has_answered_an_open_invitation_is_told_so(hub: Hub) -> None:
    first, _ = await join(hub, "bob", "phone")
    second, _ = await join(hub, "bob", "laptop")
    invite_id = await hub.invite_as("amy", ["bob", "carol"])
    await first.signaling.reject(invite_id)
    error = await refusal(hub, second.signaling.accept(invite_id), 8010)
    assert (error.details["status"], error.details["state"]) == ("rejected", "open")
    assert "rejected" in error.details["how"]


async def test_a_stranger_learns_nothing_but_that_it_is_not_open(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob"], "secret")
    await hub.accept_as("bob", invite_id, "secret")
    errors = [
        await refusal(hub, hub.accept_as(user, name), 8010)
        for user in ("carol", "dave")
        for name in (invite_id, "unknown")
    ]
    assert {(str(error), str(error.details)) for error in errors} == {(str(errors[0]), "{}")}


async def test_a_late_push_is_told_how_it_ended_too(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob", "carol"])
    bob, _ = await join(hub, "bob")
    dave, _ = await join(hub, "dave")
    info = SignalingInfo(invite_id, "amy", "g", ["bob", "carol"])
    await hub.reject_as("bob", invite_id)
    error = await refusal(hub, bob.signaling.add_invited_signaling(info), 8010)
    assert (error.details["status"], error.details["state"]) == ("rejected", "open")
    await hub.cancel_by_server(invite_id)
    error = await refusal(hub, bob.signaling.add_invited_signaling(info), 8010)
    assert (error.details["status"], error.details["reason"]) == ("rejected", "server")
    error = await refusal(hub, dave.signaling.add_invited_signaling(info), 8010)
    assert error.details == {}


@pytest.mark.parametrize("clocked", [False, True])
async def test_how_it_ended_is_known_for_60_seconds(
    hub: Hub, clock: VirtualClock, clocked: bool
) -> None:
    invite_id = await hub.invite_as("amy", "bob")
    await hub.accept_as("bob", invite_id)
    await clock.advance(59.999)
    error = await refusal(hub, hub.cancel_as("amy", invite_id), 8010)
    assert error.details["state"] == "completed"
    await clock.advance(0.002)
    if clocked:
        await hub.invite_as("carol", "dave")
    assert (await refusal(hub, hub.cancel_as("amy", invite_id), 8010)).details == {}
    assert await hub.invitation(invite_id) is None


@pytest.mark.parametrize("limits", [Limits(ended_max=3)])
async def test_how_it_ended_is_known_until_so_many_later_ends(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    invite_id = await hub.invite_as("amy", "bob")
    await hub.accept_as("bob", invite_id)
    for _ in range(2):
        await hub.cancel_as("amy", await hub.invite_as("amy", "bob"))
    await clock.settle()
    assert (await refusal(hub, hub.cancel_as("amy", invite_id), 8010)).details["state"]
    await hub.cancel_as("amy", await hub.invite_as("amy", "bob"))
    await clock.settle()
    assert (await refusal(hub, hub.cancel_as("amy", invite_id), 8010)).details == {}


# -- without a deadline ----------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
async def test_an_invitation_without_a_deadline_ends_silently_after_24_hours(
    hub: Hub, clock: VirtualClock, several: bool
) -> None:
    amy, amy_ear = await join(hub, "amy")
    _, bob_ear = await join(hub, "bob")
    heard = amy.events()
    invite_id = await amy.signaling.invite(["bob", "carol"] if several else "bob", timeout=0)
    assert (await info_of(hub, invite_id)).expires_at is None
    await clock.advance(86_399.999)
    assert (await info_of(hub, invite_id)).state == "open"
    bob_ear.take()
    bob_ear.kinds()
    await clock.advance(0.001)
    statuses = {"bob": "timed_out", "carol": "timed_out"} if several else {"bob": "timed_out"}
    assert await end_of(hub, invite_id) == ("completed", "lifetime", statuses)
    await refusal(hub, hub.accept_as("bob", invite_id), 8010)
    assert [amy_ear.take(), amy_ear.kinds(), bob_ear.take(), bob_ear.kinds()] == [[], [], [], []]
    await amy.logout()
    assert [event.kind async for event in heard] == []


@pytest.mark.parametrize("limits", [Limits(lifetime_s=10)])
async def test_the_lifetime_keeps_answers_that_were_given(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob", "carol"], timeout=0)
    await hub.accept_as("carol", invite_id)
    await clock.advance(10)
    statuses = {"bob": "timed_out", "carol": "accepted"}
    assert await end_of(hub, invite_id) == ("completed", "lifetime", statuses)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("as_list", [False, True])
async def test_the_17th_without_a_deadline_between_two_users_ends_the_oldest_silently(
    hub: Hub, clock: VirtualClock, online: bool, as_list: bool
) -> None:
    amy, amy_ear = await join(hub, "amy")
    _, bob_ear = await join(hub, "bob")
    invitee: Any = ["bob"] if as_list else "bob"
    names = [
        await amy.signaling.invite(invitee, timeout=0, online_user_only=online) for _ in range(16)
    ]
    assert [info.invite_id for info in await hub.pending("bob")] == names
    last = await amy.signaling.invite("bob", timeout=0)
    assert [info.invite_id for info in await hub.pending("bob")] == [*names[1:], last]
    assert await end_of(hub, names[0]) == ("completed", "lifetime", {"bob": "timed_out"})
    await refusal(hub, hub.accept_as("bob", names[0]), 8010)
    await clock.settle()
    assert [heard[:2] for heard in bob_ear.take()] == [
        ("receive_new_invitation", name) for name in [*names, last]
    ]
    assert amy_ear.take() == []
    await hub.accept_as("bob", names[5])
    await amy.signaling.invite("bob", timeout=0)
    assert (await info_of(hub, names[1])).state == "open"


async def test_only_those_from_one_user_to_one_other_without_a_group_count(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, others = hub.acting_as("amy").signaling, []
    for _ in range(20):
        others.append(await amy.invite("bob", timeout=60))
        others.append(await amy.invite_in_group("g", ["bob"], timeout=0))
        others.append(await amy.invite(["bob", "carol"], timeout=0))
    others += [await hub.invite_as("bob", "amy", timeout=0) for _ in range(16)]
    others += [await hub.invite_as("amy", "carol", timeout=0) for _ in range(16)]
    counted = [await amy.invite("bob", timeout=0) for _ in range(20)]
    open_ones = [name for name in counted if (await info_of(hub, name)).state == "open"]
    assert open_ones == counted[4:]
    for name in others:
        assert (await info_of(hub, name)).state == "open"


# -- group changes ---------------------------------------------------------------------------------


async def group_of_four(hub: Hub) -> dict[str, Ear]:
    ears = {}
    for user in ("amy", "bob", "carol", "dave"):
        _, ears[user] = await join(hub, user)
    await hub.groups.put("g", list(ears), owner="dave")
    return ears


LEAVING: dict[str, Callable[[Hub, str], Awaitable[None]]] = {
    "quit": lambda hub, user: hub.quit_group_as(user, "g"),
    "kick": lambda hub, user: hub.kick_group_member_as("dave", "g", user),
    "remove": lambda hub, user: hub.groups.remove("g", [user]),
    "put": lambda hub, user: hub.groups.put(
        "g", [name for name in ("amy", "bob", "carol", "dave") if name != user], "dave"
    ),
}
each_way_out = pytest.mark.parametrize("way", LEAVING)


@each_way_out
async def test_an_invitee_who_leaves_counts_as_rejected(hub: Hub, way: str) -> None:
    await group_of_four(hub)
    one = await hub.invite_in_group_as("amy", "g", ["bob"])
    two = await hub.invite_in_group_as("amy", "g", ["carol", "bob"])
    plain = await hub.invite_as("amy", "bob")
    several = await hub.invite_as("amy", ["bob", "carol"])
    await LEAVING[way](hub, "bob")
    assert await end_of(hub, one) == ("completed", "left_group", {"bob": "rejected"})
    assert await end_of(hub, two) == ("open", "", {"carol": "pending", "bob": "rejected"})
    for name in (plain, several):
        assert (await info_of(hub, name)).statuses["bob"] == "pending"
    await refusal(hub, hub.accept_as("bob", two), 8010)
    await hub.groups.add("g", ["bob"])
    await refusal(hub, hub.accept_as("bob", two), 8010)
    await hub.accept_as("carol", two)
    assert await end_of(hub, two) == ("completed", "", {"carol": "accepted", "bob": "rejected"})


@each_way_out
async def test_an_inviter_who_leaves_takes_the_invitation_along(hub: Hub, way: str) -> None:
    await group_of_four(hub)
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob", "carol"])
    plain = await hub.invite_as("amy", ["bob", "carol"])
    await hub.accept_as("bob", invite_id)
    await LEAVING[way](hub, "amy")
    statuses = {"bob": "accepted", "carol": "cancelled"}
    assert await end_of(hub, invite_id) == ("cancelled", "left_group", statuses)
    assert (await info_of(hub, plain)).state == "open"


@each_way_out
async def test_who_has_answered_or_was_not_invited_leaves_without_a_trace(
    hub: Hub, way: str
) -> None:
    await group_of_four(hub)
    invite_id = await hub.invite_in_group_as("dave", "g", ["bob", "carol"])
    await hub.accept_as("bob", invite_id)
    before = (await info_of(hub, invite_id)).seq
    await LEAVING[way](hub, "bob")
    await LEAVING[way](hub, "amy")
    assert (await info_of(hub, invite_id)).seq == before
    assert (await info_of(hub, invite_id)).statuses == {"bob": "accepted", "carol": "pending"}


async def test_a_dismissal_cancels_what_is_open_in_the_group(hub: Hub) -> None:
    await group_of_four(hub)
    await hub.groups.put("h", ["amy", "bob"])
    first = await hub.invite_in_group_as("amy", "g", ["bob", "carol"])
    second = await hub.invite_in_group_as("bob", "g", ["amy"], timeout=0)
    other = await hub.invite_in_group_as("amy", "h", ["bob"])
    await hub.reject_as("bob", first)
    await hub.dismiss_group_as("dave", "g")
    statuses = {"bob": "rejected", "carol": "cancelled"}
    assert await end_of(hub, first) == ("cancelled", "group_dismissed", statuses)
    assert await end_of(hub, second) == ("cancelled", "group_dismissed", {"amy": "cancelled"})
    assert (await info_of(hub, other)).state == "open"
    await refusal(hub, hub.acting_as("amy").signaling.open_invitations("g"), 10010)


async def test_a_disconnect_changes_nothing(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    await hub.groups.put("g", ["amy", "bob"])
    names = [await amy.signaling.invite("bob"), await amy.signaling.invite_in_group("g", ["bob"])]
    await amy.logout()
    await bob.logout()
    for name in names:
        assert await end_of(hub, name) == ("open", "", {"bob": "pending"})
    assert await hub.groups.members("g") == ["amy", "bob"]


# -- an empty list ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, 30])
@pytest.mark.parametrize("notify", ["members", "parties"])
async def test_an_empty_list_is_delivered_and_born_completed(
    hub: Hub, clock: VirtualClock, seconds: float, notify: str
) -> None:
    ears = await group_of_four(hub)
    invite_id = await hub.invite_in_group_as("amy", "g", [], "hi", timeout=seconds, notify=notify)
    assert await end_of(hub, invite_id) == ("completed", "", {})
    assert hub.stats()["open"] == hub.stats()["timers"] == 0
    await clock.advance(90_000)
    heard = [("receive_new_invitation", invite_id, "amy", "g", [], "hi")]
    nobody: list[Any] = []
    rest = heard if notify == "members" else nobody
    assert [ear.take() for ear in ears.values()] == [heard, rest, rest, rest]
    event = ears["amy"].events[0]
    assert (event.ends, event.seq, event.pending, event.affected) == (True, 1, (), ())
    await refusal(hub, hub.cancel_as("amy", invite_id), 8010)
    await refusal(hub, hub.accept_as("bob", invite_id), 8010)


async def test_what_was_born_completed_is_not_announced_at_a_login(hub: Hub) -> None:
    await group_of_four(hub)
    await hub.invite_in_group_as("amy", "g", [])
    late, ear = await join(hub, "bob", "2")
    assert (late.snapshot.open, ear.take()) == ([], [])


# -- full tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [Limits(open_max=2)])
async def test_a_full_table_of_invitations_refuses_and_goes_on_ending(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy = hub.acting_as("amy").signaling
    first = await amy.invite("bob")
    await amy.invite("carol", timeout=10)
    await refusal(hub, amy.invite("dave"), 7008)
    await refusal(hub, amy.invite(["dave", "erin"]), 7008)
    await refusal(hub, amy.invite_in_group("g", ["bob"]), 7008)
    await refusal(hub, amy.invite("amy"), 6017)
    await hub.accept_as("bob", first)
    third = await amy.invite("dave")
    await refusal(hub, amy.invite("erin"), 7008)
    await clock.advance(10)
    await amy.invite("erin")
    assert (await info_of(hub, third)).state == "open"


@pytest.mark.parametrize("limits", [Limits(users_max=3, ended_keep_s=1)])
async def test_a_full_table_of_users_refuses_until_some_are_forgotten(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    amy = hub.acting_as("amy").signaling
    first = await amy.invite(["bob", "carol"])
    for call in (amy.invite("dave"), amy.invite(["bob", "dave"]), hub.invite_as("dave", "bob")):
        await refusal(hub, call, 7008)
    await hub.invite_as("carol", "bob", timeout=1)
    await hub.cancel_by_server(first)
    await refusal(hub, hub.invite_as("dave", "erin"), 7008)
    await clock.advance(5)
    for _ in range(2):
        await hub.cancel_by_server(await hub.invite_as("amy", "bob"))
    await clock.advance(5)
    assert await hub.invite_as("dave", "erin")


@pytest.mark.parametrize("limits", [Limits(groups_max=1)])
async def test_a_full_table_of_groups_refuses(hub: Hub, limits: Limits) -> None:
    for group in ("g", "h"):
        await hub.groups.put(group, ["amy", "bob"])
    assert await hub.invite_in_group_as("amy", "g", ["bob"])
    assert await hub.invite_in_group_as("amy", "g", ["bob"])
    await refusal(hub, hub.invite_in_group_as("amy", "h", ["bob"]), 7008)
    assert await hub.invite_as("amy", "bob")
