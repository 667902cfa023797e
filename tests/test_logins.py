"""Sessions that come and go: kicks, repeated logins, and `add_invited_signaling`."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from busy import PATIENCE_S, begin_mass_expiry, code_of
from ears import ConnectionEar, Ear, join

from pysignal import Hub, HubClosed, Session, SignalingError, SignalingInfo, VirtualClock

pytestmark = pytest.mark.anyio


def ids(ear: Ear) -> list[str]:
    return [call[1] for call in ear.take() if call[0] == "receive_new_invitation"]


# -- the same device again -------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_the_same_device_again_replaces_the_older_session(
    hub: Hub, clock: VirtualClock, start: Any
) -> None:
    amy, amy_ear = await join(hub, "amy")
    older, older_ear = await join(hub, "bob")
    connection = ConnectionEar()
    older.add_connection_listener(connection)
    told = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    older_ear.take()
    on_its_way = await amy.signaling.invite("bob", timeout=60)
    newer, newer_ear = await join(hub, "bob", start=start)
    await clock.settle()
    assert connection.heard == [("kicked_offline", 6208)]
    assert older_ear.take() == []
    assert ids(newer_ear) == ([told, on_its_way] if start == "cold" else [on_its_way])
    for call in (
        older.signaling.accept(told),
        older.signaling.invite("amy"),
        older.groups.get_joined_group_list(),
        older.logout(),
    ):
        assert await code_of(call) == 6014
    await newer.signaling.accept(told)
    await clock.settle()
    assert [call[0] for call in amy_ear.take()] == ["invitee_accepted"]
    assert connection.heard == [("kicked_offline", 6208)]
    assert newer_ear.take() == []


async def test_a_kicked_session_may_log_in_again_and_kicks_the_other(
    hub: Hub, clock: VirtualClock
) -> None:
    first, _ = await join(hub, "bob")
    second, _ = await join(hub, "bob")
    await clock.settle()
    ears = ConnectionEar(), ConnectionEar()
    first.add_connection_listener(ears[0])
    second.add_connection_listener(ears[1])
    await first.login("hot")
    await clock.settle()
    assert [ear.heard for ear in ears] == [[], [("kicked_offline", 6208)]]
    assert (first.online, second.online) == (True, False)
    assert hub.stats()["sessions"] == 1


async def test_a_kick_fails_outcomes_that_wait_and_ends_no_invitation(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    call = await amy.signaling.invite("bob", timeout=60)
    waiting = asyncio.ensure_future(call.outcome())
    await asyncio.sleep(0)
    newer, _ = await join(hub, "amy")
    assert await code_of(waiting) == 6014
    assert [info.invite_id for info in newer.snapshot.open] == [call]


# -- login again -----------------------------------------------------------------------------------


async def test_a_session_that_logged_out_may_log_in_again(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    await bob.logout()
    invite_id = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    await bob.login("hot")
    await clock.settle()
    assert ids(ear) == [invite_id]
    await bob.signaling.accept(invite_id)


async def test_a_login_while_logged_in_is_refused_and_changes_nothing(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    connection = ConnectionEar()
    bob.add_connection_listener(connection)
    invite_id = await amy.signaling.invite("bob", timeout=60)
    await clock.settle()
    assert ids(ear) == [invite_id]
    assert await code_of(bob.login()) == 6017
    await clock.settle()
    assert (ids(ear), connection.heard, bob.online) == ([], [], True)


async def test_one_session_that_logs_in_twice_at_once_is_not_kicked_by_itself(
    hub: Hub, clock: VirtualClock
) -> None:
    await join(hub, "amy")
    advancing = await begin_mass_expiry(hub, clock)
    zoe = hub.session("zoe")
    connection = ConnectionEar()
    zoe.add_connection_listener(connection)
    results = await asyncio.gather(zoe.login(), zoe.login(), return_exceptions=True)
    await asyncio.wait_for(advancing, PATIENCE_S)
    assert connection.heard == []
    assert zoe.online
    codes = [error.code for error in results if isinstance(error, SignalingError)]
    assert codes == [6017]


@pytest.mark.parametrize("start", [None, "", "warm", True, 1])
async def test_a_login_is_cold_or_hot(hub: Hub, start: Any) -> None:
    assert await code_of(hub.session("bob").login(start)) == 6017


async def test_a_login_with_a_bad_user_or_device_is_refused(hub: Hub) -> None:
    for user, device in (
        ("", "1"),
        ("bob", ""),
        ("x" * 129, "1"),
        ("a\nb", "1"),
        ("bob", "\ud800"),
    ):
        with pytest.raises(SignalingError) as caught:
            hub.session(user, device)
        assert caught.value.code == 6017
        assert await code_of(hub.login(user, device)) == 6017


async def test_a_hub_that_is_not_open_refuses_logins_and_calls(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    assert await code_of(hub.session("bob").login()) == 6013
    assert await code_of(hub.login("bob")) == 6013
    assert await code_of(hub.session("bob").signaling.invite("amy")) == 6013
    async with hub:
        bob, _ = await join(hub, "bob")
    assert await code_of(bob.login()) == 6013
    assert await code_of(bob.signaling.invite("amy")) == 6013
    assert await code_of(hub.login("bob")) == 6013
    with pytest.raises(HubClosed):
        hub.stats()
    await hub.close()


async def test_the_end_of_a_hub_is_told_and_fails_outcomes(clock: VirtualClock) -> None:
    connection = ConnectionEar()
    async with Hub(clock=clock) as hub:
        bob, _ = await join(hub, "bob")
        bob.add_connection_listener(connection)
        call = await bob.signaling.invite("amy")
        waiting = asyncio.ensure_future(call.outcome())
        await asyncio.sleep(0)
    assert await code_of(waiting) == 6013
    assert connection.heard == [("disconnected", 6013)]


async def test_a_hub_closed_twice_at_once_is_closed(clock: VirtualClock) -> None:
    hub = Hub(clock=clock)
    await hub.open()
    await join(hub, "bob")
    await asyncio.gather(hub.close(), hub.close())
    assert not hub.is_open


# -- the order of things ---------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["cold", "hot"])
async def test_what_is_due_ends_before_a_login_is_looked_at(
    clock: VirtualClock, start: Any
) -> None:
    async with Hub(clock=clock) as hub:
        amy, amy_ear = await join(hub, "amy")
        invite_id = await amy.signaling.invite("bob", timeout=30)
        await clock.settle()
        clock._now_ms += 30_000  # the loop has not run the timer yet
        bob, ear = await join(hub, "bob", start=start)
        assert bob.snapshot.open == []
        await clock.settle()
        assert ear.take() == [], "the timeout was told to who was online then"
        assert amy_ear.take() == [("invitation_timeout", invite_id, ["bob"])]


async def test_callbacks_begin_after_login_has_returned(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite("bob", timeout=60)
    bob = hub.session("bob")
    ear = Ear()
    bob.add_signaling_listener(ear)
    await bob.login()
    assert (ear.heard, bob.online) == ([], True)
    await clock.settle()
    assert ids(ear) == [invite_id]


async def test_callbacks_begin_after_a_login_that_had_to_wait_has_returned(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    ringing = await amy.signaling.invite("bob", timeout=3600)
    advancing = await begin_mass_expiry(hub, clock)
    order: list[str] = []

    class Late(Ear):
        def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            order.append(invite_id)

    async def log_in() -> Session:
        session = await hub.login("bob", listener=Late())
        order.append("returned")
        return session

    others = [asyncio.ensure_future(hub.pending("cy")) for _ in range(3)]
    await log_in()
    await asyncio.wait_for(asyncio.gather(advancing, *others), PATIENCE_S)
    await clock.settle()
    assert order == ["returned", ringing]


async def test_a_login_is_not_told_of_what_was_committed_before_it(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite("bob", timeout=60)
    await amy.signaling.modify_invitation(invite_id, "new")
    _, ear = await join(hub, "bob")
    await amy.signaling.cancel(invite_id, "bye")
    await clock.settle()
    assert ear.take() == [
        ("receive_new_invitation", invite_id, "amy", "", ["bob"], "new"),
        ("invitation_cancelled", invite_id, "amy", "bye"),
    ]


async def test_a_group_made_and_joined_around_a_login_is_heard_once(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    amy, _ = await join(hub, "amy")
    one = await amy.signaling.invite_in_group("g", ["bob"])
    _, ear = await join(hub, "bob")
    two = await amy.signaling.invite_in_group("g", ["bob"])
    await hub.groups.add("g", ["cy"])
    _, cy_ear = await join(hub, "cy")
    three = await amy.signaling.invite_in_group("g", ["bob"])
    await clock.settle()
    assert ids(ear) == [one, two, three]
    assert ids(cy_ear) == [three]


# -- add_invited_signaling -------------------------------------------------------------------------


async def pushed(hub: Hub, clock: VirtualClock) -> tuple[Session, Ear, SignalingInfo]:
    """A session whose cold login came too late for an invitation in a group."""
    await hub.groups.put("g", ["amy", "bob", "cy", "dee"])
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite_in_group("g", ["bob", "cy"], timeout=3600)
    await clock.advance(31)
    bob, ear = await join(hub, "bob")
    return bob, ear, SignalingInfo(str(invite_id), "amy", "g", ["bob", "cy"])


async def test_what_a_push_told_of_counts_as_told(hub: Hub, clock: VirtualClock) -> None:
    bob, ear, info = await pushed(hub, clock)
    await bob.signaling.add_invited_signaling(info)
    await clock.settle()
    assert ear.take() == []
    assert await code_of(bob.signaling.add_invited_signaling(info)) == 8012
    await bob.logout()
    _, ear = await join(hub, "bob", start="hot")
    await clock.settle()
    assert ear.take() == [], "told already"
    _, ear = await join(hub, "bob", "2", start="hot")
    await clock.settle()
    assert ids(ear) == [info.invite_id], "another device was not told"


async def test_an_online_only_invitation_learned_elsewhere_is_told_and_in_the_snapshot(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite("bob", online_user_only=True, timeout=3600)
    bob, ear = await join(hub, "bob")
    await bob.signaling.add_invited_signaling(SignalingInfo(invite_id, "amy", "", ["bob"]))
    await bob.logout()
    bob, ear = await join(hub, "bob", start="hot")
    await clock.settle()
    assert ear.take() == []
    assert [info.invite_id for info in bob.snapshot.open] == [invite_id]


async def test_a_push_is_checked_against_the_record_in_order(hub: Hub, clock: VirtualClock) -> None:
    bob, _, info = await pushed(hub, clock)
    wrong = replace(info, inviter="zoe", group_id="h", invitee_list=["bob"])
    dee, _ = await join(hub, "dee")
    cy, _ = await join(hub, "cy")
    add = bob.signaling.add_invited_signaling
    assert await code_of(add(replace(wrong, invite_id="no such"))) == 8010
    assert await code_of(dee.signaling.add_invited_signaling(wrong)) == 8011
    for part in ({"inviter": "cy"}, {"group_id": ""}, {"invitee_list": ["cy", "bob"]}):
        assert await code_of(add(replace(info, **part))) == 6017  # type: ignore[arg-type]
    await add(info)
    assert await code_of(add(wrong)) == 8012, "told already comes before what differs"
    await cy.signaling.accept(info.invite_id)
    assert await code_of(cy.signaling.add_invited_signaling(wrong)) == 8010, "has answered"
    await bob.signaling.accept(info.invite_id)
    for actor in (bob, dee):
        assert await code_of(actor.signaling.add_invited_signaling(wrong)) == 8010
    await bob.logout()
    assert await code_of(add(None)) == 6014  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [{"invite_id": 7}, {"inviter": None}, {"group_id": None}, {"invitee_list": "bob"}],
)
async def test_a_push_of_wrong_types_is_refused(
    hub: Hub, clock: VirtualClock, change: dict[str, Any]
) -> None:
    bob, _, info = await pushed(hub, clock)
    assert await code_of(bob.signaling.add_invited_signaling(replace(info, **change))) == 6017
    nothing: Any = None
    assert await code_of(bob.signaling.add_invited_signaling(nothing)) == 6017


async def test_what_is_on_its_way_to_a_session_counts_as_known(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    invite_id = await amy.signaling.invite("bob")
    info = SignalingInfo(invite_id, "amy", "", ("bob",))
    assert await code_of(bob.signaling.add_invited_signaling(info)) == 8012


async def test_a_device_that_is_forgotten_and_not_swept_yet_begins_anew(
    hub: Hub, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.presence.FORGET_PER_LOGIN", 0)
    amy, _ = await join(hub, "amy")
    bob, ear = await join(hub, "bob")
    name = await amy.signaling.invite("bob", timeout=2 * 86_400)
    await clock.settle()
    assert ids(ear) == [name]
    await bob.logout()
    await clock.advance(86_400)
    _, ear = await join(hub, "bob", start="hot")
    await clock.settle()
    assert ids(ear) == [name]


async def test_a_login_that_is_given_up_while_it_waits_its_turn_comes_to_nothing(
    hub: Hub, clock: VirtualClock
) -> None:
    advancing = await begin_mass_expiry(hub, clock)
    login = asyncio.ensure_future(hub.login("amy"))
    await asyncio.sleep(0)
    login.cancel()
    with pytest.raises(asyncio.CancelledError):
        await login
    await asyncio.wait_for(advancing, PATIENCE_S)
    assert hub.stats()["sessions"] == 0


async def test_a_notice_that_a_push_told_is_known_to_the_session(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    name = await amy.signaling.invite("bob", timeout=0, online_user_only=True)
    bob, ear = await join(hub, "bob")
    pushed = SignalingInfo(name, "amy", "", ["bob"])
    await bob.signaling.add_invited_signaling(pushed)
    assert await code_of(bob.signaling.add_invited_signaling(pushed)) == 8012
    await clock.settle()
    assert ids(ear) == []
