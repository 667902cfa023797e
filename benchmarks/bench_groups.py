"""Groups: one answer told to everybody, and a class in which all raise their hands.

Everybody is a member of one group and was invited in it by the teacher; everybody hears each answer
but their own. At most ANSWERS answer at once; the next do when all have heard of those.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import operands
import pytest
from measure import SECONDS, Measure, Size, cpu_ns

from pysignal import Hub, SignalingEvent, SignalingListener

ANSWERS = 100
DELIVERIES = 5_000_000
CALLS = 200_000  # of a rival
SOON = 200  # of them that wait in the loop at once
INVITED_MAX = 10_000  # each member's callback has a list of its own of all who were invited
WITNESS_EVERY = 100  # members; one of so many keeps all that they hear, the others count it
TIMEOUT_S = 3600.0

Loop = asyncio.AbstractEventLoop


class Member(SignalingListener):
    """A member of the class who counts what they hear.

    Attributes:
        invite_id: of the last invitation.
        heard: how many answers to it.
    """

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, with nothing heard."""
        self.invite_id = ""
        self.heard = 0

    def heard_answers(self) -> list[str] | None:
        """Return who answered, in the order in which it was heard; None where only counted."""
        return None


class Student(Member):
    """One who hears each event by the callback that is its own."""

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Hear of a new invitation."""
        self.invite_id = invite_id

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Hear that an invitee accepted."""
        self.heard += 1


