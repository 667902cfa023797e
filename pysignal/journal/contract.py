"""What a journal promises, and how it refuses (see `pysignal.journal`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class NotOwner(Exception):
    """An append was refused: somebody else appends to this journal now.

    Whoever hears it has to throw its state away and read the journal again.
    """


class Journal(Protocol):
    """Where records go, in order, each once."""

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        """Make records durable; returns when they are.

        One that is still under way 30 s after its hub began to close is cancelled: it has failed.

        Args:
            records: opaque bytes, in commit order, at least one.
            expected_position: how many records the caller believes to be in the journal.

        Raises:
            NotOwner: there are more or fewer; nothing was appended.
            OSError: the journal failed; whether anything was appended is unknown, and no later
                append may be tried.
        """

    def replay(self) -> Sequence[bytes]:
        """Return all durable records, in order."""
