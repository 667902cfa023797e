"""A journal in memory: for tests, simulations, and as the plainest example of the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from pysignal.journal.contract import Journal, NotOwner


class MemoryJournal(Journal):
    """Keeps records as long as the process lives.

    Args:
        snapshot_every: records after which a snapshot is wanted; None for never.
    """

    def __init__(self, snapshot_every: int | None = None) -> None:
        self._snapshot_every = snapshot_every
        self._base = 0
        self._pieces: tuple[bytes, ...] = ()
        self._records: list[bytes] = []

    @property
    def position(self) -> int:
        """How many records were ever appended."""
        return self._base + len(self._records)

    @property
    def base(self) -> int:
        """How many of them its snapshot stands for."""
        return self._base

    @property
    def wants_snapshot(self) -> bool:
        """Whether so many records were appended since the last snapshot."""
        return self._snapshot_every is not None and len(self._records) >= self._snapshot_every

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        """Keep records; see `Journal.append`."""
        if expected_position != self.position:
            raise NotOwner(f"position {self.position}, not {expected_position}")
        self._records.extend(records)

    def snapshot(self) -> Sequence[bytes]:
        """Return the pieces of the last snapshot, in order."""
        return self._pieces

    def replay(self) -> Sequence[bytes]:
        """Return all records after the snapshot, in order."""
        return tuple(self._records)

    async def save(self, position: int, pieces: AsyncIterator[bytes]) -> None:
        """Keep a snapshot in place of the records that it stands for; see `Journal.save`."""
        kept = tuple([piece async for piece in pieces])
        del self._records[: position - self._base]
        self._base, self._pieces = position, kept
