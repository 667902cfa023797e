"""A journal in memory: for tests, simulations, and as the plainest example of the contract."""

from __future__ import annotations

from collections.abc import Sequence

from pysignal.journal.contract import NotOwner


class MemoryJournal:
    """Keeps records as long as the process lives."""

    def __init__(self) -> None:
        self._records: list[bytes] = []

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        """Keep records; see `Journal.append`."""
        if expected_position != len(self._records):
            raise NotOwner(f"position {len(self._records)}, not {expected_position}")
        self._records.extend(records)

    def replay(self) -> Sequence[bytes]:
        """Return all records, in order."""
        return tuple(self._records)
