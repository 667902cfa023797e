"""Logins: what a device rings again, what its snapshot shows, and how long that is remembered."""

from __future__ import annotations

from typing import Any

import pytest
from busy import code_of
from ears import Ear, join

from pysignal import Hub, VirtualClock
from pysignal.engine.views import InvitationInfo

pytestmark = pytest.mark.anyio

DAY_S = 86_400.0


async def rung(clock: VirtualClock, ear: Ear) -> list[str]:
    """The IDs that rang since the last time; nothing else may have been heard."""
    await clock.settle()
    heard = ear.take()
    assert all(call[0] == "receive_new_invitation" for call in heard), heard
    return [call[1] for call in heard]


def ids(infos: list[InvitationInfo]) -> list[str]:
    return [info.invite_id for info in infos]


# -- cold ------------------------------------------------------------------------------------------


async def test_a_cold_login_rings_every_pending_invitation_without_a_group_oldest_first(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    zoe, _ = await join(hub, "zoe")
    one = await zoe.signaling.invite("bob", "1", timeout=3600)
    await clock.advance(3000)
    two = await amy.signaling.invite(["bob", "cy"], "2", timeout=3600)
    three = await amy.signaling.invite("bob", "3", timeout=0)
    _, ear = await join(hub, "bob")
    await clock.settle()
    assert ear.take() == [
        ("receive_new_invitation", one, "zoe", "", ["bob"], "1"),
        ("receive_new_invitation", two, "amy", "", ["bob", "cy"], "2"),
        ("receive_new_invitation", three, "amy", "", ["bob"], "3"),
    ]
    assert [event.kind for event in ear.events] == ["opened"] * 3
    assert [event.seq for event in ear.events] == [1, 1, 1]


@pytest.mark.parametrize(("age_ms", "rings"), [(30_000, True), (30_001, False)])
async def test_a_cold_login_rings_group_invitations_of_at_most_30_seconds(
    hub: Hub, clock: VirtualClock, age_ms: int, rings: bool
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite_in_group("g", ["bob"], timeout=3600)
    await clock.advance(age_ms / 1000)
    bob, ear = await join(hub, "bob")
    assert await rung(clock, ear) == ([invite_id] if rings else [])
    assert ids(bob.snapshot.open) == [invite_id]
    await bob.signaling.accept(invite_id)


async def test_a_second_cold_login_of_the_same_device_rings_again(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=0)
    other = await amy.signaling.invite("bob", timeout=3600)
    assert await rung(clock, ear) == [invite_id, other]
    await bob.logout()
    bob, ear = await join(hub, "bob", start="cold")
    assert await rung(clock, ear) == [other], "what has no deadline rings a user once"


async def test_a_login_rings_with_the_data_of_now_and_only_pending_invitees(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    kept = await amy.signaling.invite("bob", "old", timeout=3600)
    answered = await amy.signaling.invite(["bob", "cy"], timeout=3600)
    ended = await amy.signaling.invite("bob", timeout=3600)
    await bob.signaling.accept(answered)
    await bob.signaling.reject(ended)
    await amy.signaling.modify_invitation(kept, "new")
    for start in ("cold", "hot"):
        new, ear = await join(hub, "bob", f"new {start}", start)  # type: ignore[arg-type]
        await clock.settle()
        assert ear.take() == [("receive_new_invitation", kept, "amy", "", ["bob"], "new")]
        assert ear.events[0].data_version == 2
        assert ids(new.snapshot.open) == [kept, answered]


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_a_login_announces_nothing_but_openings(
    hub: Hub, clock: VirtualClock, start: Any
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    sent = await bob.signaling.invite("amy", timeout=3600)
    await clock.settle()
    await bob.logout()
    await amy.signaling.accept(sent)
    own = await amy.signaling.invite("zoe", timeout=3600)
    _, ear = await join(hub, "bob", start=start)
    assert await rung(clock, ear) == []
    _, ear = await join(hub, "amy", "2", start)
    assert await rung(clock, ear) == [], "the inviter is not rung"
    await amy.signaling.cancel(own)


# -- hot -------------------------------------------------------------------------------------------


async def test_a_hot_login_rings_what_that_device_was_not_told_of(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    told = await amy.signaling.invite("bob", timeout=3600)
    told_in_group = await amy.signaling.invite_in_group("g", ["bob"], timeout=3600)
    await clock.settle()
    await bob.logout()
    missed_in_group = await amy.signaling.invite_in_group("g", ["bob"], timeout=3600)
    missed = await amy.signaling.invite("bob", timeout=3600)
    await clock.advance(1000)
    bob, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == [missed_in_group, missed]
    assert ids(bob.snapshot.open) == [told, told_in_group, missed_in_group, missed]
    await bob.logout()
    _, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == [], "told by the login before"


async def test_what_one_device_was_told_is_news_to_another(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    await join(hub, "bob", "phone")
    invite_id = await amy.signaling.invite("bob", timeout=3600)
    await clock.settle()
    _, ear = await join(hub, "bob", "tablet", "hot")
    assert await rung(clock, ear) == [invite_id]


async def test_a_hot_login_after_a_cold_one_rings_what_the_cold_one_was_too_late_for(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    old = await amy.signaling.invite_in_group("g", ["bob"], timeout=3600)
    await clock.advance(31)
    young = await amy.signaling.invite_in_group("g", ["bob"], timeout=3600)
    bob, ear = await join(hub, "bob")
    assert await rung(clock, ear) == [young]
    await bob.logout()
    bob, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == [old]
    await bob.logout()
    _, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == []


async def test_a_device_that_was_never_seen_is_told_everything_by_a_hot_login(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    await join(hub, "bob", "1")
    hang_up = await amy.signaling.invite("bob", timeout=0)
    group = await amy.signaling.invite_in_group("g", ["bob"], timeout=3600)
    await clock.advance(100)
    _, ear = await join(hub, "bob", "2", "hot")
    assert await rung(clock, ear) == [hang_up, group]


# -- timeout 0 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("invitees", ["bob", ["bob", "cy"]])
async def test_what_has_no_deadline_is_not_rung_by_a_cold_login_once_any_session_was_told(
    hub: Hub, clock: VirtualClock, invitees: Any
) -> None:
    amy, _ = await join(hub, "amy")
    phone, ear = await join(hub, "bob", "phone")
    invite_id = await amy.signaling.invite(invitees, timeout=0)
    assert await rung(clock, ear) == [invite_id]
    tablet, ear = await join(hub, "bob", "tablet")
    assert await rung(clock, ear) == []
    assert ids(tablet.snapshot.open) == [invite_id]
    await tablet.logout()
    _, ear = await join(hub, "bob", "tablet", "hot")
    assert await rung(clock, ear) == [], "it counts as told to the session that came cold"
    await phone.logout()
    _, ear = await join(hub, "bob", "phone", "cold")
    assert await rung(clock, ear) == []


async def test_what_has_no_deadline_and_nobody_was_told_of_rings_one_cold_login(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite(["bob", "cy"], timeout=0)
    _, ear = await join(hub, "bob", "1")
    assert await rung(clock, ear) == [invite_id]
    _, ear = await join(hub, "bob", "2")
    assert await rung(clock, ear) == []
    _, ear = await join(hub, "cy")
    assert await rung(clock, ear) == [invite_id], "the other invitee was not told"


async def test_what_has_no_deadline_in_a_group_follows_the_rule_of_groups(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    await join(hub, "bob", "1")
    invite_id = await amy.signaling.invite_in_group("g", ["bob"], timeout=0)
    await clock.settle()
    _, ear = await join(hub, "bob", "2")
    assert await rung(clock, ear) == [invite_id]


@pytest.mark.parametrize("login", [False, True], ids=["before an event", "before a replay"])
async def test_what_has_no_deadline_and_was_not_handed_over_before_the_logout_rings_later(
    hub: Hub, clock: VirtualClock, login: bool
) -> None:
    amy, _ = await join(hub, "amy")
    if login:
        invite_id = await amy.signaling.invite("bob", timeout=0)
        await clock.settle()
        bob, ear = await join(hub, "bob")
    else:
        bob, ear = await join(hub, "bob")
        invite_id = await amy.signaling.invite("bob", timeout=0)
    await bob.logout()
    assert await rung(clock, ear) == []
    _, ear = await join(hub, "bob", start="cold")
    assert await rung(clock, ear) == [invite_id], "no session was ever told of it"


# -- online-only -----------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_an_online_only_invitation_reaches_only_who_is_online(
    hub: Hub, clock: VirtualClock, start: Any
) -> None:
    amy, amy_ear = await join(hub, "amy")
    _, ear = await join(hub, "bob", "1")
    invite_id = await amy.signaling.invite(["bob", "cy"], online_user_only=True, timeout=60)
    assert await rung(clock, ear) == [invite_id]
    late, late_ear = await join(hub, "bob", "2", start)
    assert await rung(clock, late_ear) == []
    assert late.snapshot.open == [], "this device was not told"
    await late.signaling.accept(invite_id)
    cy, cy_ear = await join(hub, "cy", start=start)
    await cy.signaling.reject(invite_id)
    await clock.settle()
    assert [call[0] for call in amy_ear.take()] == ["invitee_accepted", "invitee_rejected"]
    assert [call[0] for call in late_ear.take()] == ["invitee_rejected"]
    assert cy_ear.take() == []


async def test_a_snapshot_shows_an_online_only_invitation_to_a_device_that_was_told(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    told = await amy.signaling.invite("bob", online_user_only=True, timeout=3600)
    await clock.settle()
    await bob.logout()
    await amy.signaling.invite("bob", online_user_only=True, timeout=3600)
    bob, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == []
    assert ids(bob.snapshot.open) == [told]
    await bob.logout()
    bob, ear = await join(hub, "bob", start="cold")
    assert bob.snapshot.open == [], "a cold login clears what was told"
    assert await rung(clock, ear) == []


# -- what was on its way ---------------------------------------------------------------------------


@pytest.mark.parametrize("same_object", [False, True])
async def test_what_was_undelivered_at_the_logout_rings_the_hot_login_once(
    hub: Hub, clock: VirtualClock, same_object: bool
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=3600)
    await bob.logout()
    if same_object:
        await bob.login("hot")
    else:
        assert await rung(clock, ear) == [], "nothing is heard after logout"
        bob, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == [invite_id]


async def test_events_from_before_a_logout_are_not_heard_after_logging_in_again(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=3600)
    await clock.settle()
    assert ear.take()
    await amy.signaling.cancel(invite_id)
    await bob.logout()
    await bob.login("hot")
    await clock.settle()
    assert ear.take() == [], "login announces nothing else by callback"
    assert ids(bob.snapshot.ended) == [invite_id]


async def test_what_ended_on_its_way_is_not_rung_again(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=3600)
    await bob.logout()
    await amy.signaling.cancel(invite_id)
    bob, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == []
    assert bob.snapshot.open == []
    assert bob.snapshot.ended == [], "it was never told of"


# -- snapshots -------------------------------------------------------------------------------------


async def test_a_snapshot_shows_each_open_invitation_whole(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob", "cy"])
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob", "1")
    asked = await amy.signaling.invite_in_group("g", ["cy", "bob"], "x", timeout=60)
    own = await bob.signaling.invite("amy", timeout=0)
    others = await amy.signaling.invite_in_group("g", ["cy"])
    await bob.signaling.accept(asked)
    await clock.advance(1)
    bob, _ = await join(hub, "bob", "2")
    first, second = bob.snapshot.open
    assert (first.invite_id, first.group_id, first.inviter, first.data) == (asked, "g", "amy", "x")
    assert first.statuses == {"cy": "pending", "bob": "accepted"}
    assert first.expires_at == hub.now_ms + 59_000
    assert (second.invite_id, second.expires_at) == (own, None)
    assert bob.snapshot.now == hub.now_ms
    assert others not in ids(bob.snapshot.open), "bob is no party to it"


async def test_a_snapshot_says_how_what_the_device_knew_has_ended(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob", "1")
    await join(hub, "bob", "2")
    cancelled = await amy.signaling.invite("bob", timeout=3600)
    timed_out = await amy.signaling.invite("bob", timeout=5)
    own = await bob.signaling.invite("amy", timeout=3600)
    before = await amy.signaling.invite("bob", timeout=3600)
    await bob.signaling.accept(before)
    await clock.settle()
    await bob.logout()
    unknown = await amy.signaling.invite("bob", timeout=3600)
    for invite_id in (cancelled, unknown):
        await amy.signaling.cancel(invite_id)
    await amy.signaling.accept(own)
    await clock.advance(5)
    bob, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == []
    ended = {info.invite_id: info.statuses for info in bob.snapshot.ended}
    assert ended == {
        cancelled: {"bob": "cancelled"},
        timed_out: {"bob": "timed_out"},
        own: {"amy": "accepted"},
    }
    await bob.logout()
    await clock.advance(60)
    bob, _ = await join(hub, "bob", start="hot")
    assert bob.snapshot.ended == []


async def test_the_end_of_what_a_device_knew_is_shown_as_long_as_it_is_kept(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=3600)
    await clock.settle()
    await bob.logout()
    await amy.signaling.cancel(invite_id)
    await clock.advance(61)
    bob, _ = await join(hub, "bob", start="hot")
    assert bob.snapshot.ended == []


# -- how long, and how many ------------------------------------------------------------------------


@pytest.mark.parametrize(("away_ms", "rings"), [(86_399_999, False), (86_400_001, True)])
async def test_a_device_is_remembered_for_a_day_after_its_last_disconnect(
    hub: Hub, clock: VirtualClock, away_ms: int, rings: bool
) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob", timeout=30 * DAY_S)
    await clock.settle()
    await bob.logout()
    await clock.advance(DAY_S - 1)
    bob, _ = await join(hub, "bob", start="hot")
    await bob.logout()
    await clock.advance(away_ms / 1000)
    _, ear = await join(hub, "bob", start="hot")
    assert await rung(clock, ear) == ([invite_id] if rings else [])


async def test_sixteen_devices_of_a_user_are_remembered(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite("bob", timeout=DAY_S)
    for device in range(17):
        bob, _ = await join(hub, "bob", str(device))
        await clock.advance(1)
        await bob.logout()
    for device in range(16, 0, -1):
        bob, ear = await join(hub, "bob", str(device), "hot")
        assert await rung(clock, ear) == [], device
        await bob.logout()
    _, ear = await join(hub, "bob", "0", "hot")
    assert await rung(clock, ear) == [invite_id], "forgotten, so told everything"


async def test_a_seventeenth_session_is_refused_and_changes_nothing(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    sessions = [(await join(hub, "bob", str(device)))[0] for device in range(16)]
    invite_id = await amy.signaling.invite("bob", timeout=3600)
    before = hub.stats()
    late = hub.session("bob", "16")
    ear = Ear()
    late.add_signaling_listener(ear)
    assert await code_of(late.login()) == 7008
    assert await code_of(late.signaling.invite("amy")) == 6014
    assert hub.stats() | {"deliveries_waiting": 0, "facts_waiting": 0} == before | {
        "deliveries_waiting": 0,
        "facts_waiting": 0,
    }
    assert await rung(clock, ear) == []
    assert not late.online
    again, _ = await join(hub, "bob", "3")
    await clock.settle()
    assert again.online, "the same device again takes the place of the older session"
    assert not sessions[3].online
    await sessions[5].logout()
    await late.login("hot")
    assert await rung(clock, ear) == [invite_id]


async def test_nothing_is_kept_of_users_who_have_been_away_for_a_day(
    hub: Hub, clock: VirtualClock
) -> None:
    for number in range(100):
        for _ in range(3):
            session, _ = await join(hub, f"user {number}", start="hot")
            await session.logout()
    await clock.advance(DAY_S + 1)
    await join(hub, "zoe")
    assert list(hub._delivery.accounts) == ["zoe"]
