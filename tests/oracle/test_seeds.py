"""Histories that once went wrong: each with what was broken, as seeds or as the acts to blame.

A seed is the history of the day on which it was found; another act to draw makes another history
of it. So what a failure boils down to is kept as acts.
"""

from __future__ import annotations

import pytest
import uvloop

from oracle import bulk, hub_history
from oracle.acts import Act, Nth, World
from oracle.source import Seeded
from pysignal import Limits

NOBODY = "", ""
CRASH = Act("crash", NOBODY, {"ms": 1, "how": "kill", "back": False, "look": True})

FAILED: dict[str, tuple[Limits, list[Act]]] = {
    "a request ID that was used before was told of before a user ID that is none": (
        Limits(),
        [
            Act("login", ("amy", "1"), {"start": "cold", "anew": True}),
            Act(
                "modify_invitation", ("amy", "1"), {"invite_id": "", "data": "d", "request_id": "r"}
            ),
            Act(
                "transfer_group_owner",
                ("amy", "1"),
                {"group_id": "g", "user": "\x85", "request_id": "r"},
            ),
        ],
    ),
    "a device that replaced its own session was lost where no devices are remembered": (
        Limits(devices_remembered=0),
        [
            Act("login", ("amy", "1"), {"start": "hot", "anew": True}),
            Act("login", ("amy", "1"), {"start": "hot", "anew": True}),
            Act("invite", ("bob", ""), {"invitee": "amy"}),
            Act("logout", ("amy", "1"), {}),
        ],
    ),
    "a device that replaced its own session counted as one more that is away": (
        Limits(devices_remembered=1),
        [
            Act("login", ("amy", "1"), {"start": "cold", "anew": True}),
            Act("login", ("amy", "2"), {"start": "cold", "anew": True}),
            Act("invite", ("bob", ""), {"invitee": "amy"}),
            Act("compare", NOBODY, {"whole": True}),
            Act("logout", ("amy", "2"), {}),
            Act("wait", NOBODY, {"ms": 1}),
            Act("login", ("amy", "1"), {"start": "hot", "anew": True}),
            Act("login", ("amy", "2"), {"start": "hot", "anew": True}),
        ],
    ),
    "of two devices that left in one millisecond the later was forgotten": (
        Limits(devices_remembered=1),
        [
            Act("login", ("amy", "1"), {"start": "cold", "anew": True}),
            Act("login", ("amy", "2"), {"start": "cold", "anew": True}),
            Act("invite", ("bob", ""), {"invitee": "amy"}),
            Act("compare", NOBODY, {"whole": True}),
            Act("logout", ("amy", "2"), {}),
            Act("logout", ("amy", "1"), {}),
            Act("login", ("amy", "1"), {"start": "hot", "anew": True}),
        ],
    ),
    "snapshot.ended showed an invitation to a bystander who was just being told of its end": (
        Limits(),
        [
            Act("login", ("carol", "1"), {"start": "cold", "anew": True}),
            Act("put", NOBODY, {"group_id": "g", "members": ["amy", "bob", "carol"]}),
            Act("invite_in_group", ("amy", ""), {"group_id": "g", "invitee_list": ["bob"]}),
            Act("compare", NOBODY, {"whole": True}),
            Act("accept", ("bob", ""), {"invite_id": Nth(0)}),
            Act("login", ("carol", "1"), {"start": "hot", "anew": True}),
        ],
    ),
    "nobody to remove was refused with the name of another parameter": (
        Limits(),
        [
            Act("create_group", ("amy", ""), {"group_type": "Meeting", "group_id": "g"}),
            Act("kick_group_member", ("amy", ""), {"group_id": "g", "user": []}),
            Act("invite_user_to_group", ("amy", ""), {"group_id": "g", "user_list": []}),
        ],
    ),
    "a device that was back and pushed another out counted as online until the next crash": (
        Limits(devices_remembered=1),
        [
            Act("login", ("amy", "1"), {"start": "cold", "anew": True}),
            Act("login", ("amy", "phone"), {"start": "hot", "anew": True}),
            CRASH,
            Act("login", ("amy", "1"), {"start": "hot", "anew": True}),
            CRASH,
        ],
    ),
    "of two devices that left in one millisecond a crash forgot the later": (
        Limits(devices_remembered=1),
        [
            Act("login", ("amy", "2"), {"start": "cold", "anew": True}),
            Act("login", ("amy", "1"), {"start": "cold", "anew": True}),
            Act("logout", ("amy", "1"), {}),
            Act("logout", ("amy", "2"), {}),
            CRASH,
        ],
    ),
}

SEEDS = [
    ("hub", 9),  # a wrong parameter was called by another name
    ("hub", 448),  # a device was forgotten while it logged in again
    ("hub", 763),  # a session was counted that another login had replaced
    ("hub", 1_013_732),  # a request that was refused for now pushed out the result of another
]


@pytest.mark.parametrize("broken", FAILED)
def test_what_was_broken_stays_fixed(broken: str) -> None:
    limits, acts = FAILED[broken]
    world = World(limits, seed=1, same_ms=False, notices=False, journal="memory" * (CRASH in acts))
    uvloop.run(hub_history.replay(world, acts))


@pytest.mark.parametrize(("over", "seed"), SEEDS)
def test_a_history_that_failed_once_is_as_the_model_says(over: str, seed: int) -> None:
    bulk.run_one(over, Seeded(seed))
