"""What the acts of the demo share: the hub, the view, and what was measured and checked."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from pysignal import Clock, Hub
from pysignal.clock import stopwatch_ns
from pysignal.demo.figures import Checks, EngineTime, Figures
from pysignal.demo.view import View

# Looks at the hub, one after another, that have to find it idle.
_QUIET_LOOKS: Final = 3
_LOOK_S: Final = 0.005


@dataclass(slots=True)
class Stage:
    """Where an act is played.

    Attributes:
        hub: open.
        clock: the hub's.
        engine_time: the clock's, finer.
        view: tells what goes on.
        seed: of everything that is left to chance.
        checks: what was checked so far.
        figures: what was measured so far.
        opened: invitations opened so far, by the scripts.
        statuses: how many invitees have ended with each status so far, by the scripts.
    """

    hub: Hub
    clock: Clock
    engine_time: EngineTime
    view: View
    seed: int
    checks: Checks = field(default_factory=Checks)
    figures: Figures = field(default_factory=Figures)
    opened: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    async def until_idle(self, limit_s: float) -> None:
        """Wait until the hub has delivered everything and carried out every command.

        Args:
            limit_s: wait no longer; what is missing then, the checks will find.
        """
        until_ns = stopwatch_ns() + round(limit_s * 1e9)
        looks = 0
        while looks < _QUIET_LOOKS and stopwatch_ns() < until_ns:
            await asyncio.sleep(_LOOK_S)
            stats = self.hub.stats()
            busy = stats["deliveries_waiting"] or stats["commands_waiting"]
            looks = 0 if busy else looks + 1

    def check_machine(self, act: str) -> None:
        """Check every internal link and count of the core."""
        try:
            self.hub.shard.machine.check()
        except AssertionError as error:
            self.checks.that(f"{act}: the core is consistent", False, str(error))
        else:
            self.checks.that(f"{act}: the core is consistent", True)
