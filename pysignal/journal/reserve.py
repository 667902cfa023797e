"""The room ahead of a log: segments of zeros, made before they are needed.

Making one takes the disk a while, so it happens behind the commits, one at a time. Where it fails,
the disk is full, or as good as that: no more is to be begun that needs room later. It is tried
again after a while, and whenever something was removed.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Final

from pysignal.journal.disk import Create, Disk, Lane, Remove, Sync, SyncFolder
from pysignal.journal.files import spare_name

log = logging.getLogger("pysignal")

# How long after it failed room is asked for again, seconds.
RETRY_S: Final = 1.0


class Reserve:
    """Keeps spare segments ready.

    Args:
        disk: where.
        size: of a segment, bytes.

    Attributes:
        is_full: whether one could not be made, and the reserve is not whole since.
    """

    def __init__(self, disk: Disk, size: int) -> None:
        self.is_full = False
        self._disk = disk
        self._size = size
        self._ready: list[str] = []
        self._named = 0
        self._wanted = 1
        self._started = False
        self._busy = False
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to make spares; the disk is open."""
        self._started = True
        self.prepare()

    def stop(self) -> None:
        """Begin nothing more."""
        self._started = False
        self._ready.clear()
        self._busy = self.is_full = False
        self._forget_retry()

    def name(self) -> str:
        """Return a name that no spare has had."""
        self._named += 1
        return spare_name(self._named)

    def take(self) -> str | None:
        """Return the name of a spare that is used up now; None where none is ready."""
        return self._ready.pop() if self._ready else None

    def keep(self, count: int) -> None:
        """Keep so many spares ready from now on."""
        self._wanted = count
        self.prepare()

    def try_again(self) -> None:
        """Go on where making one had failed: there may be room now."""
        self._forget_retry()
        self.prepare()

    def prepare(self) -> None:
        """Make the next spare that is missing, or give back one that is not needed any more."""
        if self._busy or self._retry is not None or not self._started:
            return
        missing = self._wanted - len(self._ready)
        if missing <= 0 and self.is_full:  # there is room, or less is wanted
            self.is_full = False
            log.info("journal: there is room again")
        if missing > 0:
            name = self.name()
            self._disk.submit(
                Lane.BEHIND,
                [Create(name, self._size), Sync(name), SyncFolder()],
                partial(self._made, name),
            )
            self._busy = True
        elif missing < -1:
            self._disk.submit(Lane.BEHIND, [Remove(self._ready.pop())], self._given_back)
            self._busy = True

    def _made(self, name: str, error: OSError | None) -> None:
        if not self._started:
            return  # it is removed when the journal is opened
        self._busy = False
        if error is not None:
            if not self.is_full:
                log.warning("journal: no room ahead, only what is open can go on: %s", error)
            self.is_full = True
            self._disk.submit(Lane.BEHIND, [Remove(name)], disregard)
            self._retry = asyncio.get_running_loop().call_later(RETRY_S, self.try_again)
            return
        self._ready.append(name)
        self.prepare()

    def _given_back(self, error: OSError | None) -> None:
        self._busy = False
        if error is None:
            self.prepare()
        else:
            log.warning("journal: a spare file stays: %s", error)

    def _forget_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None


def disregard(error: OSError | None) -> None:
    """Note what nothing rests on: what stays is put right when the journal is opened."""
    if error is not None and not isinstance(error, FileNotFoundError):
        log.warning("journal: %s", error)
