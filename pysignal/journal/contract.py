"""What a journal promises, and how it refuses (see `pysignal.journal`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence


class JournalError(Exception):
    """A journal cannot be used as it is; the message names the place and says what to do."""


class NotOwner(JournalError):
    """An append was refused: somebody else appends to this journal now.

    Whoever hears it has to throw its state away and read the journal again.
    """


class JournalInUse(JournalError):
    """Another process, or another hub of this one, has the journal open."""


class JournalDamaged(JournalError):
    """What was durable cannot be read any more, or is not what was written.

    Attributes:
        file: the name of the file.
        offset: where in it, bytes.
    """

    def __init__(self, file: str, offset: int, problem: str, remedy: str) -> None:
        super().__init__(f"{file}, byte {offset}: {problem}; {remedy}")
        self.file = file
        self.offset = offset


class UnknownVersion(JournalError, ValueError):
    """The journal is of a version that this program does not read, or none of pysignal at all."""


class Journal(ABC):
    """Where records go, in order, each once.

    A hub opens it, reads the last snapshot and the records since, and then appends, with one append
    under way at a time. Only `position`, `replay` and `append` need be implemented; a journal that
    takes no snapshots keeps all its records.

    Attributes:
        when_settled: set by who appends; a journal may call it on the event loop as soon as the
            future that an append gave is done, to spare its callbacks a turn of the loop.
    """

    when_settled: Callable[[], None] | None = None

    @property
    @abstractmethod
    def position(self) -> int:
        """How many records were ever appended; known once it is open."""

    @property
    def base(self) -> int:
        """How many of them its snapshot stands for: `replay` begins after those."""
        return 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether the records since the last snapshot take so much room that one is worth it."""
        return False

    @property
    def gather_s(self) -> float:
        """How long an append is put off, seconds, for more to join it while records come fast."""
        return 0.0

    @property
    def is_full(self) -> bool:
        """Whether there is no room but for what ends what is open."""
        return False

    async def open(self) -> None:  # noqa: B027 - there may be nothing to do
        """Take the journal, and find out what is in it; for good, until `close`.

        Raises:
            JournalInUse, JournalDamaged, UnknownVersion: as they say; nothing was changed.
            OSError: it cannot be read or written.
        """

    def snapshot(self) -> Iterable[bytes]:
        """Return the pieces of the last snapshot, in order; none where there is no snapshot."""
        return ()

    @abstractmethod
    def replay(self) -> Iterable[bytes]:
        """Return all durable records after the snapshot, in order."""

    @abstractmethod
    def append(self, records: Sequence[bytes], expected_position: int) -> Awaitable[None]:
        """Make records durable: all or, after a crash, perhaps none of them; it is awaited.

        One that is still under way 30 s after its hub began to close is cancelled: it has failed.

        Args:
            records: opaque bytes, in commit order, at least one.
            expected_position: how many records the caller believes to be in the journal.

        Raises:
            NotOwner: there are more or fewer; nothing was appended.
            OSError: the journal failed; whether anything was appended is unknown, and no later
                append may be tried.
        """

    async def save(self, position: int, pieces: AsyncIterator[bytes]) -> None:
        """Write a snapshot, while appends go on; what it stands for goes when it is durable.

        Args:
            position: how many records it stands for; those after it are kept.
            pieces: of the snapshot, at least one. It raises where the snapshot came to nothing, and
                ends only when every record that a piece rests on is durable.

        Raises:
            OSError: it could not be written; the journal is as it was before, and appends go on.
        """
        raise NotImplementedError("this journal takes no snapshots")

    def keep_free(self, size: int) -> None:  # noqa: B027 - likewise
        """Keep room for the records by which what is open will end.

        Args:
            size: bytes of records that must find room even where `is_full`.
        """

    async def close(self) -> None:  # noqa: B027 - likewise
        """Let go of the journal; no append is under way."""
