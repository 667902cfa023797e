"""The seeded script: what everybody will do in the rush, and what each phone then has to hear.

The outcome is known before anything is sent, as the script is worked out from the seed alone and
who hears what follows from the table of SPEC §4. So the check at the end compares two things that
were made apart: bytes that the phones wrote down, and bytes that the script gives.

A million invitations are a few bytes each: everything is an array by the invitation's number.
"""

from __future__ import annotations

import random
from array import array
from collections import Counter
from typing import Final

import orjson

# What becomes of an invitation.
ACCEPT, REJECT, CANCEL, TIMEOUT, RACE = range(5)
_WEIGHTS: Final = (45, 20, 15, 20)

# How a phone hears of the end: by callback, or not at all.
NOTHING, ACCEPTED, REJECTED, CANCELLED, TIMED_OUT = range(5)
ENDS: Final = ("nothing", "accepted", "rejected", "cancelled", "timed out")

# Who has a phone: the caller, and the callee one or two.
CALLER, FIRST, SECOND = range(3)
PHONES: Final = ("the caller", "the callee's first device", "the callee's second device")

# By fate, what is heard by the caller, the answering device and the callee's other device. Who acts
# has the result of the call and hears nothing.
_HEARD: Final = {
    ACCEPT: (ACCEPTED, NOTHING, ACCEPTED),
    REJECT: (REJECTED, NOTHING, REJECTED),
    CANCEL: (NOTHING, CANCELLED, CANCELLED),
    TIMEOUT: (TIMED_OUT, TIMED_OUT, TIMED_OUT),
    RACE: (ACCEPTED, NOTHING, ACCEPTED),
}
_STATUS: Final = {
    ACCEPT: "accepted",
    REJECT: "rejected",
    CANCEL: "cancelled",
    TIMEOUT: "timed_out",
    RACE: "accepted",
}

# Users on either side. Above so many invitations, each calls and is called several times.
USERS_MAX: Final = 10_000
_SHARE_WITH_TWO_DEVICES: Final = 0.25
_SHARE_OF_RACES: Final = 0.7

_FIRST_ROOM: Final = 10_000


class Script:
    """The script of the rush.

    Args:
        size: invitations, 1 or more.
        seed: the same seed gives the same script.

    Attributes:
        fates: by invitation, ACCEPT to RACE.
        answering: by invitation, which device of the callee answers, or answers first: FIRST or
            SECOND.
        callees: by invitation, the callee's number.
        moments: by invitation, when it is answered or times out: 0 to 1 of the answering time.
        devices: by callee, 1 or 2.
        users: callers, and as many callees.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self.users = min(size, USERS_MAX)
        rng = random.Random(seed)
        two = [rng.random() < _SHARE_WITH_TWO_DEVICES for _ in range(self.users)]
        self.devices = bytearray(1 + both for both in two)
        shuffled = list(range(self.users))
        rng.shuffle(shuffled)
        self.callees = array("I", (shuffled[number % self.users] for number in range(size)))
        self.fates = bytearray(rng.choices((ACCEPT, REJECT, CANCEL, TIMEOUT), _WEIGHTS, k=size))
        self.answering = bytearray([FIRST]) * size
        self.moments = array("d", bytes(8 * size))
        for number, callee in enumerate(self.callees):
            self.moments[number] = rng.random()
            if two[callee]:
                self.answering[number] = rng.choice((FIRST, SECOND))
                if rng.random() < _SHARE_OF_RACES:
                    self.fates[number] = RACE

    def caller(self, number: int) -> int:
        """The caller of an invitation, by number."""
        return number % self.users

    def order(self) -> list[int]:
        """The invitations that somebody answers or cancels, by the moment."""
        acted = [number for number, fate in enumerate(self.fates) if fate != TIMEOUT]
        acted.sort(key=self.moments.__getitem__)
        return acted

    def rings(self, phone: int) -> bytearray:
        """By invitation, how often a phone has to ring."""
        if phone == CALLER:
            return bytearray(self.size)
        return bytearray(self.devices[callee] >= phone for callee in self.callees)

    def ends(self, phone: int) -> bytearray:
        """By invitation, which end a phone has to hear of; NOTHING for none."""
        expected = bytearray(self.size)
        for number, fate in enumerate(self.fates):
            if phone == CALLER:
                expected[number] = _HEARD[fate][0]
            elif self.devices[self.callees[number]] >= phone:
                expected[number] = _HEARD[fate][1 if phone == self.answering[number] else 2]
        return expected

    def refusals(self) -> bytearray:
        """By invitation, how many answers come too late: one in each race."""
        return bytearray(fate == RACE for fate in self.fates)

    def statuses(self) -> Counter[str]:
        """How many invitees end with each status."""
        return Counter(_STATUS[fate] for fate in self.fates)


# -- what is sent (SPEC §10) -----------------------------------------------------------------------


def caller_name(number: int) -> str:
    """The user ID of a caller of the rush."""
    return f"caller-{number}"


def callee_name(number: int) -> str:
    """The user ID of a callee of the rush."""
    return f"callee-{number}"


def room_of(number: int) -> int:
    """The room that an invitation of the rush leads to."""
    return _FIRST_ROOM + number


def room_in(data: str) -> int:
    """The room that a payload names."""
    room: int = orjson.loads(data)["room_id"]
    return room


def number_of(data: str) -> int:
    """The number of an invitation of the rush, by the room that its payload names."""
    return room_in(data) - _FIRST_ROOM


def video_call(room_id: int, callee: str) -> str:
    """The payload of a video call, of its answer, and of taking it back."""
    return _text(
        {
            "version": 4,
            "businessID": "av_call",
            "call_type": 2,
            "room_id": room_id,
            "data": {"cmd": "videoCall", "room_id": room_id, "userIDs": [callee]},
        }
    )


def line_busy(room_id: int) -> str:
    """The payload of an automatic rejection by someone who is talking."""
    return _text(
        {
            "version": 4,
            "businessID": "av_call",
            "line_busy": "line_busy",
            "data": {"cmd": "videoCall", "room_id": room_id, "message": "lineBusy"},
        }
    )


def hang_up(room_id: int, talked_s: int) -> str:
    """The payload that tells the end of a call, after so many seconds."""
    return _text(
        {
            "version": 4,
            "businessID": "av_call",
            "call_end": talked_s,
            "data": {"cmd": "hangup", "room_id": room_id},
        }
    )


def lesson(command: str, class_id: str) -> str:
    """The payload of an operation in a class: `raiseHand` or `speak`."""
    return _text(
        {"version": 4, "businessID": "classroom", "data": {"cmd": command, "class_id": class_id}}
    )


def _text(payload: dict[str, object]) -> str:
    return orjson.dumps(payload).decode()
