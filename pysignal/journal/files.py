"""The files of a log: what they are called, and how they begin.

    00000000000000000000.log            a segment, named by the position of its first record
    00000000000000131072.snapshot       a snapshot, named by how many records it stands for
    00000000000000131072.snapshot.new   one that is being written
    spare-7                             zeros, a segment to come

A segment begins with a frame that holds the identity of the log: random bytes, made once. So a file
of another log is recognized, and as checksums go on from frame to frame, no other log's commit
ever follows. A format that is to come begins its files with the same magic and another version.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from typing import Final, NamedTuple, Protocol

from pysignal.journal import frames
from pysignal.journal.contract import JournalDamaged, UnknownVersion

IDENTITY_SIZE: Final = 16

# The first frame of a segment or a snapshot: its head, and the identity as a record, filled up.
START_SIZE: Final = frames.HEAD_SIZE + 24

# Zeros behind the last commit of a segment as long as there is no next one.
MARGIN: Final = 8

# How much of a file is read at a time. Reading it takes about a tenth of a millisecond.
SLICE_SIZE: Final = 1 << 18

RESTORE: Final = (
    "bring back a copy of the folder; `pysignal journal dump` shows what can still be read"
)
_NAME = re.compile(r"(\d{20})\.(log|snapshot|snapshot\.new)|spare-\d+")


class Folder(Protocol):
    """What reading needs of a disk."""

    def names(self) -> list[str]:
        """Return the names of the files, sorted."""

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""

    def read(self, name: str, offset: int, size: int) -> bytes:
        """Return bytes of a file, fewer at its end."""


class Files(NamedTuple):
    """What is in a folder.

    Attributes:
        segments: positions of their first records, in order.
        snapshots: how many records they stand for, in order.
        leftovers: names of what a crash left behind.
    """

    segments: list[int]
    snapshots: list[int]
    leftovers: list[str]


class Start(NamedTuple):
    """The first frame of a file.

    Attributes:
        previous: of a segment, the checksum of the last commit before it.
        checksum: from which the chain of the file goes on.
    """

    position: int
    previous: int
    checksum: int
    identity: bytes


def segment_name(first: int) -> str:
    """Return the name of the segment whose first record has this position."""
    return f"{first:020}.log"


def snapshot_name(position: int) -> str:
    """Return the name of the snapshot that stands for so many records."""
    return f"{position:020}.snapshot"


def new_name(name: str) -> str:
    """Return what a file is called while it is being written."""
    return name + ".new"


def spare_name(number: int) -> str:
    """Return the name of a segment to come."""
    return f"spare-{number}"


def sort_out(names: list[str]) -> Files:
    """Tell apart what is in a folder.

    Raises:
        UnknownVersion: a file is there that is none of a log.
    """
    files = Files([], [], [])
    for name in names:
        match = _NAME.fullmatch(name)
        if match is None:
            raise UnknownVersion(
                f"{name}: this is no file of a log; give the journal a folder of its own, or move "
                "the file away"
            )
        if match[2] == "log":
            files.segments.append(int(match[1]))
        elif match[2] == "snapshot":
            files.snapshots.append(int(match[1]))
        else:
            files.leftovers.append(name)
    files.segments.sort()
    files.snapshots.sort()
    return files


def encode_start(kind: int, position: int, previous: int, identity: bytes) -> tuple[bytes, int]:
    """Return the first frame of a file, and its checksum."""
    return frames.encode(kind, position, previous, [identity])


def read_start(folder: Folder, name: str, kind: int, position: int) -> Start:
    """Read how a file begins, which should be of a kind and at the position that its name says.

    Raises:
        UnknownVersion: it is of another version, or none of a log.
        JournalDamaged: it does not begin as it should.
    """
    data = folder.read(name, 0, START_SIZE)
    version = frames.version_of(data)
    if version is None:
        raise UnknownVersion(
            f"{name}: it does not begin as a file of a log does; it is damaged or something else: "
            + RESTORE
        )
    if version != frames.FORMAT:
        raise UnknownVersion(
            f"{name}: its format has version {version}, and this program reads version "
            f"{frames.FORMAT}; use the pysignal that wrote it, or a newer one"
        )
    frame = frames.decode(data)
    if frame is None:
        raise JournalDamaged(name, 0, "the file does not begin with a sound frame", RESTORE)
    found, _, at, previous, checksum, size, records = frame
    if (
        found != kind
        or size != START_SIZE
        or [len(record) for record in records] != [IDENTITY_SIZE]
    ):
        raise JournalDamaged(name, 0, "the file begins with a frame of another kind", RESTORE)
    if at != position:
        raise JournalDamaged(
            name,
            0,
            f"the file begins at position {at}, as its name does not say",
            "give it its name back",
        )
    return Start(at, previous, checksum, records[0])


def read_run(
    folder: Folder, name: str, run: frames.Run, offset: int
) -> Generator[None, None, tuple[int, int]]:
    """Read the frames of a file from an offset on as far as they are sound, a slice at a time.

    Returns:
        Where the last frame ends, and where it begins: -1 for none.
    """
    size = folder.size(name)
    last = -1
    while True:
        asked = max(SLICE_SIZE, run.needs)
        data = folder.read(name, offset, asked)
        used = run.check(data)
        if run.last >= 0:
            last = offset + run.last
        offset += used
        yield
        # A size that is nonsense reaches beyond the file, and so is never read.
        if run.stop != frames.MORE or len(data) < asked or offset + run.needs > size:
            return offset, last


def read_sound(
    folder: Folder, name: str, run: frames.Run, first: int, until: int
) -> Iterator[list[bytes]]:
    """Yield the records of a file as far as its frames are sound, a slice at a time.

    Args:
        folder: where it is.
        name: of the file.
        run: at the first frame after the start.
        first: position of the first record to yield.
        until: position of the first one not to yield.
    """
    size = folder.size(name)
    offset = START_SIZE
    while run.position < until and offset + run.needs <= size:
        asked = max(SLICE_SIZE, run.needs)
        data = folder.read(name, offset, asked)
        records: list[bytes] = []
        offset += run.split(data, records, first, until)
        yield records
        if run.stop != frames.MORE or len(data) < asked:
            return


def read_records(
    folder: Folder, name: str, run: frames.Run, first: int, until: int
) -> Iterator[bytes]:
    """Yield the records of a file that was judged; see `read_sound`.

    Raises:
        JournalDamaged: they are not what they were any more.
    """
    for records in read_sound(folder, name, run, first, until):
        yield from records
    if run.position < until:
        raise JournalDamaged(name, 0, "the file has changed since it was checked", RESTORE)