class Witness(Student):
    """One who keeps whom they heard of."""

    def forget(self) -> None:
        """Begin anew, with nothing heard."""
        super().forget()
        self.kept: list[str] = []

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Hear that an invitee accepted."""
        self.heard += 1
        self.kept.append(invitee)

    def heard_answers(self) -> list[str]:
        """Return all who answered."""
        return self.kept


class BatchStudent(Member):
    """One who hears all events of a turn at once."""

    def on_signaling_events(self, events: list[SignalingEvent]) -> None:
        """Hear events."""
        self.heard += len(events)
        if not self.invite_id:
            self.invite_id = events[0].invite_id
            self.heard -= 1


class BatchWitness(BatchStudent):
    """One who keeps whom they heard of."""

    def forget(self) -> None:
        """Begin anew, with nothing heard."""
        super().forget()
        self.kept: list[str] = []

    def on_signaling_events(self, events: list[SignalingEvent]) -> None:
        """Hear events."""
        super().on_signaling_events(events)
        self.kept += [event.actor for event in events if event.kind == "accepted"]

    def heard_answers(self) -> list[str]:
        """Return all who answered."""
        return self.kept


class School:
    """A class: a teacher who invites, and students who answer.

    Args:
        loop: where it runs.
        size: how many students.
        answers: how many of them answer an invitation, in the order of their names.
        student, witness: their listeners.
    """

    def __init__(
        self,
        loop: Loop,
        size: int,
        answers: int,
        student: type[Member] = Student,
        witness: type[Member] = Witness,
    ) -> None:
        self.loop = loop
        self.users = operands.names(size + 1)
        self.members = [
            (student if k % WITNESS_EVERY else witness)() for k in range(len(self.users))
        ]
        self.invited = self.users[1 : 1 + min(size, INVITED_MAX)]
        self.answers = operands.texts(answers, "accept")
        self.hub = Hub()
        self.sessions: list[Any] = []
        self.invitations = 0
        loop.run_until_complete(self._log_in())

    async def _log_in(self) -> None:
        await self.hub.open()
        for user, member in zip(self.users, self.members, strict=True):
            self.sessions.append(await self.hub.login(user, listener=member))
        await self.hub.groups.put("class", self.users)

    async def invite(self) -> None:
        """Invite the class once more, and wait until everybody has heard."""
        for member in self.members:
            member.forget()
        self.invitations += 1
        teacher, last = self.members[0], self.members[-1]
        teacher.invite_id = await self.sessions[0].signaling.invite_in_group(
            "class", self.invited, f"question {self.invitations}", timeout=TIMEOUT_S
        )
        while not last.invite_id or self._is_telling():  # noqa: ASYNC110 - it delivers in turns
            await asyncio.sleep(0)

    async def answer(self) -> None:
        """Let those who answer accept, ANSWERS at once, and wait until all have heard."""
        first, last = self.members[0], self.members[-1]
        for start in range(0, len(self.answers), ANSWERS):
            answers = self.answers[start : start + ANSWERS]
            for number, answer in enumerate(answers, start + 1):
                await self.sessions[number].signaling.accept(self.members[number].invite_id, answer)
            done = start + len(answers)
            told = done - (done == len(self.members) - 1)  # the last does not hear their own
            while first.heard < done or last.heard < told:  # noqa: ASYNC110 - it delivers in turns
                await asyncio.sleep(0)
            while self._is_telling():  # noqa: ASYNC110 - it delivers in turns
                await asyncio.sleep(0)

    def _is_telling(self) -> bool:
        return self.hub.stats()["deliveries_waiting"] > 0

    def verify(self) -> None:
        """Check that each heard every answer but their own, and the state of the hub.

        All are counted; witnesses heard them in the order in which they were given.
        """
        answering = self.users[1 : 1 + len(self.answers)]
        for k, (user, member) in enumerate(zip(self.users, self.members, strict=True)):
            answered = 0 < k <= len(answering)
            assert member.heard == len(answering) - answered
            assert member.invite_id == self.members[0].invite_id
            kept = member.heard_answers()
            if kept is not None:
                assert kept == [other for other in answering if other != user]
        stats = self.hub.stats()
        is_over = len(answering) == len(self.invited)
        assert stats["invitees_accepted"] == self.invitations * len(answering)
        assert stats["open"] == (0 if is_over else self.invitations)
        assert stats["deliveries_waiting"] == stats["facts_waiting"] == 0
        self.hub.shard.machine.check()

    def close(self) -> None:
        """Close the hub."""
        self.loop.run_until_complete(self.hub.close())


@pytest.mark.sizes(1_000, 10_000, 100_000)
def test_fan_out(measure: Measure, loop: Loop, size: Size) -> None:
    """One answer is told to so many sessions, each with a listener of plain callbacks."""
    batches = max(measure.operations(DELIVERIES) // (size * ANSWERS), 1)
    school = School(loop, size, min(size // 2, batches * ANSWERS))
    deliveries = len(school.answers) * size
    row = measure(
        "answer told to a session, hub",
        size,
        deliveries,
        lambda: loop.run_until_complete(school.answer()),
        prepare=lambda: loop.run_until_complete(school.invite()),
        verify=school.verify,
        rivals=calls(loop, size),
        slow=True,
    )
    school.close()
    if size.name == "1e4":
        measure.figure("hub_fanout_ns_per_event", row)


@pytest.mark.sizes(10_000)
def test_class(measure: Measure, loop: Loop, size: Size) -> None:
    """All are invited, all accept, and everyone hears everyone else, in batches."""
    school = School(loop, size, size, BatchStudent, BatchWitness)

    async def whole() -> None:
        await school.invite()
        await school.answer()

    row = measure(
        "class, all raise their hands, hub",
        size,
        1,
        lambda: loop.run_until_complete(whole()),
        verify=school.verify,
        unit=SECONDS,
        slow=True,
    )
    school.close()
    measure.figure("class_10k_seconds", row)


def calls(loop: Loop, size: int) -> dict[str, Callable[[], float]]:
    """Return the rivals: the callbacks alone, and each by a `call_soon` of its own."""
    others = [Student() for _ in range(size)]
    methods = [student.on_invitee_accepted for student in others]
    batches = [methods[start : start + SOON] for start in range(0, size, SOON)]
    answers = operands.texts(max(CALLS // size, 1), "accept")
    heard = 0

    async def call_each() -> None:
        for answer in answers:
            for method in methods:
                method("invite", "student", answer)

    async def call_soon_each() -> None:
        for answer in answers:
            for batch in batches:
                for method in batch:
                    loop.call_soon(method, "invite", "student", answer)
                await asyncio.sleep(0)

    def rival(run: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], float]:
        def measured() -> float:
            nonlocal heard
            heard += len(answers)
            figure = cpu_ns(lambda: loop.run_until_complete(run()), len(answers) * size)
            assert all(student.heard == heard for student in others)
            return figure

        return measured

    return {"plain calls": rival(call_each), "call_soon each": rival(call_soon_each)}
