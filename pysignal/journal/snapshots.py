"""Snapshot files: written beside the log, some at a time, and read back in pieces.

A snapshot is a file of its own: a first frame with the identity of the log, frames of pieces, and a
last one that says how much there is. It is written under another name, synced, renamed, and the
folder synced. So a file of its name is complete, or damaged.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from typing import Final, NamedTuple

from pysignal.journal import frames
from pysignal.journal.contract import JournalDamaged, UnknownVersion
from pysignal.journal.disk import Create, Rename, Step, Sync, SyncFolder, Write
from pysignal.journal.files import (
    RESTORE,
    SLICE_SIZE,
    START_SIZE,
    Folder,
    encode_start,
    new_name,
    read_records,
    read_run,
    read_start,
    snapshot_name,
)

_FRAME_SIZE: Final = 1 << 17
# So much is written before it is synced, lest the last sync take long, and the disk's queue fill.
_SYNC_SIZE: Final = 1 << 22
_COUNTS: Final = struct.Struct("<QQ")


class Snapshot(NamedTuple):
    """A snapshot that is complete.

    Attributes:
        position: how many records it stands for.
        start: the checksum of its first frame.
        pieces: how many there are.
        size: of the file, bytes.
    """

    name: str
    position: int
    identity: bytes
    start: int
    pieces: int
    size: int


async def write(
    position: int,
    pieces: AsyncIterator[bytes],
    identity: bytes,
    carry_out: Callable[[Sequence[Step]], Awaitable[None]],
) -> Snapshot:
    """Write a snapshot under the name of a new one, and sync it.

    Args:
        position: how many records it stands for.
        pieces: of it, at least one.
        identity: of the log.
        carry_out: hands steps to the disk, and waits until they are done.

    Raises:
        OSError: a step failed.
        ValueError: there are no pieces.
    """
    name = new_name(snapshot_name(position))
    data, chain = encode_start(frames.SNAPSHOT, position, 0, identity)
    start, size, unsynced = chain, len(data), 0
    await carry_out([Create(name, 0), Write(name, 0, data)])
    count, length = 0, 0
    batch: list[bytes] = []
    waiting = 0
    async for piece in pieces:
        batch.append(piece)
        waiting += len(piece)
        if waiting < _FRAME_SIZE:
            continue
        data, chain = frames.encode(frames.PIECES, count, chain, batch)
        steps: list[Step] = [Write(name, size, data)]
        unsynced += len(data)
        if unsynced >= _SYNC_SIZE:
            steps.append(Sync(name))
            unsynced = 0
        await carry_out(steps)
        size += len(data)
        count, length = count + len(batch), length + waiting
        batch, waiting = [], 0
    tail = b""
    if batch:
        tail, chain = frames.encode(frames.PIECES, count, chain, batch)
        count, length = count + len(batch), length + waiting
    if not count:
        raise ValueError("a snapshot has at least one piece")
    end, _ = frames.encode(frames.END, count, chain, [_COUNTS.pack(count, length)])
    await carry_out([Write(name, size, tail + end), Sync(name)])
    size += len(tail) + len(end)
    return Snapshot(snapshot_name(position), position, identity, start, count, size)


def steps_to_install(snapshot: Snapshot) -> list[Step]:
    """Return the steps that give a written snapshot its name, for good."""
    return [Rename(new_name(snapshot.name), snapshot.name), SyncFolder()]


def survey(folder: Folder, position: int) -> Generator[None, None, Snapshot]:
    """Read and judge a snapshot.

    Raises:
        JournalDamaged, UnknownVersion, OSError: as they say.
    """
    name = snapshot_name(position)
    start = read_start(folder, name, frames.SNAPSHOT, position)
    run = frames.Run(frames.PIECES, 0, start.checksum)
    end, _ = yield from read_run(folder, name, run, START_SIZE)
    size = folder.size(name)
    if run.stop == frames.OTHER_VERSION:
        raise UnknownVersion(
            f"{name}, byte {end}: a frame of another version than the file has; use the pysignal "
            "that wrote it, or a newer one"
        )
    last = frames.decode(folder.read(name, end, size - end)) if size - end < SLICE_SIZE else None
    if last is None:
        raise JournalDamaged(name, end, "the snapshot is damaged or cut short", RESTORE)
    kind, _, count, previous, _, length, records = last
    if (
        (kind, count, previous) != (frames.END, run.position, run.chain)
        or [len(record) for record in records] != [_COUNTS.size]
        or _COUNTS.unpack(records[0])[0] != run.position
    ):
        raise JournalDamaged(name, end, "a frame follows that does not belong here", RESTORE)
    if end + length != size:
        raise JournalDamaged(name, end + length, "something follows the end", RESTORE)
    return Snapshot(name, position, start.identity, start.checksum, run.position, size)


def read_pieces(folder: Folder, snapshot: Snapshot) -> Iterator[bytes]:
    """Yield the pieces of a snapshot that was judged."""
    run = frames.Run(frames.PIECES, 0, snapshot.start)
    yield from read_records(folder, snapshot.name, run, 0, snapshot.pieces)
