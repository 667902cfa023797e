"""The second act: a class. All raise their hands, everybody sees every hand, one speaks.

Who has seen whose hand is a square of bytes, one row for each who sees: with 1,000 students a
million deliveries, each counted in a place of its own.
"""

from __future__ import annotations

import asyncio
import math
import random
from array import array
from typing import Final

from pysignal import Session, SignalingError, SignalingListener
from pysignal.clock import stopwatch_ns
from pysignal.demo import script
from pysignal.demo.figures import Rate, Samples
from pysignal.demo.stage import Stage

TEACHER: Final = "teacher"
CLASS_ID: Final = "class-7b"
ASKED: Final = script.lesson("raiseHand", CLASS_ID)
OFFERED: Final = script.lesson("speak", CLASS_ID)
_TIMEOUT_S: Final = 300
_PATIENCE_S: Final = 60.0

# Deliveries are timed by every so manyth member, so that a large class needs no more samples.
_SAMPLES_MAX: Final = 2_000_000


class Room:
    """What the members of a class have in common.

    Args:
        size: students.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.numbers = {f"student-{number}": number for number in range(size)}
        self.names = list(self.numbers)
        self.hands_id = ""
        self.raised_ns = array("q", bytes(8 * size))
        self.delivered = 0
        self.last_ns = 0
        self.delays = Samples("delivery: hands, all at once", "delivery in the class")


class Member(SignalingListener):
    """The student or teacher in front of a screen.

    Attributes:
        opened: the invitations that were heard, as (invite ID, inviter, group, invitees, data).
        hands: by student, how often their hand was seen.
        others: everything else that was heard.
    """

    def __init__(self, room: Room) -> None:
        self.room = room
        self.opened: list[tuple[str, str, str, int, str]] = []
        self.hands = bytearray(room.size)
        self.others: list[tuple[str, ...]] = []

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Show what the teacher asks."""
        self.opened.append((invite_id, inviter, group_id, len(invitee_list), data))

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Show a hand, or who speaks."""
        room = self.room
        if invite_id == room.hands_id and data == ASKED:
            self.hands[room.numbers[invitee]] += 1
            room.delivered += 1
        else:
            self.others.append(("accepted", invite_id, invitee, data))

    def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        """Note what must not happen."""
        self.others.append(("rejected", invite_id, invitee, data))

    def on_invitation_cancelled(self, invite_id: str, inviter: str, data: str) -> None:
        """Note what must not happen."""
        self.others.append(("cancelled", invite_id, inviter, data))

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        """Note what must not happen."""
        self.others.append(("timeout", invite_id, *invitee_list))


class TimedMember(Member):
    """A member with a stopwatch."""

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Show a hand, or who speaks, and note how long that took."""
        super().on_invitee_accepted(invite_id, invitee, data)
        room = self.room
        if invite_id == room.hands_id:
            room.last_ns = stopwatch_ns()
            room.delays.add(room.last_ns - room.raised_ns[room.numbers[invitee]])


