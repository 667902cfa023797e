"""Who hears what, and how it is told (SPEC §4): the table, row by row.

Users here have a phone and a laptop each; `House` has an ear in every device and says which of them
heard something. The order in which it is told is in `test_delivery_order`.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from ears import Ear, join

from pysignal import Hub, Session, SignalingEvent, VirtualClock
from pysignal.signaling import Signaling

pytestmark = pytest.mark.anyio

Heard = tuple[Any, ...]


class House:
    """Some users with two devices each, and what these have heard."""

    def __init__(self, hub: Hub, clock: VirtualClock) -> None:
        self.hub = hub
        self.clock = clock
        self.sessions: dict[str, Session] = {}
        self.ears: dict[str, Ear] = {}

    async def enter(self, *users: str) -> None:
        for user in users:
            for device in ("phone", "laptop"):
                name = f"{user} {device}"
                self.sessions[name], self.ears[name] = await join(self.hub, user, device)

    def phone(self, user: str) -> Signaling:
        return self.sessions[f"{user} phone"].signaling

    async def heard(self) -> dict[str, list[Heard]]:
        """What each device heard since the last time; devices that heard nothing are left out.

        Everything must have come twice: by its own callback, and as an event.
        """
        await self.clock.settle()
        heard = {name: ear.take() for name, ear in self.ears.items()}
        for name, ear in self.ears.items():
            assert [KIND[call[0]] for call in heard[name]] == ear.kinds()
        return {name: calls for name, calls in heard.items() if calls}

    async def expect(self, call: Heard, *users: str, silent: str = "") -> None:
        """Both devices of these users heard just this call; no others, nor the silent device."""
        names = [f"{user} {device}" for user in users for device in ("phone", "laptop")]
        assert await self.heard() == {name: [call] for name in names if name != silent}


KIND = {
    "receive_new_invitation": "opened",
    "invitee_accepted": "accepted",
    "invitee_rejected": "rejected",
    "invitation_cancelled": "cancelled",
    "invitation_timeout": "timed_out",
    "invitation_modified": "modified",
}


@pytest.fixture
async def house(hub: Hub, clock: VirtualClock) -> AsyncIterator[House]:
    """Amy, Bob, Carol and Dave; all but Dave, and Erin who is offline, are in group g."""
    house = House(hub, clock)
    await hub.groups.put("g", ["amy", "bob", "carol", "erin"], owner="amy")
    await house.enter("amy", "bob", "carol", "dave")
    yield house
    assert await house.heard() == {}


def opened(name: str, group: str, invitees: list[str], data: str = "d") -> Heard:
    return "receive_new_invitation", name, "amy", group, invitees, data


# -- the table -------------------------------------------------------------------------------------


async def test_one_to_one_is_heard_by_the_two(house: House) -> None:
    amy, bob = house.phone("amy"), house.phone("bob")
    name = await amy.invite("bob", "d")
    await house.expect(opened(name, "", ["bob"]), "amy", "bob", silent="amy phone")
    await amy.modify_invitation(name, "e")
    await house.expect(("invitation_modified", name, "e"), "amy", "bob", silent="amy phone")
    await bob.accept(name, "yes")
    await house.expect(("invitee_accepted", name, "bob", "yes"), "amy", "bob", silent="bob phone")
    name = await amy.invite("bob", "d")
    await house.expect(opened(name, "", ["bob"]), "amy", "bob", silent="amy phone")
    await bob.reject(name, "no")
    await house.expect(("invitee_rejected", name, "bob", "no"), "amy", "bob", silent="bob phone")
    name = await amy.invite("bob", "d")
    await house.heard()
    await house.sessions["amy laptop"].signaling.cancel(name, "never mind")
    await house.expect(
        ("invitation_cancelled", name, "amy", "never mind"), "amy", "bob", silent="amy laptop"
    )


async def test_several_without_a_group_are_heard_by_all_parties(house: House) -> None:
    amy, bob, carol = house.phone("amy"), house.phone("bob"), house.phone("carol")
    everybody = "amy", "bob", "carol"
    name = await amy.invite(["carol", "bob"], "d")
    await house.expect(opened(name, "", ["carol", "bob"]), *everybody, silent="amy phone")
    await bob.reject(name, "no")
    await house.expect(("invitee_rejected", name, "bob", "no"), *everybody, silent="bob phone")
    await amy.modify_invitation(name, "e")
    await house.expect(("invitation_modified", name, "e"), *everybody, silent="amy phone")
    await carol.accept(name, "yes")
    await house.expect(("invitee_accepted", name, "carol", "yes"), *everybody, silent="carol phone")


async def test_lists_have_their_audience_however_many_are_open(house: House) -> None:
    amy = house.phone("amy")
    guests = ["bob", "carol", "dave"]
    names = [(await amy.invite([guest, "erin"]), guest) for guest in guests]
    await house.heard()
    for _ in range(2):
        kept = set()
        for number in range(1100):  # more than those whose sessions are kept
            await house.hub.invite_as("erin", [f"user {number}", "frank"])
            if number % 50 == 0:
                await house.clock.settle()
            kept.add(len(house.hub._publisher._parties))
        assert 900 < max(kept) <= 1024
        for name, guest in [*names, *reversed(names)]:
            await amy.modify_invitation(name, "e")
            call = ("invitation_modified", name, "e")
            await house.expect(call, "amy", guest, silent="amy phone")


async def test_several_hear_a_cancel_and_a_timeout_whatever_their_status(house: House) -> None:
    amy, bob, everybody = house.phone("amy"), house.phone("bob"), ("amy", "bob", "carol")
    for end in ("cancel", "timeout"):
        name = await amy.invite(["bob", "erin", "carol"], timeout=5)
        await bob.accept(name)
        await house.heard()
        if end == "cancel":
            await amy.cancel(name, "x")
            call: Heard = ("invitation_cancelled", name, "amy", "x")
            await house.expect(call, *everybody, silent="amy phone")
        else:
            await house.clock.advance(5)
            await house.expect(("invitation_timeout", name, ["erin", "carol"]), *everybody)


async def test_a_group_hears_everything(house: House) -> None:
    amy, bob, everybody = house.phone("amy"), house.phone("bob"), ("amy", "bob", "carol")
    name = await amy.invite_in_group("g", ["erin", "bob"], "d", timeout=9)
    await house.expect(opened(name, "g", ["erin", "bob"]), *everybody, silent="amy phone")
    await amy.modify_invitation(name, "e")
    await house.expect(("invitation_modified", name, "e"), *everybody, silent="amy phone")
    await bob.accept(name, "yes")
    await house.expect(("invitee_accepted", name, "bob", "yes"), *everybody, silent="bob phone")
    await house.clock.advance(9)
    await house.expect(("invitation_timeout", name, ["erin"]), *everybody)
    name = await amy.invite_in_group("g", ["bob", "carol"], "d")
    await bob.reject(name, "no")
    await house.heard()
    await amy.cancel(name, "x")
    await house.expect(("invitation_cancelled", name, "amy", "x"), *everybody, silent="amy phone")


async def test_with_notify_parties_the_other_members_hear_nothing(house: House) -> None:
    amy, bob = house.phone("amy"), house.phone("bob")
    name = await amy.invite_in_group("g", ["bob", "erin"], "d", notify="parties", timeout=9)
    await house.expect(opened(name, "g", ["bob", "erin"]), "amy", "bob", silent="amy phone")
    await amy.modify_invitation(name, "e")
    await house.expect(("invitation_modified", name, "e"), "amy", "bob", silent="amy phone")
    await bob.reject(name, "no")
    await house.expect(("invitee_rejected", name, "bob", "no"), "amy", "bob", silent="bob phone")
    await house.clock.advance(9)
    await house.expect(("invitation_timeout", name, ["erin"]), "amy", "bob")


async def test_an_act_of_the_server_is_heard_by_all_sessions_of_the_actor(house: House) -> None:
    hub = house.hub
    name = await hub.invite_as("amy", "bob", "d")
    await house.expect(opened(name, "", ["bob"]), "amy", "bob")
    await hub.modify_invitation_as("amy", name, "e")
    await house.expect(("invitation_modified", name, "e"), "amy", "bob")
    await hub.accept_as("bob", name, "yes")
    await house.expect(("invitee_accepted", name, "bob", "yes"), "amy", "bob")
    name = await hub.invite_in_group_as("amy", "g", ["bob"], "d")
    await house.expect(opened(name, "g", ["bob"]), "amy", "bob", "carol")
    await hub.reject_as("bob", name, "no")
    await house.expect(("invitee_rejected", name, "bob", "no"), "amy", "bob", "carol")
    name = await hub.invite_as("amy", "bob", "d")
    await house.heard()
    await hub.cancel_as("amy", name, "x")
    await house.expect(("invitation_cancelled", name, "amy", "x"), "amy", "bob")
    name = await hub.invite_as("amy", "bob", "d")
    await house.heard()
    await hub.cancel_by_server(name, "y")
    await house.expect(("invitation_cancelled", name, "amy", "y"), "amy", "bob")


async def test_a_timeout_is_heard_by_who_is_online_then_and_never_again(house: House) -> None:
    name = await house.phone("amy").invite("erin", timeout=5)
    await house.heard()
    await house.clock.advance(5)
    await house.expect(("invitation_timeout", name, ["erin"]), "amy")
    await house.hub.invite_as("erin", "fred", timeout=5)
    await house.clock.advance(5)
    await house.enter("erin", "fred")


async def test_who_was_not_told_of_the_opening_hears_what_follows(house: House) -> None:
    amy = house.phone("amy")
    await house.sessions["bob laptop"].logout()
    name = await amy.invite("bob", online_user_only=True)
    await house.heard()
    _, ear = await join(house.hub, "bob", "tablet")
    await house.phone("bob").accept(name, "yes")
    await house.clock.settle()
    assert ear.take() == [("invitee_accepted", name, "bob", "yes")]
    assert list(await house.heard()) == ["amy phone", "amy laptop"]


# -- leaving, kicking, dismissing ------------------------------------------------------------------


async def test_who_leaves_hears_the_events_of_that_change_as_the_last(house: House) -> None:
    name = await house.hub.invite_in_group_as("amy", "g", ["bob", "carol"])
    await house.heard()
    await house.sessions["bob phone"].groups.quit_group("g")
    await house.expect(("invitee_rejected", name, "bob", ""), "amy", "bob", "carol")
    await house.phone("carol").accept(name)
    await house.expect(
        ("invitee_accepted", name, "carol", ""), "amy", "carol", silent="carol phone"
    )


async def test_who_is_kicked_hears_the_events_of_that_change_as_the_last(house: House) -> None:
    name = await house.hub.invite_in_group_as("carol", "g", ["bob"])
    second = await house.hub.invite_in_group_as("amy", "g", ["carol", "erin"], notify="parties")
    await house.heard()
    await house.sessions["amy phone"].groups.kick_group_member("g", "carol")
    heard = await house.heard()
    cancelled = ("invitation_cancelled", name, "carol", "")
    rejected = ("invitee_rejected", second, "carol", "")
    for device in ("phone", "laptop"):
        assert heard.pop(f"amy {device}") == [cancelled, rejected]
        assert heard.pop(f"bob {device}") == [cancelled]
        assert heard.pop(f"carol {device}") == [cancelled, rejected]
    assert heard == {}
    await house.phone("amy").cancel(second)
    assert list(await house.heard()) == ["amy laptop"]


async def test_a_dismissal_is_heard_by_the_audience_of_just_before(house: House) -> None:
    first = await house.hub.invite_in_group_as("bob", "g", ["amy"])
    second = await house.hub.invite_in_group_as("amy", "g", ["carol", "erin"])
    third = await house.hub.invite_in_group_as("bob", "g", ["erin"], notify="parties")
    await house.phone("carol").accept(second)
    await house.heard()
    await house.sessions["amy phone"].groups.dismiss_group("g")
    cancelled = [("invitation_cancelled", name, user, "")
                 for name, user in ((first, "bob"), (second, "amy"), (third, "bob"))]  # fmt: skip
    heard = await house.heard()
    for device in ("phone", "laptop"):
        assert heard.pop(f"amy {device}") == cancelled[:2]
        assert heard.pop(f"bob {device}") == cancelled
        assert heard.pop(f"carol {device}") == cancelled[:2]
    assert heard == {}


async def test_several_ended_by_one_leaving_are_told_in_the_order_of_opening(house: House) -> None:
    hub = house.hub
    names = [
        await hub.invite_in_group_as("bob", "g", ["amy"]),
        await hub.invite_in_group_as("amy", "g", ["bob"]),
        await hub.invite_in_group_as("carol", "g", ["amy", "bob"], timeout=0),
        await hub.invite_in_group_as("bob", "g", ["carol"], notify="parties"),
        await hub.invite_in_group_as("amy", "g", ["carol", "bob"]),
    ]
    await house.heard()
    await hub.groups.remove("g", ["bob"])
    heard = await house.heard()
    assert [call[:2] for call in heard["bob phone"]] == [
        ("invitation_cancelled", names[0]),
        ("invitee_rejected", names[1]),
        ("invitee_rejected", names[2]),
        ("invitation_cancelled", names[3]),
        ("invitee_rejected", names[4]),
    ]
    assert heard["bob laptop"] == heard["carol phone"] == heard["bob phone"]
    assert [call[1] for call in heard["amy phone"]] == [*names[:3], names[4]]


async def test_who_joins_hears_what_follows_and_who_has_left_does_not(house: House) -> None:
    name = await house.hub.invite_in_group_as("amy", "g", ["bob", "carol"])
    await house.heard()
    await house.hub.groups.add("g", ["dave"])
    await house.phone("bob").accept(name)
    call: Heard = ("invitee_accepted", name, "bob", "")
    await house.expect(call, "amy", "bob", "carol", "dave", silent="bob phone")
    await house.hub.groups.remove("g", ["bob", "dave"])
    await house.phone("amy").cancel(name)
    await house.expect(
        ("invitation_cancelled", name, "amy", ""), "amy", "carol", silent="amy phone"
    )


async def test_a_party_that_left_and_came_back_hears_again(house: House) -> None:
    name = await house.hub.invite_in_group_as("amy", "g", ["bob", "carol"], notify="parties")
    await house.heard()
    await house.hub.groups.remove("g", ["bob"])
    await house.heard()
    await house.hub.groups.add("g", ["bob"])
    await house.phone("carol").accept(name)
    call: Heard = ("invitee_accepted", name, "carol", "")
    await house.expect(call, "amy", "bob", "carol", silent="carol phone")


# -- what an event says ----------------------------------------------------------------------------


def said(event: SignalingEvent) -> tuple[Any, ...]:
    return (
        event.seq, event.data_version, event.kind, event.reason, event.actor, event.device,
        event.affected, event.pending, event.invitation_data, event.data,
    )  # fmt: skip


async def test_an_event_says_what_the_callbacks_have_no_room_for(house: House) -> None:
    start, amy = house.clock.now_ms(), house.phone("amy")
    _, ear = await join(house.hub, "carol", "tablet")
    name = await amy.invite_in_group("g", ["carol", "bob", "erin"], "one", timeout=60)
    await house.clock.advance(1)
    await house.phone("bob").accept(name, "yes")
    await house.clock.advance(1)
    await amy.modify_invitation(name, "two")
    await house.sessions["carol laptop"].signaling.reject(name, "no")
    await house.clock.advance(58)
    await house.heard()
    everybody, pending = ("carol", "bob", "erin"), ("carol", "erin")
    assert [said(event) for event in ear.events] == [
        (1, 1, "opened", "", "amy", "phone", everybody, everybody, "one", "one"),
        (2, 1, "accepted", "", "bob", "phone", ("bob",), pending, "one", "yes"),
        (3, 2, "modified", "", "amy", "phone", (), pending, "two", "two"),
        (4, 2, "rejected", "", "carol", "laptop", ("carol",), ("erin",), "two", "no"),
        (5, 2, "timed_out", "", "", "", ("erin",), (), "two", ""),
    ]
    assert [event.time - start for event in ear.events] == [0, 1000, 2000, 2000, 60_000]
    for event in ear.events:
        assert (event.invite_id, event.group_id, event.inviter) == (name, "g", "amy")
        assert event.expires_at == start + 60_000
        assert event.ends == (event.seq == 5)
    assert ear.events[-1] is not None
    with pytest.raises(AttributeError):
        ear.events[0].data = "changed"


async def test_an_event_names_the_reason_and_who_made_it(house: House) -> None:
    hub, ear = house.hub, house.ears["amy laptop"]
    await hub.groups.put("h", ["amy", "bob", "carol"])
    first = await hub.invite_in_group_as("amy", "g", ["bob"], "one", timeout=0)
    second = await hub.invite_in_group_as("bob", "g", ["carol"], "two")
    third = await hub.invite_in_group_as("amy", "h", ["carol", "bob"], "three")
    fourth = await hub.invite_as("amy", ["carol", "bob"], "four")
    await house.clock.settle()
    assert [(event.actor, event.device) for event in ear.events] == [
        ("amy", ""), ("bob", ""), ("amy", ""), ("amy", ""),
    ]  # fmt: skip
    await house.heard()
    await house.sessions["bob phone"].groups.quit_group("g")
    await hub.accept_as("bob", third)
    await hub.groups.dismiss("h")
    await hub.cancel_by_server(fourth, "bye")
    await house.clock.settle()
    both = ("carol", "bob")
    assert [(event.invite_id, *said(event)) for event in ear.events] == [
        (first, 2, 1, "rejected", "left_group", "bob", "", ("bob",), (), "one", ""),
        (second, 2, 1, "cancelled", "left_group", "bob", "", ("carol",), (), "two", ""),
        (third, 2, 1, "accepted", "", "bob", "", ("bob",), ("carol",), "three", ""),
        (third, 3, 1, "cancelled", "group_dismissed", "", "", ("carol",), (), "three", ""),
        (fourth, 2, 1, "cancelled", "server", "", "", both, (), "four", "bye"),
    ]
    assert ear.events[0].expires_at is None
    await house.heard()


async def test_the_lifetime_is_silent(house: House) -> None:
    await house.hub.invite_as("amy", "bob", timeout=0)
    await house.hub.invite_in_group_as("amy", "g", ["bob"], timeout=0)
    await house.heard()
    await house.clock.advance(90_000)
    assert house.hub.stats()["open"] == 0


@pytest.mark.parametrize("seed", range(3))
async def test_lists_are_in_the_order_of_invitation_however_many(
    hub: Hub, clock: VirtualClock, seed: int
) -> None:
    chance = random.Random(seed)
    users = [f"u{number}" for number in range(700)]
    chance.shuffle(users)
    _, ear = await join(hub, "amy")
    name = await hub.invite_as("amy", users, timeout=9)
    answered = chance.sample(users, 500)
    for user in answered:
        await (hub.accept_as if chance.random() < 0.5 else hub.reject_as)(user, name)
    await clock.advance(9)
    assert ear.heard[0][4] == users
    for count, event in enumerate(ear.events[1:-1], 1):
        assert event.affected == (answered[count - 1],)
        if count % 97 == 0:
            assert event.pending == tuple(user for user in users if user not in answered[:count])
    late = [user for user in users if user not in answered]
    assert ear.heard[-1] == ("invitation_timeout", name, late)
    assert ear.events[-1].affected == tuple(late)
    assert [event.seq for event in ear.events] == list(range(1, 503))
