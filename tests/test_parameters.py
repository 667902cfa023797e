"""Parameters (SPEC §1, §2): each rule crossed exactly, and which broken rule is told first.

Every refusal here also proves that nothing was changed, and each test that nobody heard of it.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from ears import Ear, join
from refusals import refusal

from pysignal import Hub, InvalidParameter, Limits, Session, SignalingInfo, VirtualClock

pytestmark = pytest.mark.anyio

KIB12 = 12 * 1024
DAYS30 = 30 * 86_400
LONE = "a\ud800b"
UNKNOWN = "no-such-invitation"


class Room:
    """Amy, Bob and Carol online, the first two in group g; Dave is nobody's member."""

    def __init__(self, hub: Hub, amy: Session, bob: Session, ears: list[Ear]) -> None:
        self.hub = hub
        self.amy = amy.signaling
        self.bob = bob.signaling
        self.ears = ears


@pytest.fixture
async def room(hub: Hub, clock: VirtualClock) -> AsyncIterator[Room]:
    """After the test, nobody may have heard anything that the test has not taken."""
    await hub.groups.put("g", ["amy", "bob"])
    amy, amy_ear = await join(hub, "amy")
    bob, bob_ear = await join(hub, "bob")
    _, carol_ear = await join(hub, "carol")
    made = Room(hub, amy, bob, [amy_ear, bob_ear, carol_ear])
    yield made
    await clock.settle()
    assert [ear.take() for ear in made.ears] == [[], [], []]


