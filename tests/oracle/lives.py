"""What a hub leaves behind when its process dies: journals that can crash, and what they had.

Both sorts remember every record that was handed to them, so that what a recovery makes of snapshots
and a tail of records can be compared with a replay of them all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final, Protocol

from journal.simulated_disk import SimulatedDisk

from pysignal import Hub
from pysignal.engine.machine import Machine
from pysignal.groups.decisions import Groups
from pysignal.journal import LogJournal, MemoryJournal
from pysignal.recovery import Recovery
from pysignal.requests import Requests

# Sizes as small as can be, so that short histories switch segments and take snapshots.
SEGMENT_BYTES: Final = 4096
SNAPSHOT_BYTES: Final = 2048


class Crashing(Protocol):
    """A journal that can be left behind.

    Attributes:
        history: every record that was handed in, from the first on.
    """

    history: list[bytes]

    def crash(self, *, power: bool) -> Any:
        """Return the journal as it is found after a crash at this moment; this one goes on.

        Args:
            power: whether all that was not synced may be lost, or just the process has died.
        """


class CrashingMemory(MemoryJournal):
    """A journal in memory: what was appended is there."""

    def __init__(self, snapshot_every: int | None) -> None:
        super().__init__(snapshot_every)
        self.history: list[bytes] = []

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        """Keep records; see `Journal.append`."""
        await super().append(records, expected_position)
        self.history += records

    def crash(self, *, power: bool) -> CrashingMemory:
        other = CrashingMemory(self._snapshot_every)
        other._base, other._pieces = self._base, self._pieces
        other._records, other.history = list(self._records), list(self.history)
        return other


class CrashingLog(LogJournal):
    """A log on a simulated disk, in small segments and with frequent snapshots."""

    def __init__(self, disk: SimulatedDisk, history: list[bytes]) -> None:
        super().__init__("", segment_bytes=SEGMENT_BYTES, snapshot_bytes=SNAPSHOT_BYTES, disk=disk)
        self._simulated = disk
        self.history = history

    @property
    def gather_s(self) -> float:
        """Nothing is put off, as that would depend on how fast the test runs."""
        return 0.0

    async def open(self) -> None:
        await super().open()
        del self.history[self.position :]

    def append(self, records: Sequence[bytes], expected_position: int) -> Any:
        """Make records durable; see `Journal.append`."""
        done = super().append(records, expected_position)
        self.history += records
        return done

    def crash(self, *, power: bool) -> CrashingLog:
        disk = self._simulated.cut_power() if power else self._simulated.kill()
        return CrashingLog(disk, list(self.history))


def _on_disk(seed: int) -> CrashingLog:
    return CrashingLog(SimulatedDisk(Random(seed)), [])


# How a journal of each sort is made, from a seed.
JOURNALS: Final[dict[str, Callable[[int], Any]]] = {
    "memory": lambda seed: CrashingMemory(None),
    "memory, a snapshot whenever there is something": lambda seed: CrashingMemory(1),
    "memory, a snapshot every 7 records": lambda seed: CrashingMemory(7),
    "disk": _on_disk,
}


async def replayed(hub: Hub, history: list[bytes]) -> tuple[Machine, Groups]:
    """Replay records from the first one on, into a machine and groups with the limits of a hub."""
    journal = MemoryJournal()
    await journal.append(history, 0)
    groups = Groups(hub.limits.group_members)
    requests = Requests(lambda: hub.now_ms, round(hub.limits.requests_keep_s * 1000), 1000, True)
    return await Recovery(hub._new_machine, 0, groups, requests).read(journal), groups
