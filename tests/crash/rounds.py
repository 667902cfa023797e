"""Histories: one server after the other on the same folder, each but the last killed."""

from __future__ import annotations

import os
import select
import signal
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import NamedTuple

import orjson

from crash.judge import Judge
from crash.nursery import Nursery
from crash.server import Plan

ROUNDS = 10
PATIENCE_S = 30.0

# Of what has ended, so many are looked for again.
ENDED_AGAIN = 100


class Aim(NamedTuple):
    """When a server is killed: so long after the line of this name, the count-th of them."""

    line: bytes
    count: int
    delay_s: float


@dataclass
class Tally:
    """What was met, so that a run proves that it has met it.

    Attributes:
        rounds: servers.
        opening: killed before they were open.
        showing: killed before they had shown all.
        saving: killed in a snapshot.
        snapshots: began from a snapshot.
        answers: acknowledged operations.
        lost: what was asked and not answered.
        rings: callbacks that ring.
    """

    rounds: int = 0
    opening: int = 0
    showing: int = 0
    saving: int = 0
    snapshots: int = 0
    answers: int = 0
    lost: int = 0
    rings: int = 0

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


@dataclass
class History:
    """One seed's worth of servers.

    Args:
        seed: of what people do, and when servers are killed.
        rounds: how many servers, with the one at the end that is left alone.
        bug: the name of a planted one, "" for none.
    """

    seed: int
    rounds: int = ROUNDS
    bug: str = ""
    tally: Tally = field(default_factory=Tally)

    def play(self, nursery: Nursery, home: Path) -> Tally:
        """Let all servers live and die.

        Args:
            nursery: forks them.
            home: an empty folder.

        Raises:
            AssertionError: a promise was broken.
        """
        self._rng = Random(self.seed)
        self._home = home
        self._keep_s = self._rng.choice((0.3, 3600.0))
        self._shift_ms = 0
        self._judge = Judge(round(self._keep_s * 1000))
        for number in range(self.rounds):
            try:
                self._round(nursery, number)
            except AssertionError as error:
                raise AssertionError(
                    f"python -m crash --rounds {self.rounds} --seed {self.seed}, server "
                    f"{number}: {error}"
                ) from error
        self.tally.rings = self._judge.rings
        self.tally.lost = sum(ask.outcome is None for ask in self._judge.asks.values())
        self.tally.answers = len(self._judge.asks) - self.tally.lost
        return self.tally

    def _round(self, nursery: Nursery, number: int) -> None:
        plan = self._plan(number)
        path = self._home / "plan.json"
        path.write_bytes(orjson.dumps(asdict(plan)))
        is_last = number + 1 == self.rounds
        self._judge.begin(plan.calls)
        child = nursery.fork(path)
        told, status = b"", 0
        try:
            told = watch(child.pipe, child.pid, None if is_last else self._aim())
        finally:
            os.close(child.pipe)
            status = nursery.reap()
        *lines, scrap = told.split(b"\n")
        for line in lines:
            self._judge.hear(orjson.loads(line))
        if is_last:
            assert (status, scrap) == (0, b""), f"the server ended with {status}"
        self._count(told)

    def _count(self, told: bytes) -> None:
        tally = self.tally
        tally.rounds += 1
        tally.opening += b'["up"' not in told
        tally.showing += b'["up"' in told and b'["shown"' not in told
        tally.saving += told.count(b'["saving"') > told.count(b'["saved"')
        tally.snapshots += b"true]" in told.partition(b'["up"')[2].partition(b"\n")[0]

    def _plan(self, number: int) -> Plan:
        rng, judge = self._rng, self._judge
        if rng.random() < 0.2:  # the wall clock was set
            self._shift_ms += rng.choice((-3_600_000, -5000, 500, 5000))
        calls = [call.invite_id for call in judge.calls.values() if call.ended is None]
        ended = [call.invite_id for call in judge.calls.values() if call.ended is not None]
        calls += rng.sample(ended, min(len(ended), ENDED_AGAIN))
        asked = [ask for ask in judge.asks.values() if ask.details.get("request_id")]
        again = [ask for ask in asked if ask.outcome is None][-5:]
        again += rng.sample(asked, min(len(asked), 5))
        return Plan(
            folder=str(self._home / "journal"),
            seed=f"{self.seed}.{number}",
            first=max(judge.asks, default=0) + 1,
            calls=calls,
            again=[(ask.number, ask.op, ask.user, ask.details) for ask in again],
            shift_ms=self._shift_ms,
            segment_bytes=rng.choice((4096, 8192, 16384)),
            snapshot_bytes=rng.choice((4096, 16384, 65536)),
            keep_s=self._keep_s,
            run_s=0.3 if number + 1 == self.rounds else PATIENCE_S,
            bug=self.bug,
        )

    def _aim(self) -> Aim:
        rng = self._rng
        choice = rng.random()
        if choice < 0.25:
            return Aim(b'["began"', 1, rng.uniform(0, 0.006))
        if choice < 0.35:
            return Aim(b'["up"', 1, rng.uniform(0, 0.01))
        if choice < 0.6:
            return Aim(b'["saving"', rng.randint(1, 3), rng.uniform(0, 0.003))
        return Aim(b'["shown"', 1, rng.uniform(0, 0.25))


def watch(pipe: int, pid: int, aim: Aim | None) -> bytes:
    """Return all that a server tells until it is killed, or ends where there is no aim."""
    told = bytearray()
    began_s = time.monotonic()
    # Where the line never comes, it is killed all the same.
    kill_s = began_s + (PATIENCE_S if aim is None else 1.0)
    is_aimed = False
    while True:
        left_s = kill_s - time.monotonic()
        if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
            os.kill(pid, signal.SIGKILL)
            break
        data = os.read(pipe, 1 << 16)
        if not data:
            break
        told += data
        if aim is not None and not is_aimed and told.count(aim.line) >= aim.count:
            is_aimed, kill_s = True, time.monotonic() + aim.delay_s
    while data := os.read(pipe, 1 << 16):
        told += data
    return bytes(told)


def play(rounds: int, seed: int, bug: str = "") -> Tally:
    """Play histories of seeds from this one on, until there were so many servers."""
    tally = Tally()
    with Nursery() as nursery:
        while tally.rounds < rounds:
            count = min(ROUNDS, rounds - tally.rounds)
            with tempfile.TemporaryDirectory(prefix="crash-") as home:
                tally.add(History(seed, count, bug).play(nursery, Path(home)))
            seed += 1
    return tally
