"""Judging what is in the folder of a log: what is sound, what was torn, what is damaged.

Only the last commit can have been torn by a crash, as each is durable before the next one begins.
So a place where no sound frame is, and only zeros or scraps follow, is where the log ends; the
scraps are cut. The same place before a sound frame, before another segment, or within what a
snapshot stands for, is damage: something that was durable is not there any more. A last commit that
was durable and is damaged can't be told from one that was torn.

Every file is read to its end, zeros included, so that a flipped bit anywhere is found. Nothing is
changed here; work is cut into slices by generators, which yield between two of them.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple

from pysignal.journal import frames, snapshots
from pysignal.journal.contract import JournalDamaged, UnknownVersion
from pysignal.journal.files import (
    MARGIN,
    RESTORE,
    SLICE_SIZE,
    START_SIZE,
    Folder,
    Start,
    read_run,
    read_start,
    segment_name,
    snapshot_name,
    sort_out,
)

# How far one looks for sound frames behind a broken one between two yields.
_SEARCH_SIZE: Final = 1 << 20


class Segment(NamedTuple):
    """A segment whose commits are sound.

    Attributes:
        first: position of its first record.
        previous: the checksum of the last commit before it.
        start: the checksum of its first frame.
        end: where its last commit ends.
        size: of the file, bytes.
    """

    name: str
    first: int
    previous: int
    start: int
    end: int
    size: int


class Cut(NamedTuple):
    """A torn last commit.

    Attributes:
        file: the name of the file.
        offset: where in it, bytes.
        size: bytes up to the last one that is not zero.
    """

    file: str
    offset: int
    size: int

    def __str__(self) -> str:
        return (
            f"{self.file}, byte {self.offset}: the last commit is torn ({self.size} bytes), as by "
            "a crash, and is left out"
        )


class Found(NamedTuple):
    """A sound log.

    Attributes:
        identity: what all its files bear.
        snapshot: the newest; None where there is none.
        segments: in order, from the one on that holds the first record after the snapshot.
        position: how many records were ever appended.
        chain: the checksum of the last commit.
        last: where the last commit begins in the last segment; -1 where it holds none.
        bytes_since: of the commits since the snapshot.
        cut: a torn commit behind them.
        unneeded: names of files that are not needed any more.
    """

    identity: bytes
    snapshot: snapshots.Snapshot | None
    segments: list[Segment]
    position: int
    chain: int
    last: int
    bytes_since: int
    cut: Cut | None
    unneeded: list[str]


def survey(folder: Folder) -> Generator[None, None, Found | None]:
    """Read and judge all files; None where there is no log yet.

    Raises:
        JournalDamaged: something is missing or not as it was written.
        UnknownVersion: something is of another version, or none of a log.
        OSError: a file could not be read.
    """
    files = sort_out(folder.names())
    snapshot = None
    if files.snapshots:
        snapshot = yield from snapshots.survey(folder, files.snapshots[-1])
    elif not files.segments:
        return None
    base = snapshot.position if snapshot else 0
    begin = _covering(files.segments, base, snapshot)
    unneeded = [
        *files.leftovers,
        *(segment_name(first) for first in files.segments[:begin]),
        *(snapshot_name(position) for position in files.snapshots[:-1]),
    ]
    firsts = files.segments[begin:]
    starts = [_start(folder, first) for first in firsts]
    identity = snapshot.identity if snapshot else starts[0].identity
    run = frames.Run(frames.COMMIT, firsts[0], starts[0].previous)
    run.mark = base
    segments = []
    cut, last = None, -1
    for index, start in enumerate(starts):
        name = segment_name(start.position)
        _check_joint(name, start, run, identity)
        run.begin(start.checksum)
        size = folder.size(name)
        end, last = yield from read_run(folder, name, run, START_SIZE)
        following = starts[index + 1] if index + 1 < len(starts) else None
        cut = yield from _judge_end(folder, name, run, end, size, following)
        segments.append(Segment(name, *start[:3], end, size))
    if run.position < base:
        raise JournalDamaged(
            segments[-1].name,
            segments[-1].end,
            f"the log ends at position {run.position}, and its snapshot stands for {base} records",
            RESTORE,
        )
    return Found(
        identity, snapshot, segments, run.position, run.chain, last, run.bytes_after, cut, unneeded
    )


def _covering(segments: list[int], base: int, snapshot: snapshots.Snapshot | None) -> int:
    """Return the index of the segment that holds, or will hold, the record at base."""
    held = [index for index, first in enumerate(segments) if first <= base]
    if held:
        return held[-1]
    if snapshot is not None:
        raise JournalDamaged(
            snapshot.name, 0, f"the segment that goes on from position {base} is missing", RESTORE
        )
    raise JournalDamaged(
        segment_name(segments[0]), 0, f"what is before position {segments[0]} is missing", RESTORE
    )


def _start(folder: Folder, first: int) -> Start:
    return read_start(folder, segment_name(first), frames.SEGMENT, first)


def _check_joint(name: str, start: Start, run: frames.Run, identity: bytes) -> None:
    """Refuse a segment that does not go on where the one before it ends."""
    if start.identity != identity:
        raise JournalDamaged(name, 0, "the file is of another log", "move it away; " + RESTORE)
    if start.position != run.position or start.previous != run.chain:
        raise JournalDamaged(
            name,
            0,
            f"it does not go on where the log before it ends, at position {run.position}",
            RESTORE,
        )


def _judge_end(
    folder: Folder, name: str, run: frames.Run, end: int, size: int, following: Start | None
) -> Generator[None, None, Cut | None]:
    """Judge what follows the last sound commit of a segment, which ends at `end`.

    The next segment begins with `following`; the last one has none.
    """
    if run.stop == frames.OTHER_VERSION:
        raise UnknownVersion(
            f"{name}, byte {end}: a commit of another version than the file has; use the pysignal "
            "that wrote it, or a newer one"
        )
    if run.stop in (frames.MISPLACED, frames.OTHER_KIND, frames.MALFORMED):
        raise JournalDamaged(name, end, "a commit follows that does not belong here", RESTORE)
    if following is not None and run.position < following.position:
        raise JournalDamaged(
            name,
            end,
            f"records {run.position} to {following.position - 1} are missing or damaged, which "
            "were durable",
            RESTORE,
        )
    scraps = yield from _first_nonzero(folder, name, end)
    if following is not None:
        if scraps >= 0:
            raise JournalDamaged(
                name, scraps, "behind the last commit of the segment is more than zeros", RESTORE
            )
        return None
    if end >= size:
        raise JournalDamaged(
            name, end, "the segment is complete, and the next one is missing", RESTORE
        )
    if end > size - MARGIN or any(folder.read(name, size - MARGIN, MARGIN)):
        raise JournalDamaged(
            name, size, "the file ends in the middle of a commit: it was cut short", RESTORE
        )
    if scraps < 0:
        return None
    return (yield from _judge_scraps(folder, name, end))


def _first_nonzero(folder: Folder, name: str, offset: int) -> Generator[None, None, int]:
    """Return where the first byte is that is not zero, from an offset on; -1 for none."""
    while data := folder.read(name, offset, SLICE_SIZE):
        at = frames.find_nonzero(data)
        if at >= 0:
            return offset + at
        offset += len(data)
        yield
    return -1


def _judge_scraps(folder: Folder, name: str, end: int) -> Generator[None, None, Cut]:
    """Return what is to be cut from the end of the log, which no sound frame may follow."""
    rest = bytearray()
    while data := folder.read(name, end + len(rest), SLICE_SIZE):
        rest += data
        yield
    for start in range(0, len(rest), _SEARCH_SIZE):
        sound = frames.find_sound(rest, start, start + _SEARCH_SIZE)
        if sound >= 0:
            raise JournalDamaged(
                name,
                end,
                f"a commit is damaged, and at byte {end + sound} a sound one follows, so it was "
                "durable",
                RESTORE,
            )
        yield
    return Cut(name, end, len(rest.rstrip(b"\0")))