class Lesson:
    """The story: a teacher asks, all raise their hands, one is chosen and speaks.

    Args:
        stage: where it is played.
        size: students, 1 to 10,000.
    """

    def __init__(self, stage: Stage, size: int) -> None:
        self._stage = stage
        self._room = Room(size)
        every = math.ceil(size * size / _SAMPLES_MAX)
        self._members: list[Member] = [
            (Member if number % every else TimedMember)(self._room) for number in range(size)
        ]
        self._teacher = TimedMember(self._room)
        self._sessions: list[Session] = []
        self._failures: list[str] = []

    async def play(self) -> None:
        """Play the lesson, and check what everybody saw."""
        stage, room = self._stage, self._room
        stage.view.act(f"2. A class of {room.size:,}: all raise their hands, one speaks")
        hub = stage.hub
        await hub.groups.put(CLASS_ID, [TEACHER, *room.names], owner=TEACHER)
        teacher = await hub.login(TEACHER, listener=self._teacher)
        for name, member in zip(room.names, self._members, strict=True):
            self._sessions.append(await hub.login(name, listener=member))
        stage.view.step(f"the teacher and {room.size:,} students are online")
        invitation = await teacher.signaling.invite_in_group(
            CLASS_ID, room.names, ASKED, timeout=_TIMEOUT_S
        )
        room.hands_id = str(invitation)
        stage.view.step("the teacher asks them all with one invitation: who knows?")
        await stage.until_idle(_PATIENCE_S)
        await self._raise_hands()
        outcome = await hub.invitation(room.hands_id)
        stage.checks.equal(
            "class: the invitation is completed, accepted by all",
            None if outcome is None else (outcome.state, outcome.statuses),
            ("completed", dict.fromkeys(room.names, "accepted")),
        )
        await self._speak(teacher)
        stage.opened += 2
        stage.statuses.update(accepted=room.size + 1)
        for session in (teacher, *self._sessions):
            await session.logout()

    async def _raise_hands(self) -> None:
        stage, room = self._stage, self._room
        order = list(range(room.size))
        random.Random(stage.seed).shuffle(order)
        total = room.size * room.size
        began_ns = stopwatch_ns()
        async with stage.view.progress(
            "everybody sees every hand", total, lambda: {"deliveries": room.delivered}
        ):
            await asyncio.gather(*(self._raise_hand(number) for number in order))
            await stage.until_idle(_PATIENCE_S + total / 100_000)
        took_ns = room.last_ns - began_ns
        stage.figures.rates.append(Rate("class: deliveries", room.delivered, took_ns))
        stage.figures.samples.append(room.delays)
        checks = stage.checks
        checks.equal("class: every hand could be raised", self._failures, [])
        checks.equal("class: deliveries of hands", room.delivered, total)
        checks.same("class: the teacher saw every hand once", self._teacher.hands, _ones(room.size))
        checks.that(*self._square())

    async def _raise_hand(self, number: int) -> None:
        room = self._room
        room.raised_ns[number] = stopwatch_ns()
        try:
            await self._sessions[number].signaling.accept(room.hands_id, ASKED)
        except SignalingError as error:
            self._failures.append(str(error))

    def _square(self) -> tuple[str, bool, str]:
        """Whether each student saw every other hand once, and not their own."""
        name = "class: every student saw every other hand once"
        expected = _ones(self._room.size)
        for number, member in enumerate(self._members):
            expected[number] = 0
            if member.hands != expected:
                for other, pair in enumerate(zip(member.hands, expected, strict=True)):
                    if pair[0] != pair[1]:
                        told = f"student-{number} saw the hand of student-{other} {pair[0]} times"
                        return name, False, told
            expected[number] = 1
        return name, True, ""

    async def _speak(self, teacher: Session) -> None:
        stage, room = self._stage, self._room
        chosen = random.Random(stage.seed + 1).randrange(room.size)
        name = room.names[chosen]
        stage.view.step(f"the teacher invites {name} to speak")
        invitation = await teacher.signaling.invite_in_group(
            CLASS_ID, [name], OFFERED, timeout=_TIMEOUT_S
        )
        await stage.until_idle(_PATIENCE_S)
        try:
            await self._sessions[chosen].signaling.accept(invitation, OFFERED)
        except SignalingError as error:
            stage.checks.that("class: the chosen one can accept", False, str(error))
        await stage.until_idle(_PATIENCE_S)
        stage.view.step(f"{name} accepts, and everybody hears who speaks")
        openings = [
            (room.hands_id, TEACHER, CLASS_ID, room.size, ASKED),
            (str(invitation), TEACHER, CLASS_ID, 1, OFFERED),
        ]
        speaks = [("accepted", str(invitation), name, OFFERED)]
        deaf = sum(member.opened != openings for member in self._members)
        deaf += self._teacher.opened != []
        stage.checks.equal("class: members who missed or misheard an invitation", deaf, 0)
        wrong = sum(
            member.others != ([] if number == chosen else speaks)
            for number, member in enumerate(self._members)
        )
        wrong += self._teacher.others != speaks
        stage.checks.equal("class: members who missed or misheard who speaks", wrong, 0)


def _ones(size: int) -> bytearray:
    return bytearray(b"\1") * size
