"""What a log needs of a disk: one folder of files, and steps that are carried out in order.

The log decides what is written where and in which order; a disk does just that, in a thread of its
own, and tells when it is done. `native_disk` does it with system calls. Another one may stand in
its place that forgets what was not synced, or fails at a step of its choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple, Protocol


class Write(NamedTuple):
    """Write bytes into a file that exists; it grows where it is too short."""

    name: str
    offset: int
    data: bytes


class Sync(NamedTuple):
    """Wait until all that was written to a file is durable, and its size."""

    name: str


class Create(NamedTuple):
    """Make a file of zeros that take their place on the disk; it replaces an older one."""

    name: str
    size: int


class Truncate(NamedTuple):
    """Cut a file."""

    name: str
    size: int


class Rename(NamedTuple):
    """Give a file another name, in place of the file that had it."""

    name: str
    to: str


class Remove(NamedTuple):
    """Remove a file."""

    name: str


class SyncFolder(NamedTuple):
    """Wait until which files there are, and their names, is durable."""


Step = Write | Sync | Create | Truncate | Rename | Remove | SyncFolder


class Lane(IntEnum):
    """Jobs of one lane are carried out one after the other; those of two lanes side by side."""

    COMMITS = 0
    BEHIND = 1  # what nobody waits for: room ahead, snapshots, old files


class Disk(Protocol):
    """One folder."""

    def open(self) -> None:
        """Take the folder, which is made where there is none; begin to carry out jobs.

        Raises:
            JournalInUse: somebody else has it.
            OSError: it cannot be used, or others than its owner may read it.
        """

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return bytes of a file, fewer at its end; it may hold the caller up."""

    def submit(
        self, lane: Lane, steps: Sequence[Step], done: Callable[[OSError | None], None]
    ) -> None:
        """Carry out steps in order, in the background.

        The first that fails ends the job: no later step is begun.

        Args:
            lane: jobs of the same lane come one after the other.
            steps: at least one.
            done: called on the event loop, with what went wrong.
        """

    def close(self) -> None:
        """Carry out what was submitted, call nobody back any more, and let go of the folder."""
