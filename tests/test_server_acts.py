"""What the embedding server does itself (SPEC §2): acts as a user, looks up, owns groups."""

from __future__ import annotations

from typing import Any

import pytest
from ears import Ear, join
from refusals import refusal

from pysignal import (
    GroupIdTaken,
    Hub,
    InvalidParameter,
    InvitationInfo,
    Limits,
    Role,
    SignalingError,
    VirtualClock,
)

pytestmark = pytest.mark.anyio


async def info_of(hub: Hub, invite_id: str) -> InvitationInfo:
    found = await hub.invitation(invite_id)
    assert found is not None
    return found


# -- acting as a user ------------------------------------------------------------------------------


async def test_the_server_acts_for_users_who_never_logged_in(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    name = await hub.invite_as("amy", "bob", "one", timeout=7, online_user_only=True)
    found = await info_of(hub, name)
    assert (found.inviter, found.data, found.invitee_list) == ("amy", "one", ["bob"])
    assert (found.expires_at, found.online_only) == (clock.now_ms() + 7000, True)
    await hub.reject_as("bob", name, "no")
    assert (await info_of(hub, name)).statuses == {"bob": "rejected"}
    name = await hub.invite_in_group_as("amy", "g", ["bob"], "two", notify="parties", timeout=0)
    found = await info_of(hub, name)
    assert (found.group_id, found.parties_only, found.no_deadline) == ("g", True, True)
    await hub.modify_invitation_as("amy", name, "three", expected_version=1)
    assert (await info_of(hub, name)).data == "three"
    await hub.accept_as("bob", name, "yes")
    name = await hub.invite_as("amy", ["bob", "carol"])
    await hub.cancel_as("amy", name, "x")
    assert (await info_of(hub, name)).state == "cancelled"
    assert hub.stats()["sessions"] == 0


async def test_an_act_of_the_server_is_judged_as_one_of_the_user(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    name = await hub.invite_as("amy", "bob")
    await refusal(hub, hub.accept_as("amy", name), 8011)
    await refusal(hub, hub.reject_as("carol", name), 8011)
    await refusal(hub, hub.cancel_as("bob", name), 8011)
    await refusal(hub, hub.modify_invitation_as("bob", name, ""), 8011)
    await refusal(hub, hub.invite_in_group_as("carol", "g", ["bob"]), 10007)
    await refusal(hub, hub.invite_in_group_as("amy", "h", ["bob"]), 10010)
    await refusal(hub, hub.open_invitations_as("carol", "g"), 10007)
    await refusal(hub, hub.quit_group_as("carol", "g"), 10007)
    await refusal(hub, hub.kick_group_member_as("amy", "g", "bob"), 10007)
    await refusal(hub, hub.dismiss_group_as("amy", "g"), 10007)


@pytest.mark.parametrize("bad", ["", "x" * 129, "a\nb", "\ud800", None, 7, True, b"amy"], ids=ascii)
async def test_the_actor_is_a_user(hub: Hub, bad: Any) -> None:
    for call in (
        lambda: hub.invite_as(bad, "bob"),
        lambda: hub.accept_as(bad, "x"),
        lambda: hub.cancel_as(bad, "x"),
        lambda: hub.quit_group_as(bad, "g"),
    ):
        error = await refusal(hub, call(), 6017)
        assert error.details["parameter"] == "user"


async def test_an_act_of_the_server_has_no_device(hub: Hub, clock: VirtualClock) -> None:
    _, ear = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    name = await hub.invite_as("amy", "bob")
    await hub.accept_as("bob", name)
    await clock.settle()
    assert [(event.actor, event.device) for event in ear.events] == [("amy", ""), ("bob", "")]
    error = await refusal(hub, bob.signaling.accept(name), 8010)
    assert "device" not in error.details["how"]


async def test_an_act_of_the_server_has_no_listeners(hub: Hub) -> None:
    with pytest.raises(InvalidParameter):
        hub.acting_as("amy").signaling.add_signaling_listener(Ear())


# -- cancel_by_server ------------------------------------------------------------------------------


@pytest.mark.parametrize("online", [False, True])
async def test_the_server_cancels_any_open_invitation(
    hub: Hub, clock: VirtualClock, online: bool
) -> None:
    amy, amy_ear = await join(hub, "amy")
    _, bob_ear = await join(hub, "bob")
    name = await amy.signaling.invite(["bob", "carol"], online_user_only=online)
    await hub.accept_as("carol", name)
    await hub.cancel_by_server(name, "closing")
    found = await info_of(hub, name)
    assert (found.state, found.reason) == ("cancelled", "server")
    assert found.statuses == {"bob": "cancelled", "carol": "accepted"}
    await clock.settle()
    for ear in (amy_ear, bob_ear):
        assert ear.heard[-1] == ("invitation_cancelled", name, "amy", "closing")
        assert (ear.events[-1].reason, ear.events[-1].actor) == ("server", "")
    assert (await refusal(hub, hub.cancel_by_server(name), 8010)).details == {}


async def test_a_cancel_by_the_server_checks_its_parameters_in_order(hub: Hub) -> None:
    nothing: Any = None
    await refusal(hub, hub.cancel_by_server(nothing, "x" * 12_289), 8001)
    await refusal(hub, hub.cancel_by_server(nothing), 6017)
    await refusal(hub, hub.cancel_by_server("x", nothing), 8010)
    late = Hub()
    with pytest.raises(SignalingError) as caught:
        await late.cancel_by_server(nothing, "x" * 12_289)
    assert caught.value.code == 6013


# -- looking up ------------------------------------------------------------------------------------


async def test_pending_is_what_waits_for_a_user_oldest_first(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    names = [
        await hub.invite_as("amy", "bob", timeout=30),
        await hub.invite_in_group_as("amy", "g", ["bob"], notify="parties"),
        await hub.invite_as("carol", ["dave", "bob"], timeout=0),
        await hub.invite_as("amy", "bob", online_user_only=True, timeout=5),
        await hub.invite_as("amy", "bob", timeout=0),
    ]
    await hub.invite_as("bob", "amy")
    assert [info.invite_id for info in await hub.pending("bob")] == names
    await hub.accept_as("bob", names[2])
    assert (await info_of(hub, names[2])).state == "open"
    await hub.reject_as("bob", names[1])
    clock._now_ms += 5000
    assert [info.invite_id for info in await hub.pending("bob")] == [names[0], names[4]]
    assert [info.invite_id for info in await hub.pending("dave")] == [names[2]]
    assert await hub.pending("nobody") == []
    infos = await hub.pending("bob")
    infos.clear()
    assert len(await hub.pending("bob")) == 2


async def test_an_invitation_is_shown_whole(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    start = clock.now_ms()
    name = await hub.invite_in_group_as("amy", "g", ["carol", "bob"], "one", timeout=60)
    await clock.advance(1)
    await hub.accept_as("bob", name)
    await hub.modify_invitation_as("amy", name, "two")
    found = await info_of(hub, name)
    assert (found.invite_id, found.group_id, found.inviter, found.data) == (name, "g", "amy", "two")
    assert list(found.statuses.items()) == [("carol", "pending"), ("bob", "accepted")]
    assert (found.invitee_list, found.pending) == (["carol", "bob"], ["carol"])
    assert (found.opened_at, found.expires_at, found.ended_at) == (start, start + 60_000, None)
    assert (found.seq, found.data_version, found.state, found.reason) == (3, 2, "open", "")
    found.statuses["carol"] = "spoilt"
    assert (await info_of(hub, name)).pending == ["carol"]
    await clock.advance(59)
    found = await info_of(hub, name)
    assert (found.state, found.ended_at, found.seq) == ("completed", start + 60_000, 4)


async def test_stats_count_what_there_is(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    await join(hub, "amy", "1")
    await join(hub, "amy", "2")
    first = await hub.invite_as("amy", "bob", request_id="r")
    await hub.invite_as("amy", "carol", timeout=0)
    await hub.accept_as("bob", first)
    await clock.settle()
    expected = {
        "open": 1,
        "timers": 1,
        "sessions": 2,
        "groups_existing": 1,
        "invitations": 2,
        "invitees_pending": 1,
        "invitees_accepted": 1,
        "invitees_rejected": 0,
        "commands_waiting": 0,
        "deliveries_waiting": 0,
        "watches": 0,
        "requests_remembered": 1,
    }
    stats = hub.stats()
    assert {name: stats[name] for name in expected} == expected
    assert all(isinstance(count, int) for count in stats.values())


# -- open_invitations ------------------------------------------------------------------------------


async def test_a_member_looks_up_what_is_open_in_the_group(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    await hub.groups.put("h", ["amy", "bob"])
    names = [
        await hub.invite_in_group_as("amy", "g", ["bob", "carol"], "one"),
        await hub.invite_in_group_as("bob", "g", ["amy"], online_user_only=True),
        await hub.invite_in_group_as("amy", "g", ["bob"], timeout=0),
    ]
    await hub.invite_in_group_as("amy", "g", ["bob"], notify="parties")
    await hub.invite_in_group_as("amy", "h", ["bob"])
    await hub.invite_in_group_as("amy", "g", [])
    await hub.invite_as("amy", "bob")
    await hub.accept_as("bob", names[0])
    await hub.groups.add("g", ["dave"])
    dave, _ = await join(hub, "dave")
    found = await dave.signaling.open_invitations("g")
    assert [info.invite_id for info in found] == names
    assert (found[0].data, found[0].statuses) == ("one", {"bob": "accepted", "carol": "pending"})
    await clock.advance(30)
    assert [info.invite_id for info in await hub.open_invitations_as("dave", "g")] == names[2:]
    await refusal(hub, dave.signaling.open_invitations("nowhere"), 10010)
    await hub.groups.remove("g", ["dave"])
    await refusal(hub, dave.signaling.open_invitations("g"), 10007)


# -- groups of the server --------------------------------------------------------------------------


async def test_put_makes_a_group_and_replaces_its_members(hub: Hub) -> None:
    await hub.groups.put("g", ["bob", "amy", "bob"])
    assert await hub.groups.members("g") == ["bob", "amy"]
    await hub.groups.put("g", ("carol", "amy"))
    assert sorted(await hub.groups.members("g")) == ["amy", "carol"]
    await hub.groups.put("g", [], owner="dave")
    assert await hub.groups.members("g") == ["dave"]
    await hub.groups.put("g", [])
    assert await hub.groups.members("g") == []
    assert await hub.groups.members("nowhere") == []


async def test_add_and_remove_go_by_no_rules_of_types(hub: Hub, clock: VirtualClock) -> None:
    owner = hub.acting_as("owner").groups
    for kind in ("Work", "Public", "Meeting", "AVChatRoom", "Community"):
        await owner.create_group(kind, kind)
        await hub.groups.add(kind, ["amy", "bob", "amy"])
        await hub.groups.add(kind, ["bob"])
        assert await hub.groups.members(kind) == ["owner", "amy", "bob"]
        await hub.groups.remove(kind, ["owner", "stranger"])
        assert await hub.groups.members(kind) == ["amy", "bob"]
        heir = await hub.acting_as("amy").groups.get_group_info(kind)
        assert heir.owner == "amy"
        await hub.groups.dismiss(kind)
        await refusal(hub, hub.groups.add(kind, ["amy"]), 10010)
        await refusal(hub, hub.groups.remove(kind, ["amy"]), 10010)
        await refusal(hub, hub.groups.dismiss(kind), 10010)


async def test_a_group_that_a_session_made_is_not_put(hub: Hub) -> None:
    await hub.acting_as("amy").groups.create_group("Work", "w")
    assert isinstance(await refusal(hub, hub.groups.put("w", ["bob"]), 10021), GroupIdTaken)
    await hub.groups.put("g", ["bob"])
    await refusal(hub, hub.acting_as("amy").groups.create_group("Work", "g"), 10021)


async def test_the_members_of_a_group_of_the_server_are_its_own(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"], owner="amy")
    await refusal(hub, hub.acting_as("dave").groups.join_group("g"), 10007)
    await refusal(hub, hub.acting_as("amy").groups.invite_user_to_group("g", ["dave"]), 10007)
    await refusal(hub, hub.kick_group_member_as("bob", "g", "carol"), 10007)
    await hub.kick_group_member_as("amy", "g", "carol")
    await hub.quit_group_as("bob", "g")
    members, _ = await hub.acting_as("amy").groups.get_group_member_list("g")
    assert [(member.user_id, member.role) for member in members] == [("amy", Role.OWNER)]
    await hub.dismiss_group_as("amy", "g")
    assert hub.stats()["groups_existing"] == 0


@pytest.mark.parametrize("bad", ["bob", {"bob"}, None, 5, [""], ["x" * 129], [None]], ids=repr)
async def test_members_are_a_list_of_users(hub: Hub, bad: Any) -> None:
    await hub.groups.put("g", ["amy"])
    await refusal(hub, hub.groups.put("g", bad), 6017)
    await refusal(hub, hub.groups.put("h", bad), 6017)
    amy = hub.acting_as("amy").groups
    await refusal(hub, amy.create_group("Work", "w", member_list=bad), 6017)
    if bad != "bob":
        await refusal(hub, hub.groups.add("g", bad), 6017)
        await refusal(hub, hub.groups.remove("g", bad), 6017)
        await refusal(hub, amy.kick_group_member("g", bad), 6017)


async def test_of_a_group_operation_login_is_looked_at_before_parameters(hub: Hub) -> None:
    offline: Any = hub.session("amy").groups
    for call in (
        offline.create_group("no such type", "\n"),
        offline.join_group(""),
        offline.quit_group(None),
        offline.dismiss_group(""),
        offline.kick_group_member("", 5),
        offline.invite_user_to_group("", None),
        offline.set_group_info(""),
        offline.get_group_info(""),
        offline.get_joined_group_list(),
        offline.get_group_member_list("", count=0),
    ):
        await refusal(hub, call, 6014)


@pytest.mark.parametrize("limits", [Limits(group_members={"Work": 2})])  # type: ignore[dict-item]
async def test_the_server_goes_by_no_limit_of_members(hub: Hub, limits: Limits) -> None:
    await hub.acting_as("amy").groups.create_group("Work", "w", member_list=["bob"])
    await refusal(hub, hub.acting_as("amy").groups.invite_user_to_group("w", ["carol"]), 7008)
    await hub.groups.add("w", ["carol", "dave"])
    assert len(await hub.groups.members("w")) == 4


async def test_groups_of_a_hub_that_is_not_open_are_refused(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)

    async def refused() -> None:
        for call in (
            lambda: hub.groups.put("g", ["amy"]),
            lambda: hub.groups.add("g", ["amy"]),
            lambda: hub.groups.remove("g", ["amy"]),
            lambda: hub.groups.dismiss("g"),
            lambda: hub.groups.members("g"),
        ):
            with pytest.raises(SignalingError) as caught:
                await call()
            assert caught.value.code == 6013

    async with hub:
        await hub.groups.put("g", ["amy"])
    await refused()
    hub = Hub(clock=clock)
    await refused()