@pytest.mark.parametrize("letter", ["x", "é", "€", "🙂"])
async def test_data_holds_12_kib_of_utf8_and_not_a_byte_more(
    hub: Hub, clock: VirtualClock, letter: str
) -> None:
    amy, _ = await join(hub, "amy")
    bob, bob_ear = await join(hub, "bob")
    full = letter * (KIB12 // len(letter.encode()))
    assert len(full.encode()) == KIB12
    over = full + "x"
    invite_id = await amy.signaling.invite("bob", full)
    await amy.signaling.modify_invitation(invite_id, full)
    await clock.settle()
    assert [heard[-1] == full for heard in bob_ear.take()] == [True, True]
    await refusal(hub, amy.signaling.invite("bob", over), 8001)
    await refusal(hub, amy.signaling.invite(["bob", "carol"], over), 8001)
    await refusal(hub, amy.signaling.modify_invitation(invite_id, over), 8001)
    await refusal(hub, bob.signaling.accept(invite_id, over), 8001)
    await refusal(hub, bob.signaling.reject(invite_id, over), 8001)
    await refusal(hub, amy.signaling.cancel(invite_id, over), 8001)
    await refusal(hub, invite_id.cancel(over), 8001)
    await refusal(hub, hub.cancel_by_server(invite_id, over), 8001)
    await bob.signaling.accept(invite_id, full)


@pytest.mark.parametrize("data", ["", "\x00", "\r\n\t", "\u202e\ufeff", "e\u0301 é", "\U0010ffff"])
async def test_data_is_passed_on_exactly(hub: Hub, clock: VirtualClock, data: str) -> None:
    amy, amy_ear = await join(hub, "amy")
    bob, bob_ear = await join(hub, "bob")
    first = await amy.signaling.invite("bob", data)
    await amy.signaling.modify_invitation(first, data + "!")
    await bob.signaling.accept(first, data)
    second = await amy.signaling.invite("bob", "x")
    await amy.signaling.cancel(second, data)
    await clock.settle()
    assert bob_ear.take() == [
        ("receive_new_invitation", first, "amy", "", ["bob"], data),
        ("invitation_modified", first, data + "!"),
        ("receive_new_invitation", second, "amy", "", ["bob"], "x"),
        ("invitation_cancelled", second, "amy", data),
    ]
    assert amy_ear.take() == [("invitee_accepted", first, "bob", data)]


async def test_none_is_empty_data(hub: Hub, clock: VirtualClock) -> None:
    amy, amy_ear = await join(hub, "amy")
    bob, bob_ear = await join(hub, "bob")
    first = await amy.signaling.invite("bob", None)
    await amy.signaling.modify_invitation(first, None)
    await bob.signaling.reject(first, None)
    await clock.settle()
    assert [heard[-1] for heard in bob_ear.take() + amy_ear.take()] == ["", "", ""]


@pytest.mark.parametrize("data", [LONE, b"x", 1, True, [], {"a": 1}])
async def test_data_that_is_no_text_is_refused(room: Room, data: Any) -> None:
    hub = room.hub
    for call in (
        room.amy.invite("bob", data),
        room.amy.invite_in_group("g", ["bob"], data),
        room.bob.accept(UNKNOWN, data),
        room.bob.reject(UNKNOWN, data),
        room.amy.cancel(UNKNOWN, data),
        room.amy.modify_invitation(UNKNOWN, data),
        hub.cancel_by_server(UNKNOWN, data),
    ):
        error = await refusal(hub, call, 6017)
        assert error.details["parameter"] == "data"


BAD_IDS = [
    "",
    "x" * 129,
    "é" * 65,
    "a\x00",
    "a\n",
    "\x7f",
    "\x80b",
    "\x9f",
    LONE,
    None,
    7,
    True,
    b"bob",
]


@pytest.mark.parametrize("bad", BAD_IDS, ids=ascii)
async def test_an_id_that_is_none_is_refused(room: Room, bad: Any) -> None:
    hub = room.hub
    for call in (
        room.amy.invite(bad),
        room.amy.invite([bad]),
        room.amy.invite(["bob", bad]),
        room.amy.invite_in_group(bad, ["bob"]),
        room.amy.invite_in_group("g", [bad]),
        room.amy.open_invitations(bad),
        hub.invite_in_group_as("amy", "g", ["bob", bad]),
        hub.pending(bad),
    ):
        await refusal(hub, call, 6017)
    for user, device in ((bad, "1"), ("amy", bad)):
        with pytest.raises(InvalidParameter):
            hub.session(user, device)
    await refusal(hub, hub.login(bad), 6017)


@pytest.mark.parametrize(
    "good", ["x" * 128, "é" * 64, "\xa0", " ", "🙂" * 32, "a\u200bb"], ids=ascii
)
async def test_an_id_has_up_to_128_bytes_and_any_character_but_control(
    hub: Hub, clock: VirtualClock, good: str
) -> None:
    amy, _ = await join(hub, "amy")
    other, ear = await join(hub, good, good)
    await hub.groups.put(good, ["amy", good])
    first = await amy.signaling.invite(good)
    second = await amy.signaling.invite_in_group(good, [good])
    await clock.settle()
    assert [(heard[1], heard[3]) for heard in ear.take()] == [(first, ""), (second, good)]
    await other.signaling.accept(first)
    assert (await hub.invitation(first)).statuses == {good: "accepted"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad", [None, 5, True, "bob", {"bob"}, {"bob": 1}, frozenset(), b"bob", object()], ids=repr
)
async def test_a_list_of_invitees_is_a_list(room: Room, bad: Any) -> None:
    await refusal(room.hub, room.amy.invite_in_group("g", bad), 6017)
    if bad != "bob":
        await refusal(room.hub, room.amy.invite(bad), 6017)


async def test_an_empty_list_needs_a_group(room: Room) -> None:
    error = await refusal(room.hub, room.amy.invite([]), 6017)
    assert error.details["parameter"] == "invitee"


async def test_the_inviter_is_no_invitee(room: Room) -> None:
    for call in (
        room.amy.invite("amy"),
        room.amy.invite(["amy"]),
        room.amy.invite(["bob", "amy"]),
        room.amy.invite_in_group("g", ["amy"]),
        room.amy.invite_in_group("g", ["bob", "amy"]),
        room.hub.invite_as("amy", "amy"),
    ):
        await refusal(room.hub, call, 6017)


async def test_a_user_who_is_twice_in_a_list_keeps_the_first_place(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, _ = await join(hub, "amy")
    _, ear = await join(hub, "bob")
    await hub.groups.put("g", ["amy", "bob", "carol"])
    await amy.signaling.invite(["carol", "bob", "carol", "bob"])
    await amy.signaling.invite_in_group("g", ["bob", "carol", "bob"])
    await amy.signaling.invite(["bob", "bob"])
    await clock.settle()
    assert [heard[4] for heard in ear.take()] == [["carol", "bob"], ["bob", "carol"], ["bob"]]


async def test_the_caller_may_change_its_list_afterwards(hub: Hub, clock: VirtualClock) -> None:
    amy, _ = await join(hub, "amy")
    _, ear = await join(hub, "bob")
    users = ["bob", "carol"]
    await amy.signaling.invite(users)
    users.clear()
    await clock.settle()
    assert ear.take()[0][4] == ["bob", "carol"]


@pytest.mark.parametrize("limits", [Limits(invitees_max=3)])
async def test_the_limit_of_invitees_counts_each_once(hub: Hub, limits: Limits) -> None:
    amy = hub.acting_as("amy").signaling
    users = ["bob", "carol", "dave"]
    await hub.groups.put("g", ["amy", *users, "erin"])
    assert await amy.invite([*users, *users, "bob"])
    assert await amy.invite_in_group("g", [*users, *users])
    await refusal(hub, amy.invite([*users, "erin"]), 6017)
    await refusal(hub, amy.invite_in_group("g", [*users, "erin"]), 6017)


async def test_10_000_invitees_are_the_default_limit(hub: Hub) -> None:
    users = [f"u{number}" for number in range(10_001)]
    amy = hub.acting_as("amy").signaling
    await refusal(hub, amy.invite(users), 6017)
    invite_id = await amy.invite(users[1:] + users[1:])
    found = await hub.invitation(invite_id)
    assert found is not None
    assert found.pending == users[1:]


@pytest.mark.parametrize(
    ("seconds", "ms"),
    [
        (30, 30_000),
        (1.5, 1500),
        (0.001, 1),
        (0.0004, 1),
        (5e-324, 1),
        (0.0014, 1),
        (0.0016, 2),
        (2.0006, 2001),
        (DAYS30, DAYS30 * 1000),
        (float(DAYS30), DAYS30 * 1000),
        (0, None),
        (0.0, None),
        (-0.0, None),
    ],
)
async def test_a_timeout_is_rounded_to_the_nearest_millisecond_and_never_to_zero(
    hub: Hub, clock: VirtualClock, seconds: float, ms: int | None
) -> None:
    invite_id = await hub.invite_as("amy", "bob", timeout=seconds)
    found = await hub.invitation(invite_id)
    assert found is not None
    assert found.expires_at == (None if ms is None else clock.now_ms() + ms)


@pytest.mark.parametrize(
    "bad",
    [
        -1, -0.001, -5e-324, math.nan, math.inf, -math.inf, DAYS30 + 1, DAYS30 + 0.001, 10**400,
        -(10**400), 1e308, True, False, None, "30", Decimal(3), Fraction(1, 2), 1j, [30],
    ],
    ids=ascii,
)  # fmt: skip
async def test_a_timeout_that_is_no_number_of_seconds_up_to_30_days_is_refused(
    room: Room, bad: Any
) -> None:
    for call in (
        room.amy.invite("bob", timeout=bad),
        room.amy.invite(["bob", "carol"], timeout=bad),
        room.amy.invite_in_group("g", ["bob"], timeout=bad),
    ):
        error = await refusal(room.hub, call, 6017)
        assert error.details["parameter"] == "timeout"


@pytest.mark.parametrize("bad", [0, 1, None, "yes", []])
async def test_online_user_only_is_true_or_false(room: Room, bad: Any) -> None:
    await refusal(room.hub, room.amy.invite("bob", online_user_only=bad), 6017)
    await refusal(room.hub, room.amy.invite_in_group("g", ["bob"], online_user_only=bad), 6017)


@pytest.mark.parametrize("bad", ["", "all", "MEMBERS", None, True, 1, ["members"]])
async def test_notify_is_members_or_parties(room: Room, bad: Any) -> None:
    error = await refusal(room.hub, room.amy.invite_in_group("g", ["bob"], notify=bad), 6017)
    assert error.details["parameter"] == "notify"


async def test_an_offline_push_info_is_taken(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    assert await amy.signaling.invite("bob", offline_push_info=None)
    assert await amy.signaling.invite("bob", offline_push_info={"title": "a call"})


@pytest.mark.parametrize("bad", [None, 7, True, b"x", ["x"]], ids=repr)
async def test_an_invite_id_that_is_no_str_is_refused(room: Room, bad: Any) -> None:
    hub = room.hub
    for call in (
        room.bob.accept(bad),
        room.bob.reject(bad),
        room.amy.cancel(bad),
        room.amy.modify_invitation(bad, ""),
        room.bob.add_invited_signaling(SignalingInfo(bad, "amy", "", ["bob"])),
        hub.cancel_by_server(bad),
        hub.invitation(bad),
    ):
        await refusal(hub, call, 6017)


@pytest.mark.parametrize("name", ["", " ", "x", "x" * 64, "x" * 100_000, "é", "\x00", "-" * 32])
async def test_any_other_string_names_nothing_open(room: Room, name: str) -> None:
    hub = room.hub
    for call in (
        room.bob.accept(name),
        room.bob.reject(name),
        room.amy.cancel(name),
        room.amy.modify_invitation(name, "", expected_version=7),
        room.bob.add_invited_signaling(SignalingInfo(name, "amy", "", ["bob"])),
        hub.cancel_by_server(name),
    ):
        assert (await refusal(hub, call, 8010)).details == {}
    assert await hub.invitation(name) is None


@pytest.mark.parametrize("bad", [True, False, 1.0, "1", -1, [1]], ids=repr)
async def test_an_expected_version_is_a_whole_number(room: Room, bad: Any) -> None:
    error = await refusal(
        room.hub, room.amy.modify_invitation(UNKNOWN, "", expected_version=bad), 6017
    )
    assert error.details["parameter"] == "expected_version"


async def test_of_several_broken_rules_of_an_opening_the_first_is_told(room: Room) -> None:
    hub, over = room.hub, "x" * (KIB12 + 1)
    offline = hub.session("amy", "9").signaling
    invite, in_group = room.amy.invite, room.amy.invite_in_group
    carol = hub.acting_as("carol").signaling
    await refusal(hub, offline.invite("amy", over, timeout=-1), 6014)
    nothing: Any = None
    await refusal(hub, offline.invite_in_group("nowhere", nothing, over), 6014)
    await refusal(hub, invite(nothing, over, timeout=-1), 8001)
    await refusal(hub, in_group("nowhere", ["", "amy"], over, timeout=-1), 8001)
    bad_user = await refusal(hub, invite("", timeout=-1), 6017)
    assert bad_user.details["parameter"] == "invitee"
    bad_user = await refusal(hub, in_group("nowhere", [""], timeout=-1), 6017)
    assert bad_user.details["parameter"] == "invitee_list"
    bad_timeout = await refusal(hub, invite("amy", timeout=-1), 6017)
    assert bad_timeout.details["parameter"] == "timeout"
    bad_timeout = await refusal(hub, in_group("nowhere", ["amy"], timeout=-1), 6017)
    assert bad_timeout.details["parameter"] == "timeout"
    await refusal(hub, in_group("nowhere", ["amy"]), 10010)
    await refusal(hub, carol.invite_in_group("g", ["carol"]), 10007)
    stranger = await refusal(hub, in_group("g", ["bob", "carol", "dave"]), 6017)
    assert stranger.details == {"parameter": "invitee_list", "user": "carol"}
    assert "carol" in str(stranger)


@pytest.mark.parametrize("limits", [Limits(invitees_max=1)])
async def test_the_size_of_a_list_is_told_before_the_timeout_and_the_group(
    room: Room, limits: Limits
) -> None:
    error = await refusal(
        room.hub, room.amy.invite_in_group("nowhere", ["bob", "carol"], timeout=-1), 6017
    )
    assert error.details["parameter"] == "invitee_list"
    error = await refusal(room.hub, room.amy.invite(["bob", "carol"], timeout=-1), 6017)
    assert error.details["parameter"] == "invitee"


async def test_of_several_broken_rules_on_an_invitation_the_first_is_told(
    hub: Hub, clock: VirtualClock
) -> None:
    over: Any = "x" * (KIB12 + 1)
    amy, _ = await join(hub, "amy")
    carol, _ = await join(hub, "carol")
    offline = hub.session("bob", "9").signaling
    shown = await amy.signaling.invite("bob", online_user_only=True)
    plain = await amy.signaling.invite("bob")
    nothing: Any = None
    for call in (offline.accept, offline.reject, offline.cancel, offline.modify_invitation):
        await refusal(hub, call(nothing, over), 6014)
    for call in (
        amy.signaling.accept, amy.signaling.reject, amy.signaling.cancel,
        amy.signaling.modify_invitation,
    ):  # fmt: skip
        await refusal(hub, call(nothing, over), 8001)
        await refusal(hub, call(nothing, LONE), 6017)
    bad: Any = -1
    modify = amy.signaling.modify_invitation
    await refusal(hub, offline.modify_invitation(nothing, over, expected_version=bad), 6014)
    await refusal(hub, modify(nothing, over, expected_version=bad), 8001)
    await refusal(hub, modify(UNKNOWN, "", expected_version=bad), 6017)
    await refusal(hub, modify(UNKNOWN, "", expected_version=9), 8010)
    await refusal(hub, carol.signaling.modify_invitation(shown, "", expected_version=9), 8011)
    await refusal(hub, modify(shown, "", expected_version=9), 7014)
    await refusal(hub, modify(plain, "", expected_version=9), 8006)
    await refusal(hub, modify(plain, "", expected_version=2**40), 8006)
    await refusal(hub, modify(plain, "", expected_version=2**32 + 1), 8006)
