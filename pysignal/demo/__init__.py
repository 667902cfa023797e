"""The main job, as a show: real invitations on an embedded hub, each outcome checked.

Three acts on one hub, on the real clock, with the payloads that applications send (SPEC §10): a
video call told step by step, a class in which all raise their hands, and a call server's rush. What
must come of them is known before they begin. In the end everything that was heard is compared with
that, and a demo that is not entirely right says what was wrong.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pysignal import Clock, Hub, Limits
from pysignal.demo.call import VideoCall
from pysignal.demo.classroom import Lesson
from pysignal.demo.figures import EngineTime
from pysignal.demo.plot import draw
from pysignal.demo.rush import Rush
from pysignal.demo.stage import Stage
from pysignal.demo.stoppable import Stoppable
from pysignal.demo.view import View

# The notice of a hang-up is answered by nobody: in a show that lasts seconds, so does its lifetime.
LIMITS: Final = Limits(lifetime_s=2.0)
_STATUSES: Final = ("accepted", "rejected", "cancelled", "timed_out")

# A status, how many invitees have it, and how many had to.
Row = tuple[str, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What is played.

    Attributes:
        invitations: of the rush, 1 to 1,000,000.
        students: of the class, 1 to 10,000.
        seed: the same seed gives the same script.
        plain: without colours and live display.
        out: the folder for the picture; it is made where there is none.
    """

    invitations: int = 10_000
    students: int = 1_000
    seed: int = 1
    plain: bool = False
    out: Path = field(default_factory=Path)


def run(settings: Settings) -> int:
    """Play everything, tell the figures and what was wrong, and return the exit code.

    Returns:
        0 if every check holds, else 1.

    Raises:
        KeyboardInterrupt: it was interrupted.
        Terminated: it was stopped by SIGTERM.
    """
    with Stoppable() as stoppable:
        view = View(settings.plain)
        stage, rows = stoppable.run(_play(settings, view))
        figures, checks = stage.figures, stage.checks
        figures.about = _about(settings)
        figures.outcomes = {name: found for name, found, _ in rows[:-1]}
        view.outcomes(rows)
        view.figures(figures)
        view.note(draw(figures, settings.out))
        view.verdict(checks)
        return 1 if checks.failures else 0


async def _play(settings: Settings, view: View) -> tuple[Stage, list[Row]]:
    clock = Clock()
    async with Hub(clock=clock, limits=LIMITS) as hub:
        stage = Stage(hub, clock, EngineTime(clock), view, settings.seed)
        call = VideoCall(stage)
        await call.play()
        await Lesson(stage, settings.students).play()
        await call.end()
        stage.check_machine("call and class")
        await Rush(stage, settings.invitations).play()
        return stage, _check_whole(stage)


def _about(settings: Settings) -> str:
    """What was played, and on what."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return (
        f"{settings.invitations:,} invitations, a class of {settings.students:,}, seed "
        f"{settings.seed}; Python {platform.python_version()}, {cores} core{'s'[: cores > 1]}"
    )


def _check_whole(stage: Stage) -> list[Row]:
    """Check the hub's own counts against the scripts of all acts; returns them side by side."""
    checks, stats = stage.checks, stage.hub.stats()
    checks.equal("in all: invitations created", stats["invitations"], stage.opened)
    rows = [
        (name.replace("_", " "), stats[f"invitees_{name}"], stage.statuses[name])
        for name in _STATUSES
    ]
    for name, found, expected in rows:
        checks.equal(f"in all: invitees {name}", found, expected)
    found, expected = sum(row[1] for row in rows), stage.statuses.total()
    checks.equal("in all: invitees created is the sum over the statuses", found, expected)
    for name in ("open", "invitees_pending", "timers", "deliveries_waiting", "watches"):
        checks.equal(f"in all: {name.replace('_', ' ')} at the end", stats[name], 0)
    stage.check_machine("in all")
    return [*rows, ("in all", found, expected)]
