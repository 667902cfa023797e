"""A journal whose appends wait until the test lets them go."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from pysignal.journal import MemoryJournal


class SlowJournal(MemoryJournal):
    """Keeps records in memory, each append when `release` is called.

    Attributes:
        appends: the sizes of the appends that were begun.
        under_way: appends begun and not finished; never more than one.
        is_open: whether appends pass without waiting.
        error: raised by the next appends instead of keeping anything.
    """

    def __init__(self) -> None:
        super().__init__()
        self.appends: list[int] = []
        self.under_way = 0
        self.is_open = True
        self.error: BaseException | None = None
        self._door: asyncio.Event | None = None

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        assert records, "an append of nothing"
        assert self.under_way == 0, "one append is under way at a time"
        self.under_way += 1
        self.appends.append(len(records))
        try:
            if not self.is_open:
                self._door = asyncio.Event()
                await self._door.wait()
            if self.error is not None:
                raise self.error
            await super().append(records, expected_position)
        finally:
            self.under_way -= 1

    def shut(self) -> None:
        """Let appends wait from now on."""
        self.is_open = False

    def release(self, *, all_later: bool = False) -> None:
        """Finish the append under way, and those to come as well if told so."""
        self.is_open = self.is_open or all_later
        if self._door is not None:
            self._door.set()
