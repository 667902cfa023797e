"""Users who invite each other, a wave at a time: the driver of the benchmarks of the hub.

A life cycle is: `invite` is awaited, the listener of the invitee hears of it and keeps the ID,
`accept` is awaited with the ID that it heard, the listener of the inviter hears that. One coroutine
drives all that are in flight, as plainly as a user would write it, so what is counted is the hub
and the listeners, not tasks of the benchmark.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import operands

from pysignal import Hub, SignalingListener

IN_FLIGHT = 1000


class Party(SignalingListener):
    """A user who notes what they hear.

    Attributes:
        session: theirs; has `signaling`.
        told: how many answers they have heard.
    """

    session: Any

    def __init__(self, crowd: Crowd) -> None:
        self.rung = crowd.rung
        self.accepted = crowd.accepted
        self.told = 0

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        """Hear of a new invitation."""
        self.rung.append((self.session, invite_id))

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        """Hear that an invitee accepted."""
        self.accepted.append(invite_id)
        self.told += 1


class Crowd:
    """Users who invite each other, `in_flight` at once.

    In each wave everybody invites the one who stands a certain way off, another way in each wave:
    so no pair meets twice.

    Args:
        users: their names.
        cycles: life cycles of one run.
        in_flight: of one wave; no more than users.
    """

    def __init__(self, users: Sequence[str], cycles: int, in_flight: int = IN_FLIGHT) -> None:
        self.in_flight = min(in_flight, len(users))
        self.cycles = cycles - cycles % self.in_flight
        self.users = users
        self.parties: list[Party] = []
        self.rung: list[tuple[Any, str]] = []
        self.opened: list[str] = []
        self.accepted: list[str] = []
        # Each wave: who invites, by index, whom, by name, with which text; then the answers.
        self.waves: list[tuple[tuple[tuple[int, str, str], ...], tuple[str, ...]]] = []
        questions = operands.texts(self.cycles, "invite")
        answers = operands.texts(self.cycles, "accept")
        pick = random.Random(6)
        shifts = pick.sample(range(1, len(users)), self.cycles // self.in_flight)
        for number, shift in enumerate(shifts):
            wave = slice(number * self.in_flight, (number + 1) * self.in_flight)
            inviters = pick.sample(range(len(users)), self.in_flight)
            invitees = [users[(k + shift) % len(users)] for k in inviters]
            asking = tuple(zip(inviters, invitees, questions[wave], strict=True))
            self.waves.append((asking, answers[wave]))
        self.asked = Counter(k for asking, _ in self.waves for k, _, _ in asking)

    async def log_in(self, hub: Hub) -> None:
        """Bring everybody online in a hub, each with a listener."""
        for user in self.users:
            party = Party(self)
            party.session = await hub.login(user, listener=party)
            self.parties.append(party)

    async def run(self) -> None:
        """Run all cycles, a wave at a time."""
        for number in range(len(self.waves)):
            await self.wave(number)

    async def wave(self, number: int) -> None:
        """Run the cycles of one wave."""
        asking, answers = self.waves[number]
        parties, rung, accepted, opened = self.parties, self.rung, self.accepted, self.opened
        handles = []
        for k, invitee, question in asking:
            handles.append(await parties[k].session.signaling.invite(invitee, question))
        opened.extend(map(str.__str__, handles))  # a server keeps IDs, and lets handles go
        while len(rung) < self.in_flight:  # noqa: ASYNC110 - it delivers in turns
            await asyncio.sleep(0)
        for (session, invite_id), answer in zip(rung, answers, strict=True):
            await session.signaling.accept(invite_id, answer)
        rung.clear()
        while len(accepted) < len(opened):  # noqa: ASYNC110 - it delivers in turns
            await asyncio.sleep(0)

    def verify(self) -> None:
        """Check that each invitation of a run was accepted, once, and its inviter told."""
        assert len(set(self.opened)) == len(self.opened) == self.cycles
        assert sorted(self.accepted) == sorted(self.opened)
        assert [party.told for party in self.parties] == [
            self.asked[k] for k in range(len(self.parties))
        ]
        self.forget()

    def verify_wave(self) -> None:
        """Check the same after a single wave, and begin anew; too little work to be noticed."""
        assert sorted(self.accepted) == sorted(self.opened)
        assert len(set(self.opened)) == self.in_flight
        self.accepted.clear()
        self.opened.clear()

    def forget(self) -> None:
        """Begin anew, with nothing heard."""
        self.opened.clear()
        self.accepted.clear()
        for party in self.parties:
            party.told = 0
