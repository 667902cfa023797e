"""A log in a folder: what was appended is durable, on one machine, with no service to install.

Records go into segments, files of a fixed size whose room was taken on the disk beforehand, so that
a commit is one write and one sync, and the file system has nothing of its own to write. When one is
full, a spare takes its place: the head of the new segment and the commit are written into the spare
and synced before it gets its name, so that a segment never lacks its head. The old one is cut to
its used size, which says that there is a next one. docs/adr/0009-the-log.md has the reasons.

Spares are also the reserve by which what is open can end when the disk is full. `is_full` says that
the reserve could not be made whole; until it is used up, appends go on.

After a write or a sync failed, nobody knows what is on the disk: nothing is appended any more, and
the sync is not tried again, as a later one would succeed without having written what the first one
lost. For the same reason `open` writes the last commit that it finds once more before it relies on
it: it may be in memory only, left there by a process whose sync failed.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from os import PathLike, fspath
from typing import Final, NamedTuple, TypeVar

from pysignal.clock import stopwatch_ns
from pysignal.journal import frames, snapshots
from pysignal.journal.contract import Journal, JournalError, JournalInUse, NotOwner
from pysignal.journal.disk import (
    Create,
    Disk,
    Lane,
    Remove,
    Rename,
    Step,
    Sync,
    SyncFolder,
    Truncate,
    Write,
)
from pysignal.journal.files import (
    IDENTITY_SIZE,
    MARGIN,
    START_SIZE,
    encode_start,
    new_name,
    read_records,
    segment_name,
    snapshot_name,
    sort_out,
)
from pysignal.journal.recovery import Cut, Found, Segment, survey
from pysignal.journal.reserve import Reserve, disregard

log = logging.getLogger("pysignal")

SEGMENT_BYTES: Final = 16 << 20
SNAPSHOT_BYTES: Final = 64 << 20

# Between the beginnings of two commits where records come fast, seconds.
GATHER_S: Final = 0.004

# How long opening works before others have their turn.
_SLICE_NS: Final = 1_000_000

# How long closing waits for the disk before it holds the loop for it, seconds.
_IDLE_S: Final = 30.0

_Result = TypeVar("_Result")


class _Commit(NamedTuple):
    """The append that is under way.

    Attributes:
        segment: the one that begins with it; None where it goes into the current one.
        chain: its checksum.
        records: how many it has.
        size: of its frame, bytes.
    """

    done: asyncio.Future[None]
    segment: Segment | None
    chain: int
    records: int
    size: int


class LogJournal(Journal):
    """Keeps records in the files of a folder.

    Args:
        folder: where; it is made where there is none. Ignored where a disk is given.
        segment_bytes: size of a segment; a commit that is larger gets one of its own size.
        snapshot_bytes: a snapshot is wanted after so many bytes of commits, or after twice the size
            of the last one, whichever is more.
        disk: carries out all that is written; None for the folder's own.

    Attributes:
        report: a torn commit that opening has cut, None where there was none.
    """

    def __init__(
        self,
        folder: str | PathLike[str],
        *,
        segment_bytes: int = SEGMENT_BYTES,
        snapshot_bytes: int = SNAPSHOT_BYTES,
        disk: Disk | None = None,
    ) -> None:
        if not str(folder) and disk is None:
            raise ValueError("journal: name a folder; an empty name would be the current one")
        if segment_bytes < 4096:
            raise ValueError(f"segment_bytes: at least 4096, not {segment_bytes}")
        self._disk = disk if disk is not None else _disk_of(folder)
        self._folder = fspath(folder)
        self._segment_bytes = segment_bytes
        self._snapshot_bytes = snapshot_bytes
        self._is_open = False
        self._failure: OSError | None = None
        self.report: Cut | None = None
        # What is durable.
        self._identity = b""
        self._position = 0
        self._chain = 0
        self._segments: list[Segment] = []
        self._end = 0
        self._room = 0
        self._snapshot: snapshots.Snapshot | None = None
        # What is under way.
        self._commit: _Commit | None = None
        self._waiting: set[asyncio.Future[None]] = set()
        self._saving = False
        # Bytes of commits: ever, up to the last snapshot, and at which one is wanted.
        self._written = 0
        self._wanted_at = 0
        self._reserve = Reserve(self._disk, segment_bytes)

    @property
    def position(self) -> int:
        """How many records were ever appended."""
        return self._position

    @property
    def base(self) -> int:
        """How many of them its snapshot stands for."""
        return self._snapshot.position if self._snapshot else 0

    @property
    def wants_snapshot(self) -> bool:
        """Whether the commits since the last snapshot take so much room that one is worth it."""
        return self._written >= self._wanted_at and not self._saving and self._failure is None

    @property
    def gather_s(self) -> float:
        """A sync costs as much CPU time as some hundred records, however few it makes durable."""
        return GATHER_S

    @property
    def is_full(self) -> bool:
        """Whether room for what ends what is open could not be made; it goes on in the reserve."""
        return self._reserve.is_full

    def keep_free(self, size: int) -> None:
        """Keep room for so many bytes of records beside the current segment.

        A record that is committed alone takes half as much again as it has bytes, and a segment may
        end before it is full.
        """
        room = self._segment_bytes - START_SIZE
        self._reserve.keep(1 + -(-size * 3 // (2 * room)))

    # -- opening -----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Take the folder and judge all that is in it; see `Journal.open`."""
        if self._is_open:
            raise JournalInUse("the journal is open already")
        self._disk.open()
        self._failure = self._commit = self._snapshot = self.report = None
        self._saving = False
        self._waiting.clear()
        try:
            found = await _in_slices(survey(self._disk))
            self._is_open = True
            if found is None:
                await self._make()
            else:
                await self._take(found)
        except BaseException as error:
            self._is_open = False
            self._disk.close()
            if isinstance(error, JournalError) and self._folder:
                error.args = (f"{self._folder}: {error}",)
            raise
        self._reserve.start()

    async def _make(self) -> None:
        """Begin a log."""
        self._identity = secrets.token_bytes(IDENTITY_SIZE)
        name, spare = segment_name(0), self._reserve.name()
        head, start = encode_start(frames.SEGMENT, 0, 0, self._identity)
        leftovers = sort_out(self._disk.names()).leftovers
        await self._carry_out(
            [
                *(Remove(leftover) for leftover in leftovers),
                Create(spare, self._segment_bytes),
                Write(spare, 0, head),
                Sync(spare),
                Rename(spare, name),
                SyncFolder(),
            ]
        )
        self._position, self._chain, self._segments = 0, start, []
        self._begin(Segment(name, 0, 0, start, len(head), self._segment_bytes))
        self._written, self._wanted_at = 0, self._most_since(None)

    async def _take(self, found: Found) -> None:
        """Go on with a log, once what a crash left unfinished is put right."""
        *sealed, current = found.segments
        # First of all: what is seen may be in memory only. Nothing is removed before it is durable.
        steps: list[Step] = [SyncFolder()]
        if found.cut is not None:
            log.warning("journal %s: %s", self._folder, found.cut)
            steps.append(Write(current.name, found.cut.offset, bytes(found.cut.size)))
        if found.last >= 0:
            data = self._disk.read(current.name, found.last, current.end - found.last)
            steps.append(Write(current.name, found.last, data))
        steps.append(Sync(current.name))
        for segment in sealed:
            if segment.size > segment.end:
                steps += [Truncate(segment.name, segment.end), Sync(segment.name)]
        if found.unneeded:
            steps += [*(Remove(name) for name in found.unneeded), SyncFolder()]
        await self._carry_out(steps)
        self._identity, self._position = found.identity, found.position
        self._chain = found.chain
        self._snapshot, self.report = found.snapshot, found.cut
        self._segments = sealed
        self._begin(current)
        self._written = found.bytes_since
        self._wanted_at = self._most_since(found.snapshot)

    def _begin(self, segment: Segment) -> None:
        self._segments.append(segment)
        self._end = segment.end
        self._room = segment.size - MARGIN

    def _most_since(self, snapshot: snapshots.Snapshot | None) -> int:
        """Return after how many bytes of commits another snapshot is wanted."""
        return max(self._snapshot_bytes, 2 * snapshot.size if snapshot else 0)

    # -- reading -----------------------------------------------------------------------------------

    def snapshot(self) -> Iterator[bytes]:
        """Return the pieces of the last snapshot, in order; read them before the next one."""
        if self._snapshot is not None:
            yield from snapshots.read_pieces(self._disk, self._snapshot)

    def replay(self) -> Iterator[bytes]:
        """Return the records after the snapshot that are durable now; read them before the next."""
        base, until = self.base, self._position
        segments = tuple(self._segments)
        return self._read(segments, base, until)

    def _read(self, segments: tuple[Segment, ...], first: int, until: int) -> Iterator[bytes]:
        ends = [*(segment.first for segment in segments[1:]), until]
        for segment, end in zip(segments, ends, strict=True):
            if end > first:
                run = frames.Run(frames.COMMIT, segment.first, segment.start)
                yield from read_records(self._disk, segment.name, run, first, end)

    # -- appending ---------------------------------------------------------------------------------

    def append(self, records: Sequence[bytes], expected_position: int) -> asyncio.Future[None]:
        """Make records durable; see `Journal.append`.

        It is done even where nobody waits for it any more.
        """
        self._require()
        if expected_position != self._position:
            raise NotOwner(
                f"the journal is at position {self._position}, not {expected_position}: "
                "read it again"
            )
        assert self._commit is None, "one append is under way at a time"
        data, chain = frames.encode(frames.COMMIT, self._position, self._chain, records)
        segment = None
        if self._end + len(data) <= self._room:
            name = self._segments[-1].name
            steps: Sequence[Step] = (Write(name, self._end, data), Sync(name))
            size = len(data)
        else:
            steps, segment, chain = self._steps_to_switch(records)
            size = segment.end - START_SIZE
        done = asyncio.get_running_loop().create_future()
        self._commit = _Commit(done, segment, chain, len(records), size)
        try:
            self._disk.submit(Lane.COMMITS, steps, self._appended)
        except BaseException:
            self._commit = None
            raise
        return done

    def _steps_to_switch(self, records: Sequence[bytes]) -> tuple[list[Step], Segment, int]:
        """Return how a segment begins with a commit, that segment, and the commit's checksum."""
        current = self._segments[-1]
        # One that holds no commit yet is replaced, as both would have the same name.
        is_empty = current.first == self._position
        previous = current.previous if is_empty else self._chain
        head, start = encode_start(frames.SEGMENT, self._position, previous, self._identity)
        data, chain = frames.encode(frames.COMMIT, self._position, start, records)
        end = len(head) + len(data)
        size = self._segment_bytes
        steps: list[Step] = []
        spare = self._reserve.take() if end + MARGIN <= size else None
        if spare is None:
            # Where the disk is full, a small one may still find room.
            size = max(size // 16 if self.is_full else size, end + MARGIN)
            spare = self._reserve.name()
            steps.append(Create(spare, size))
        name = segment_name(self._position)
        steps += [Write(spare, 0, head + data), Sync(spare), Rename(spare, name), SyncFolder()]
        return steps, Segment(name, self._position, previous, start, end, size), chain

    def _appended(self, error: OSError | None) -> None:
        try:
            self._settle(error)
        finally:
            if self.when_settled is not None:
                self.when_settled()

    def _settle(self, error: OSError | None) -> None:
        commit, self._commit = self._commit, None
        assert commit is not None
        if error is not None:
            self._failure = error
            if not commit.done.done():
                commit.done.set_exception(error)
            return
        self._position += commit.records
        self._chain = commit.chain
        self._written += commit.size
        if not commit.done.done():
            commit.done.set_result(None)
        if commit.segment is None:
            self._end += commit.size
            return
        full, end = self._segments[-1], self._end
        if full.first == commit.segment.first:
            self._segments.pop()
        # First of all, so that nothing more goes into the old one.
        self._begin(commit.segment)
        with suppress(MemoryError):  # it is made up for at the next commit, and by opening
            if full.first != commit.segment.first:
                steps = (Truncate(full.name, end), Sync(full.name))
                self._disk.submit(Lane.BEHIND, steps, disregard)
            self._reserve.prepare()

    def _require(self) -> None:
        """Refuse what the journal can't do any more."""
        if self._failure is not None:
            raise OSError(
                self._failure.errno,
                f"the journal failed before and takes nothing more ({self._failure}); mend the "
                "disk and start again",
            )
        if not self._is_open:
            raise OSError("the journal is not open")

    # -- snapshots ---------------------------------------------------------------------------------

    async def save(self, position: int, pieces: AsyncIterator[bytes]) -> None:
        """Write a snapshot, while appends go on; see `Journal.save`."""
        self._require()
        assert not self._saving, "one snapshot is under way at a time"
        if position < self.base:
            raise ValueError(f"a snapshot stands for {self.base} records already, not {position}")
        self._saving = True
        before = self._written
        try:
            written = await snapshots.write(position, pieces, self._identity, self._behind)
            if position > self._position:
                raise ValueError(f"{position} records are not durable, only {self._position}")
            self._require()
        except BaseException:
            self._give_up(new_name(snapshot_name(position)))
            raise
        finally:
            if isinstance(pieces, AsyncGenerator):
                await pieces.aclose()  # what it holds is not needed any more
        # From here on it happens, whether anybody waits for it or not.
        await self._submit(
            Lane.BEHIND,
            snapshots.steps_to_install(written),
            partial(self._installed, written, before),
        )
        await self._forget_older()

    def _installed(self, snapshot: snapshots.Snapshot, before: int, error: OSError | None) -> None:
        if error is not None:
            self._give_up(new_name(snapshot.name))
            return
        self._saving = False
        self._snapshot = snapshot
        self._written -= before
        self._wanted_at = self._most_since(snapshot)

    def _give_up(self, name: str) -> None:
        """Forget a snapshot that came to nothing; another one is not wanted at once."""
        self._saving = False
        self._wanted_at = max(self._wanted_at, self._written + self._snapshot_bytes // 8)
        if self._is_open:
            self._disk.submit(Lane.BEHIND, [Remove(name)], disregard)

    async def _forget_older(self) -> None:
        """Remove what the snapshot stands for; what stays is removed after a later one."""
        base = self.base
        while len(self._segments) > 1 and self._segments[1].first <= base:
            del self._segments[0]
        files = sort_out(self._disk.names())
        first = self._segments[0].first
        names = [
            *(snapshot_name(position) for position in files.snapshots if position < base),
            *(segment_name(position) for position in files.segments if position < first),
        ]
        if not names:
            return
        try:
            await self._behind([*(Remove(name) for name in names), SyncFolder()])
        except OSError as error:
            log.warning("journal: an old file stays: %s", error)
        self._reserve.try_again()

    # -- the disk ----------------------------------------------------------------------------------

    def _submit(
        self, lane: Lane, steps: Sequence[Step], then: Callable[[OSError | None], None]
    ) -> asyncio.Future[None]:
        """Have steps carried out; `then` is called even where nobody waits any more."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(error: OSError | None) -> None:
            self._waiting.discard(waiter)
            then(error)
            if waiter.done():
                return
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

        self._disk.submit(lane, steps, done)
        self._waiting.add(waiter)
        return waiter

    async def _carry_out(self, steps: Sequence[Step]) -> None:
        await self._submit(Lane.COMMITS, steps, _nothing)

    async def _behind(self, steps: Sequence[Step]) -> None:
        await self._submit(Lane.BEHIND, steps, _nothing)

    async def close(self) -> None:
        """Let go of the folder; whatever still waits hears that it failed."""
        if not self._is_open:
            return
        self._is_open = False
        self._reserve.stop()
        waiting, self._waiting = self._waiting, set()
        if self._commit is not None:
            waiting.add(self._commit.done)
        for waiter in waiting:
            if not waiter.done():
                waiter.set_exception(OSError("the journal was closed"))
        try:
            if self._failure is None:
                # What is done behind the commits ends first: until then others have the loop.
                idle = self._submit(Lane.BEHIND, [SyncFolder()], _nothing)
                await asyncio.wait({idle}, timeout=_IDLE_S)
                if idle.done():
                    idle.exception()  # nothing rests on it
        finally:
            self._disk.close()


def _disk_of(folder: str | PathLike[str]) -> Disk:
    from pysignal.journal.native_disk import NativeDisk

    return NativeDisk(fspath(folder))


async def _in_slices(work: Generator[None, None, _Result]) -> _Result:
    """Do work to its end, and let others have their turn about once a millisecond."""
    began = stopwatch_ns()
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _Result = end.value
            return result
        if stopwatch_ns() - began > _SLICE_NS:
            await asyncio.sleep(0)
            began = stopwatch_ns()


def _nothing(error: OSError | None) -> None:
    """Who waits hears it."""
