"""The hub: whole life cycles, a thousand in flight (see crowd.py).

The rival is what the naive engine makes of it: a dict of listeners, and one `call_soon` an event.
Where outcomes are awaited it is the tasks and the futures alone, without any invitation.
"""

from __future__ import annotations

import asyncio
from types import ModuleType
from typing import Any

import operands
import pytest
from crowd import Crowd, Party
from measure import PER_SECOND, Measure, Size, cpu_ns

from pysignal import Hub, Outcome, SignalingListener

CYCLES = 100_000

Loop = asyncio.AbstractEventLoop


@pytest.mark.sizes(1_000, 100_000)
def test_life_cycles(measure: Measure, naive: ModuleType, loop: Loop, size: Size) -> None:
    """Count whole life cycles in a second of CPU, with as many users online as the size says."""
    users = operands.names(size)
    cycles = measure.operations(CYCLES, 1000)
    stage = Stage(loop, Crowd(users, cycles))
    others = Crowd(users, cycles)
    naive_hub = NaiveHub(naive, loop)
    for user in users:
        others.parties.append(naive_hub.log_in(user, Party(others)))

    def naive_cycles() -> float:
        naive_hub.begin()
        spent_ns = cpu_ns(lambda: loop.run_until_complete(others.run()), others.cycles)
        others.verify()
        return 1e9 / spent_ns

    row = measure(
        "life cycles, hub",
        size,
        stage.crowd.cycles,
        stage.run,
        verify=stage.verify,
        rivals={"naive, call_soon": naive_cycles},
        unit=PER_SECOND,
    )
    stage.close()
    measure.figure(f"hub_cycles_per_s_{size.name}", row)


@pytest.mark.sizes(1_000)
def test_outcomes(measure: Measure, loop: Loop, size: Size) -> None:
    """The same, the inviter awaiting the outcome in a task of its own."""
    waiting = Waiting(operands.names(size), measure.operations(CYCLES, 1000))
    stage = Stage(loop, waiting)

    def tasks_alone() -> float:
        spent_ns = cpu_ns(lambda: loop.run_until_complete(waiting.tasks_alone()), waiting.cycles)
        return 1e9 / spent_ns

    row = measure(
        "life cycles, outcomes awaited, hub",
        size,
        waiting.cycles,
        stage.run,
        verify=stage.verify,
        rivals={"a task and a future each": tasks_alone},
        unit=PER_SECOND,
    )
    stage.close()
    measure.figure("hub_outcome_cycles_per_s", row)


class Stage:
    """A hub with a crowd in it, that has run once.

    Args:
        loop: where it runs.
        crowd: logged in by this, each with a listener.
    """

    def __init__(self, loop: Loop, crowd: Crowd) -> None:
        self.hub = Hub()
        self.loop = loop
        self.crowd = crowd
        self.runs = 0
        loop.run_until_complete(self.hub.open())
        loop.run_until_complete(crowd.log_in(self.hub))
        self.run()
        self.verify()

    def run(self) -> None:
        """Run all cycles."""
        self.loop.run_until_complete(self.crowd.run())

    def verify(self) -> None:
        """Check what was heard, what the hub has counted, and that nothing is left over."""
        self.runs += 1
        self.crowd.verify()
        stats = self.hub.stats()
        assert stats["invitees_accepted"] == stats["invitations"] == self.runs * self.crowd.cycles
        assert stats["open"] == stats["watches"] == 0
        assert stats["deliveries_waiting"] == stats["facts_waiting"] == 0
        self.hub.shard.machine.check()

    def close(self) -> None:
        """Close the hub."""
        self.loop.run_until_complete(self.hub.close())


class Waiting(Crowd):
    """A crowd in which each inviter awaits the outcome in a task of its own."""

    outcomes: list[Outcome]  # of the last wave
    ended = 0

    async def wave(self, number: int) -> None:
        """Run the cycles of one wave."""
        asking, answers = self.waves[number]
        parties, rung, accepted, opened = self.parties, self.rung, self.accepted, self.opened
        handles = []
        create_task = asyncio.get_running_loop().create_task
        tasks: list[asyncio.Task[Outcome]] = []
        for k, invitee, question in asking:
            invitation = await parties[k].session.signaling.invite(invitee, question)
            handles.append(invitation)
            tasks.append(create_task(invitation.outcome()))
        opened.extend(map(str.__str__, handles))
        while len(rung) < self.in_flight:  # noqa: ASYNC110 - it delivers in turns
            await asyncio.sleep(0)
        for (session, invite_id), answer in zip(rung, answers, strict=True):
            await session.signaling.accept(invite_id, answer)
        rung.clear()
        self.outcomes = [await task for task in tasks]
        self.ended += len(tasks)
        while len(accepted) < len(opened):  # noqa: ASYNC110 - it delivers in turns
            await asyncio.sleep(0)

    async def tasks_alone(self) -> None:
        """Await as many futures, each in a task of its own, without any invitation."""
        loop = asyncio.get_running_loop()

        async def outcome(future: asyncio.Future[int]) -> int:
            return await future

        for _ in self.waves:
            futures = [loop.create_future() for _ in range(self.in_flight)]
            tasks = [loop.create_task(outcome(future)) for future in futures]
            await asyncio.sleep(0)
            for number, future in enumerate(futures):
                future.set_result(number)
            assert [await task for task in tasks] == list(range(self.in_flight))

    def verify(self) -> None:
        """Check also that each outcome came, and what those of the last wave say."""
        assert self.ended == self.cycles
        self.ended = 0
        assert [one.invite_id for one in self.outcomes] == self.opened[-self.in_flight :]
        assert {(one.state, one.status) for one in self.outcomes} == {("completed", "accepted")}
        assert sorted(one.data for one in self.outcomes) == sorted(self.waves[-1][1])
        super().verify()


# -- rivals ----------------------------------------------------------------------------------------


class NaiveSession:
    """A session of the naive hub."""

    def __init__(self, hub: NaiveHub, user_id: str) -> None:
        self.hub, self.user_id, self.signaling = hub, user_id, self

    async def invite(self, invitee: str, data: str) -> str:
        """Invite one user."""
        hub = self.hub
        invite_id: str = hub.engine.invite(hub.loop.time(), self.user_id, [invitee], data)
        return invite_id

    async def accept(self, invite_id: str, data: str) -> None:
        """Accept."""
        self.hub.engine.accept(self.hub.loop.time(), invite_id, self.user_id, data)


class NaiveHub:
    """What most people would put around the naive engine."""

    engine: Any

    def __init__(self, naive: ModuleType, loop: Loop) -> None:
        self.naive = naive
        self.loop = loop
        self.listeners: dict[str, SignalingListener] = {}
        self.begin()

    def begin(self) -> None:
        """Begin with an empty engine, as it keeps every deadline that it was told of."""
        self.engine = self.naive.Engine(self.tell)

    def log_in(self, user_id: str, party: Party) -> Party:
        """Log a user in."""
        self.listeners[user_id] = party
        party.session = NaiveSession(self, user_id)
        return party

    def tell(self, kind: str, user: str, invite_id: str, other: str, data: str) -> None:
        """Call a listener back, soon."""
        listener = self.listeners[user]
        if kind == "new":
            self.loop.call_soon(
                listener.on_receive_new_invitation, invite_id, other, "", [user], data
            )
        else:
            self.loop.call_soon(listener.on_invitee_accepted, invite_id, other, data)
