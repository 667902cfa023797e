"""What a busy server has acknowledged, and whether a folder still has it."""

from __future__ import annotations

from pathlib import Path

from pysignal import Hub
from pysignal.journal.log import LogJournal

STATES = {"open": "open", "accepted": "completed", "cancelled": "cancelled"}
ENDED = {"accepted", "cancelled"}


def read(lines: list[str]) -> dict[str, str]:
    """Return what was acknowledged last of each invitation."""
    acknowledged: dict[str, str] = {}
    for line in lines:
        what, _, name = line.partition(" ")
        if what in STATES:
            acknowledged[name] = what
    return acknowledged


async def missing(folder: Path, acknowledged: dict[str, str]) -> list[str]:
    """Open a folder, and return what it has not as it was acknowledged.

    What was asked for last may have happened without an answer: open may have ended.
    """
    async with Hub(journal=LogJournal(folder)) as hub:
        hub.shard.machine.check()
        wrong = []
        for name, what in acknowledged.items():
            info = await hub.invitation(name)
            state = "nothing" if info is None else info.state
            if state != STATES[what] and (what in ENDED or state == "nothing"):
                wrong.append(f"{name}: {what} was acknowledged, and there is {state}")
        return wrong
