"""What stands in a network world for tokens and for a disk."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from simulation.loop import SimulationLoop

from pysignal import TokenExpired
from pysignal.journal import MemoryJournal
from pysignal.journal.entries import MACHINE
from pysignal.server.auth import Identity

# Engine time at the beginning of a world, ms since the epoch.
START_MS = 1_700_000_000_000


class Tokens:
    """Gives tokens out, and takes them: who it is, and until when."""

    def __init__(self, loop: SimulationLoop) -> None:
        self._loop = loop

    def source(self, user: str, rng: random.Random) -> Any:
        """What a client is given: a token, or a callable that has a fresh one each time."""
        kind = rng.choice(["plain", "plain", "fresh", "short", "short lived"])
        lifetimes = {"plain": [0], "fresh": [0, 5, 30], "short": [3, 20], "short lived": [5, 90]}

        def fresh() -> str:
            life_s = rng.choice(lifetimes[kind])
            ends_ms = START_MS + self._loop.now_ns // 1_000_000 + life_s * 1000 if life_s else 0
            return f"{user} {ends_ms}"

        return fresh if kind in ("fresh", "short") else fresh()

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        """Say who somebody is."""
        user, ends = token.split()
        assert user == user_id
        if 0 < int(ends) <= now_ms:
            raise TokenExpired("the token has expired")
        return Identity(user, int(ends) or None)


class CrashingJournal(MemoryJournal):
    """Keeps records after a while; of what is under way in a crash it keeps all, or nothing.

    Attributes:
        decisions: how many commits of the machine are durable.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng.choice([None, None, 40]))
        self.decisions = 0
        self._rng = rng
        self._under_way: Sequence[bytes] = ()

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        """Keep records."""
        self._under_way = records
        await asyncio.sleep(self._rng.choice([0, 0, 0.001, 0.02, 0.2]))
        await super().append(records, expected_position)
        self._under_way = ()
        self.decisions += sum(record[:1] == MACHINE for record in records)

    def crash(self) -> None:
        """Lose the process that writes."""
        records, self._under_way = self._under_way, ()
        if self._rng.random() < 0.5:
            self._records.extend(records)
            self.decisions += sum(record[:1] == MACHINE for record in records)
