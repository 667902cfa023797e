"""Which broken rule is told: every set of them, in the order of SPEC §2.

A call begins as one that would be done. Each rule has ways to break it. Every choice of one way or
none for each rule is called, and the first broken rule in the order is told, whatever else is
wrong. Nothing changes and nobody hears anything.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from ears import join
from refusals import picture

from pysignal import Hub, Limits, SignalingError, VirtualClock

pytestmark = pytest.mark.anyio

INVITEES_MAX = 3
OVER = "x" * (12 * 1024 + 1)
LONE = "a\ud800b"
LIMITS = Limits(invitees_max=INVITEES_MAX, lifetime_s=10)

Args = dict[str, Any]
# A way to break a rule: what it makes of the arguments, the code, and the parameter that is told.
Way = tuple[Args, int, str]
Rules = dict[str, tuple[Way, ...]]

LOGIN: tuple[Way, ...] = (({"is_online": False}, 6014, ""),)
DATA: tuple[Way, ...] = (({"data": OVER}, 8001, "data"), ({"data": OVER + LONE}, 8001, "data"))
TIMEOUTS: tuple[Way, ...] = tuple(
    ({"timeout": bad}, 6017, "timeout") for bad in (-1, 30 * 86_400 + 1, float("nan"), True, "30")
)

INVITE: Rules = {
    "login": LOGIN,
    "size of data": DATA,
    "types, IDs and size of list": (
        ({"data": LONE}, 6017, "data"),
        ({"data": b""}, 6017, "data"),
        ({"invitee": ""}, 6017, "invitee"),
        ({"invitee": None}, 6017, "invitee"),
        ({"invitee": {"bob"}}, 6017, "invitee"),
        ({"invitee": []}, 6017, "invitee"),
        ({"invitee": ["bob", "c", "d", "e"]}, 6017, "invitee"),
        ({"invitee": ["amy", "bob\n"]}, 6017, "invitee"),
        ({"online_user_only": 1}, 6017, "online_user_only"),
    ),
    "timeout": TIMEOUTS,
    "invitees": (
        ({"invitee": "amy"}, 6017, "invitee"),
        ({"invitee": ["bob", "amy"]}, 6017, "invitee"),
    ),
}
IN_GROUP: Rules = {
    "login": LOGIN,
    "size of data": DATA,
    "types, IDs and size of list": (
        ({"data": LONE}, 6017, "data"),
        ({"group_id": ""}, 6017, "group_id"),
        ({"group_id": 7}, 6017, "group_id"),
        ({"invitee_list": "bob"}, 6017, "invitee_list"),
        ({"invitee_list": [""]}, 6017, "invitee_list"),
        ({"invitee_list": ["bob", "c", "d", "e"]}, 6017, "invitee_list"),
        ({"online_user_only": None}, 6017, "online_user_only"),
        ({"notify": "all"}, 6017, "notify"),
    ),
    "timeout": TIMEOUTS[:2],
    "group exists": (({"group_id": "nowhere"}, 10010, ""),),
    "member": (({"user": "eve"}, 10007, ""),),
    "invitees": (
        ({"invitee_list": ["amy", "eve"]}, 6017, "invitee_list"),
        ({"invitee_list": ["bob", "zoe"]}, 6017, "invitee_list"),
    ),
}
EXISTING: Rules = {
    "login": LOGIN,
    "size of data": DATA,
    "types": (
        ({"data": LONE}, 6017, "data"),
        ({"invite_id": None}, 6017, "invite_id"),
        ({"invite_id": b"x"}, 6017, "invite_id"),
    ),
    "open": (
        ({"invite_id": "ended"}, 8010, ""),
        ({"invite_id": "ended online only"}, 8010, ""),
        ({"invite_id": "unknown"}, 8010, ""),
        ({"invite_id": "overdue"}, 8010, ""),
    ),
    "may": (({"user": "eve"}, 8011, ""), ({"user": "dave"}, 8011, "")),
}
MODIFY: Rules = {
    **EXISTING,
    "types": (*EXISTING["types"], ({"expected_version": 0}, 6017, "expected_version")),
    "can be modified": (({"invite_id": "online only"}, 7014, ""),),
    "version": (({"expected_version": 9}, 8006, ""),),
}

CALLS: dict[str, tuple[Rules, Args]] = {
    "invite": (INVITE, {"user": "amy", "invitee": "bob", "data": "", "timeout": 1}),
    "invite_in_group": (
        IN_GROUP,
        {"user": "amy", "group_id": "g", "invitee_list": ["bob"], "data": "", "timeout": 1},
    ),
    "accept": (EXISTING, {"user": "bob", "invite_id": "open", "data": ""}),
    "reject": (EXISTING, {"user": "bob", "invite_id": "open", "data": ""}),
    "cancel": (EXISTING, {"user": "amy", "invite_id": "open", "data": ""}),
    "modify_invitation": (MODIFY, {"user": "amy", "invite_id": "open", "data": ""}),
}
# What the ways give: calls, and those left out because two rules are broken by one argument.
COUNTS: dict[str, tuple[int, int]] = {
    "invite": (503, 576),
    "invite_in_group": (1151, 792),
    "accept": (155, 204),
    "reject": (155, 204),
    "cancel": (155, 204),
    "modify_invitation": (467, 1332),
}


def broken(name: str) -> tuple[list[tuple[Args, int, set[str]]], int]:
    """Every set of broken rules: (arguments, code, parameters that may be told); how many not.

    Two ways that set one argument cannot both be chosen: the sets that hold them are left out. A
    value that breaks two rules at once stands among the ways of the first.
    """
    rules, good = CALLS[name]
    sets: list[tuple[Args, int, set[str]]] = []
    left_out = 0
    for choice in itertools.product(*((None, *ways) for ways in rules.values())):
        ways = [way for way in choice if way is not None]
        arguments = Counter(argument for args, _, _ in ways for argument in args)
        if max(arguments.values(), default=0) > 1:
            left_out += 1
        elif ways:
            args = {key: value for way, _, _ in ways for key, value in way.items()}
            sets.append((good | args, ways[0][1], {ways[0][2]} - {""}))
    return sets, left_out


class Room:
    """Amy, Bob, Dave and Eve with a session online and one that is not, and four invitations."""

    def __init__(self, hub: Hub, clock: VirtualClock) -> None:
        self.hub, self.clock = hub, clock
        self.names: dict[str, str] = {"unknown": "0" * 26}

    async def set_up(self) -> None:
        hub = self.hub
        await hub.groups.put("g", ["amy", "bob", "dave"])
        joined = [await join(hub, user) for user in ("amy", "bob", "dave", "eve")]
        self.sessions = {(session.user_id, True): session for session, _ in joined}
        self.sessions |= {(user, False): hub.session(user, "9") for user, _ in [*self.sessions]}
        self.ears = [ear for _, ear in joined]
        amy = self.sessions["amy", True].signaling
        for name, online_only in (("ended", False), ("ended online only", True)):
            self.names[name] = await amy.invite("bob", online_user_only=online_only)
            await amy.cancel(self.names[name])
        self.names["overdue"] = await amy.invite("bob", timeout=0.001)
        self.names["open"] = await amy.invite_in_group("g", ["bob"])
        self.names["online only"] = await amy.invite("bob", online_user_only=True)
        await self.clock.settle()
        self.clock._now_ms += 1  # no timer has run
        for ear in self.ears:
            ear.heard.clear()

    def call(self, name: str, args: Args) -> Coroutine[Any, Any, Any]:
        args = dict(args)
        who = self.sessions[args.pop("user"), args.pop("is_online", True)].signaling
        if args.get("invite_id") in self.names:
            args["invite_id"] = self.names[args["invite_id"]]
        operation: Callable[..., Coroutine[Any, Any, Any]] = getattr(who, name)
        return operation(**args)


@pytest.mark.parametrize("limits", [LIMITS], ids=["few invitees"])
@pytest.mark.parametrize("name", CALLS)
async def test_of_every_set_of_broken_rules_the_first_is_told(
    hub: Hub, clock: VirtualClock, name: str, limits: Limits
) -> None:
    room = Room(hub, clock)
    await room.set_up()
    with pytest.raises(SignalingError) as caught:
        await room.call("accept", {"user": "bob", "invite_id": "overdue", "data": ""})
    assert caught.value.code == 8010
    await clock.settle()
    for ear in room.ears:
        ear.heard.clear()
    before = picture(hub)
    sets, left_out = broken(name)
    assert (len(sets), left_out) == COUNTS[name]
    for args, code, parameters in sets:
        with pytest.raises(SignalingError) as caught:
            await room.call(name, args)
        error = caught.value
        told = {error.details["parameter"]} if "parameter" in error.details else set()
        assert (error.code, told) == (code, parameters), (args, error)
        assert picture(hub) == before, args
    await clock.settle()
    assert [ear.take() for ear in room.ears] == [[]] * len(room.ears)


@pytest.mark.parametrize("name", CALLS)
async def test_with_no_rule_broken_it_is_done(hub: Hub, clock: VirtualClock, name: str) -> None:
    room = Room(hub, clock)
    await room.set_up()
    before = picture(hub)
    await room.call(name, CALLS[name][1])
    assert picture(hub) != before
