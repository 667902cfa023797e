"""A folder that is only looked at, beside the server that writes in it if need be."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from pysignal.journal import folder
from pysignal.journal.disk import Lane, Step


class ReadOnlyDisk:
    """One folder, in which nothing is changed: no lock is taken, and no file made or written.

    Another process may write meanwhile: a file may grow, get another name, or be gone.

    Args:
        path: of the folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._folder = -1

    def open(self) -> None:
        """Open the folder.

        Raises:
            OSError: there is none, or it may not be read.
        """
        self.close()
        self._folder = folder.look(self.path)

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""
        return folder.names(self._open())

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return folder.size(self._open(), name)

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return bytes of a file, fewer at its end.

        Args:
            name: of the file.
            offset: where they begin, bytes, from 0.
            size: how many, from 0.
        """
        return folder.read(self._open(), name, offset, size)

    def submit(
        self, lane: Lane, steps: Sequence[Step], done: Callable[[OSError | None], None]
    ) -> None:
        """Refuse: nothing is written here.

        Raises:
            OSError: always (EROFS).
        """
        raise OSError(errno.EROFS, "it is open for reading only; nothing was written", self.path)

    def close(self) -> None:
        """Let go of the folder."""
        if self._folder >= 0:
            os.close(self._folder)
        self._folder = -1

    def _open(self) -> int:
        if self._folder < 0:
            raise RuntimeError(f"{self.path} is not open: open it first")
        return self._folder
