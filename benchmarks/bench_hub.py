"""The hub: whole life cycles with a thousand in flight, and an answer told to a whole class.

A life cycle is: `invite` is awaited, the listener of the invitee hears of it, `accept` is awaited
with the ID that it heard, the listener of the inviter hears that. One coroutine drives them all, so
what is counted is the hub and the listeners, not tasks of the benchmark.

The rival is what the naive engine makes of it: a dict of listeners, and one `call_soon` an event.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import operands
import pytest
import uvloop
from measure import PER_SECOND, Measure, cpu_ns

from pysignal import Hub, SignalingListener

IN_FLIGHT = 1000
CYCLES = 100_000
ANSWERS = 100  # to one invitation of the class
TIMEOUT_S = 3600.0


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a uvloop that lives as long as the test."""
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop turn until something is so."""
    while not is_so():  # noqa: ASYNC110 - a turn of the loop is what the hub delivers in
        await asyncio.sleep(0)


class Party(SignalingListener):
    """A user who notes what they hear, where the whole crowd notes it."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd = crowd
        self.session: Any = None

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Hear of a new invitation."""
        self.crowd.rung.append((self.session, invite_id))

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Hear that an invitee accepted."""
        self.crowd.accepted.append(invite_id)


class Crowd:
    """Users who invite each other, IN_FLIGHT at once.

    Args:
        users: their names.
        cycles: life cycles of one run.
    """

    def __init__(self, users: Sequence[str], cycles: int) -> None:
        self.rung: list[tuple[Any, str]] = []
        self.heard: list[str] = []
        self.accepted: list[str] = []
        self.last_wave: list[str] = []
        self.sessions: list[Any] = []
        self.cycles = cycles
        self.questions = operands.texts(cycles, "invite")
        self.answers = operands.texts(cycles, "accept")
        # In each wave everybody invites the one who stands a certain way off, another way in each
        # wave: so no pair meets twice.
        pick = random.Random(6)
        self.in_flight = in_flight = min(IN_FLIGHT, len(users))
        shifts = pick.sample(range(1, len(users)), -(-cycles // in_flight))
        self.waves = [
            [
                (k, users[(k + shift) % len(users)])
                for k in pick.sample(range(len(users)), in_flight)
            ]
            for shift in shifts
        ]

    async def run(self) -> None:
        """Run all cycles, a wave at a time."""
        rung, heard, accepted, sessions = self.rung, self.heard, self.accepted, self.sessions
        in_flight = self.in_flight
        questions, answers = iter(self.questions), iter(self.answers)
        heard.clear()
        accepted.clear()
        for wave in self.waves:
            self.last_wave = [
                await sessions[k].signaling.invite(invitee, next(questions), timeout=TIMEOUT_S)
                for k, invitee in wave
            ]
            await until(lambda: len(rung) == in_flight)
            for session, invite_id in rung:
                heard.append(invite_id)
                await session.signaling.accept(invite_id, next(answers))
            rung.clear()
            await until(lambda: len(accepted) == len(heard))

    def verify(self) -> None:
        """Check that each invitation was accepted, once, and its inviter told."""
        assert len(set(self.heard)) == self.cycles
        assert sorted(self.accepted) == sorted(self.heard)
        assert sorted(self.last_wave) == sorted(self.heard[-self.in_flight :])
        assert not self.rung


class NaiveParty:
    """A session of the naive hub: its engine, a dict of listeners, one `call_soon` an event."""

    def __init__(self, hub: NaiveHub, user_id: str) -> None:
        self.hub, self.user_id, self.signaling = hub, user_id, self

    async def invite(self, invitee: str, data: str, *, timeout: float) -> str:  # noqa: ASYNC109
        """Invite one user."""
        hub = self.hub
        invite_id: str = hub.engine.invite(hub.loop.time(), self.user_id, [invitee], data, timeout)
        return invite_id

    async def accept(self, invite_id: str, data: str) -> None:
        """Accept."""
        self.hub.engine.accept(self.hub.loop.time(), invite_id, self.user_id, data)


class NaiveHub:
    """What most people would put around the naive engine."""

    def __init__(self, naive: ModuleType, loop: asyncio.AbstractEventLoop) -> None:
        self.engine = naive.Engine(self.tell)
        self.loop = loop
        self.listeners: dict[str, SignalingListener] = {}

    def login(self, user_id: str, listener: SignalingListener) -> NaiveParty:
        """Log a user in."""
        self.listeners[user_id] = listener
        return NaiveParty(self, user_id)

    def tell(self, kind: str, user: str, invite_id: str, other: str, data: str) -> None:
        """Call a listener back, soon."""
        listener = self.listeners[user]
        if kind == "new":
            self.loop.call_soon(
                listener.on_receive_new_invitation, invite_id, other, "", [user], data
            )
        else:
            self.loop.call_soon(listener.on_invitee_accepted, invite_id, other, data)


def test_life_cycles(
    measure: Measure, naive: ModuleType, loop: asyncio.AbstractEventLoop, size: int
) -> None:
    """Count whole life cycles in a second of CPU, with as many users online as the size says."""
    cycles = measure.operations(CYCLES, 1000)
    users = operands.names(size)
    crowd, others = Crowd(users, cycles), Crowd(users, cycles)
    hub, naive_hub = Hub(), NaiveHub(naive, loop)

    async def login() -> None:
        await hub.open()
        for user in users:
            party = Party(crowd)
            party.session = await hub.login(user, listener=party)
            crowd.sessions.append(party.session)
        for user in users:
            party = Party(others)
            party.session = naive_hub.login(user, party)
            others.sessions.append(party.session)

    loop.run_until_complete(login())

    def naive_cycles() -> float:
        spent_ns = cpu_ns(lambda: loop.run_until_complete(others.run()), cycles)
        others.verify()
        return 1e9 / spent_ns

    runs = 1

    def verify() -> None:
        nonlocal runs
        runs += 1
        crowd.verify()
        stats = hub.stats()
        assert stats["invitees_accepted"] == stats["invitations"] == runs * cycles
        assert stats["open"] == stats["deliveries_waiting"] == stats["facts_waiting"] == 0
        hub.shard.machine.check()

    loop.run_until_complete(crowd.run())
    row = measure(
        "life cycles, hub",
        size,
        cycles,
        lambda: loop.run_until_complete(crowd.run()),
        verify=verify,
        rivals={"naive, call_soon": naive_cycles},
        unit=PER_SECOND,
        slow=True,
    )
    loop.run_until_complete(hub.close())
    measure.figure("hub_cycles_per_s", row)


class Student(SignalingListener):
    """A member of a class who counts what they hear."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.heard = 0

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Hear of a new invitation."""
        self.rung.append(invite_id)

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Hear that an invitee accepted."""
        self.heard += 1


def both_heard(first: Student, last: Student, answers: int) -> bool:
    """Return whether both have heard so many answers."""
    return first.heard == answers == last.heard


class School:
    """A class of which ANSWERS members are invited, and everybody hears every answer."""

    def __init__(self, told: int, invitations: int) -> None:
        self.users = operands.names(told + 1)
        self.students = [Student() for _ in self.users]
        self.answering = self.users[1 : 1 + min(ANSWERS, told)]
        self.invitations = invitations
        self.answers = operands.texts(invitations * len(self.answering), "accept")
        self.questions = operands.texts(invitations, "invite")
        self.hub = Hub()
        self.sessions: list[Any] = []

    async def login(self) -> None:
        """Bring everybody online and into the class."""
        await self.hub.open()
        for user, student in zip(self.users, self.students, strict=True):
            self.sessions.append(await self.hub.login(user, listener=student))
        await self.hub.groups.put("class", self.users)

    async def invite(self) -> None:
        """Open the invitations, and wait until everybody has heard of them."""
        for student in self.students:
            student.heard = 0
            student.rung.clear()
        for question in self.questions:
            await self.sessions[0].signaling.invite_in_group(
                "class", self.answering, question, timeout=TIMEOUT_S
            )
        await until(lambda: all(len(one.rung) == self.invitations for one in self.students[1:]))

    async def answer(self) -> None:
        """Let all who are invited answer one invitation after another, and wait for delivery."""
        answers = iter(self.answers)
        first, last = self.students[0], self.students[-1]
        for invite_id in list(self.students[1].rung):
            told = last.heard + len(self.answering)
            for session in self.sessions[1 : 1 + len(self.answering)]:
                await session.signaling.accept(invite_id, next(answers))
            await until(partial(both_heard, first, last, told))
        # Only once the first and the last have heard all is it worth asking everybody.
        expected = len(self.answers) * (len(self.students) - 1)
        await until(lambda: sum(student.heard for student in self.students) == expected)

    def verify(self) -> None:
        """Check that each heard every answer but their own, and the state of the hub."""
        answers = len(self.answers)
        own = len(self.questions)
        heard = [student.heard for student in self.students]
        some = len(self.answering)
        assert heard[0] == answers
        assert heard[1 : 1 + some] == [answers - own] * some
        assert heard[1 + some :] == [answers] * (len(heard) - 1 - some)
        assert self.hub.stats()["open"] == 0


def test_fan_out(measure: Measure, loop: asyncio.AbstractEventLoop) -> None:
    """One answer is told to a thousand sessions, each with a listener."""
    told = 200 if measure.quick else 1000
    school = School(told, 1 if measure.quick else 10)
    loop.run_until_complete(school.login())
    deliveries = len(school.answers) * told
    others = [Student() for _ in range(told)]
    methods = [student.on_invitee_accepted for student in others]

    async def call_each() -> None:
        for answer in school.answers:
            for method in methods:
                method("invite", "student", answer)

    async def call_soon_each() -> None:
        for answer in school.answers:
            for method in methods:
                loop.call_soon(method, "invite", "student", answer)
            await asyncio.sleep(0)

    def rival(run: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], float]:
        return lambda: cpu_ns(lambda: loop.run_until_complete(run()), deliveries)

    row = measure(
        "answer told to a session, hub",
        told,
        deliveries,
        lambda: loop.run_until_complete(school.answer()),
        prepare=lambda: loop.run_until_complete(school.invite()),
        verify=school.verify,
        rivals={
            "plain calls": rival(call_each),
            "call_soon each": rival(call_soon_each),
        },
    )
    assert all(student.heard % len(school.answers) == 0 for student in others)
    loop.run_until_complete(school.hub.close())
    measure.figure("hub_fanout_ns_per_event", row)
