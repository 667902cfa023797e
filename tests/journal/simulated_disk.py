"""A disk in memory that forgets what was not synced, and fails where it is told to.

A file has three states at once: what a reader sees, what would be left after a power cut, and what
lies in between, write by write. A power cut keeps any subset of that, sector by sector, and tears
one sector in the middle; it keeps any subset of what was done to names since the folder was last
synced, where nothing that touches the same names comes before it. A sync that fails loses what it
was to write for good, though readers go on seeing it: so does Linux.

Lanes take turns at random, step by step, and `on_step` is called after each: there one looks, and
crashes.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from pysignal.journal import JournalInUse
from pysignal.journal.disk import (
    Create,
    Lane,
    Remove,
    Rename,
    Step,
    Sync,
    SyncFolder,
    Truncate,
    Write,
)

SECTOR_SIZE = 512
Done = Callable[[OSError | None], None]


class File:
    """One file, whatever it is called.

    Attributes:
        seen: what a reader sees.
        kept: what is durable.
        pending: writes since the last sync, and sizes: (size, None).
    """

    __slots__ = ("kept", "pending", "seen")

    def __init__(self, seen: bytes | bytearray = b"", kept: bytes | bytearray = b"") -> None:
        self.seen = bytearray(seen)
        self.kept = bytearray(kept)
        self.pending: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, data: bytes | None) -> None:
        put(self.seen, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.pending:
            put(self.kept, offset, data)
        self.pending.clear()

    def lose(self, rng: Random, share: float) -> None:
        """Keep some of what is pending, and forget the rest."""
        torn: tuple[int, bytes] | None = None
        for offset, data in self.pending:
            if data is None:
                if rng.random() < share:
                    put(self.kept, offset, None)
                elif offset > len(self.kept) and rng.random() < 0.5:
                    put(self.kept, rng.randint(len(self.kept), offset), None)
                continue
            start = 0
            while start < len(data):
                stop = min(len(data), start + SECTOR_SIZE - (offset + start) % SECTOR_SIZE)
                if rng.random() < share:
                    put(self.kept, offset + start, data[start:stop])
                else:
                    torn = offset + start, data[start:stop]
                start = stop
        if torn is not None and share and rng.random() < 0.5:
            put(self.kept, torn[0], torn[1][: rng.randrange(len(torn[1]))])
        self.pending.clear()


def put(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write into a file, or set its size where there is no data."""
    end = offset + len(data or b"")
    if data is None:
        del content[offset:]
    if len(content) < end:
        content.extend(bytes(end - len(content)))
    if data is not None:
        content[offset:end] = data


class SimulatedDisk:
    """A disk in memory; see the module.

    Args:
        rng: decides which lane has its turn, and what a failure leaves.
        room: bytes that all files may have together; None for no limit.

    Attributes:
        steps: how many were carried out, or failed.
        on_step: called with each, after it.
        lane: whose step is carried out.
        fault: called with a step before it is carried out; returns the errno by which it fails.
    """

    def __init__(self, rng: Random, room: int | None = None) -> None:
        self.rng = rng
        self.room = room
        self.files: dict[str, File] = {}
        self.durable: dict[str, File] = {}
        self.moves: list[Step] = []
        self.made: dict[int, File] = {}  # by place in moves: what a Create made
        self.steps = 0
        self.on_step: Callable[[Step], None] = lambda step: None
        self.fault: Callable[[Step], int | None] = lambda step: None
        self.is_open = False
        self.lane = Lane.COMMITS
        self._lanes: dict[Lane, deque[tuple[Sequence[Step], int, Done]]] = {
            lane: deque() for lane in Lane
        }
        self._turn_is_due = False

    # -- the disk ----------------------------------------------------------------------------------

    def open(self) -> None:
        if self.is_open:
            raise JournalInUse("the simulated folder is in use; close the other one")
        self.is_open = True

    def names(self) -> list[str]:
        return sorted(self.files)

    def size(self, name: str) -> int:
        return len(self._file(name).seen)

    def read(self, name: str, offset: int, size: int) -> bytes:
        return bytes(self._file(name).seen[offset : offset + size])

    def submit(self, lane: Lane, steps: Sequence[Step], done: Done) -> None:
        assert self.is_open, "a closed disk"
        assert steps, "a job without steps"
        self._lanes[lane].append((steps, 0, done))
        if not self._turn_is_due:
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def close(self) -> None:
        """Carry out what was submitted; nobody is called back."""
        for lane in self._lanes.values():
            while lane:
                steps, at, _ = lane.popleft()
                for step in steps[at:]:
                    if self._carry_out(step) is not None:
                        break
        self.is_open = False

    # -- crashes -----------------------------------------------------------------------------------

    def cut_power(self) -> SimulatedDisk:
        """Return the disk as it is found after a power cut at this moment; this one goes on."""
        rng = self.rng
        share = rng.choice((0.0, 0.5, 0.9, 1.0))
        other = SimulatedDisk(rng, self.room)
        for name, file in self._surviving_names(rng).items():
            survivor = File(b"", file.kept)
            survivor.pending = list(file.pending)
            survivor.lose(rng, share)
            survivor.seen[:] = survivor.kept
            other.files[name] = survivor
        other.durable = dict(other.files)
        return other

    def kill(self) -> SimulatedDisk:
        """Return the disk as it is found when just the process has died at this moment."""
        other = SimulatedDisk(self.rng, self.room)
        copies: dict[int, File] = {}
        for file in (*self.files.values(), *self.durable.values(), *self.made.values()):
            if id(file) not in copies:
                copies[id(file)] = copy = File(file.seen, file.kept)
                copy.pending = list(file.pending)
        other.files = {name: copies[id(file)] for name, file in self.files.items()}
        other.durable = {name: copies[id(file)] for name, file in self.durable.items()}
        other.moves = list(self.moves)
        other.made = {at: copies[id(file)] for at, file in self.made.items()}
        return other

    def _surviving_names(self, rng: Random) -> dict[str, File]:
        names = dict(self.durable)
        if not self.moves:
            return names
        share = rng.choice((0.0, 0.5, 1.0))
        lost: set[str] = set()
        for at, move in enumerate(self.moves):
            touched = {move.name, move.to} if isinstance(move, Rename) else {move[0]}
            if touched & lost or rng.random() >= share:
                lost |= touched
            elif isinstance(move, Create):
                names[move.name] = self.made[at]
            elif isinstance(move, Rename):
                names[move.to] = names.pop(move.name)
            elif isinstance(move, Remove):
                del names[move.name]
        return names

    # -- carrying out ------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Carry out a few steps."""
        rng = self.rng
        self._turn_is_due = False
        for _ in range(rng.randint(1, 4)):
            ready = [lane for lane, jobs in self._lanes.items() if jobs]
            if not ready or not self.is_open:
                return
            self.lane = ready[0] if len(ready) == 1 else rng.choice(ready)
            lane = self._lanes[self.lane]
            steps, at, done = lane[0]
            error = self._carry_out(steps[at])
            if error is not None or at + 1 == len(steps):
                lane.popleft()
                done(error)
            else:
                lane[0] = steps, at + 1, done
        if not self._turn_is_due and self.is_open and any(self._lanes.values()):
            self._turn_is_due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _carry_out(self, step: Step) -> OSError | None:
        code = self.fault(step)
        if code is None:
            code = self._full(step)
        error = None
        try:
            if code is None:
                self._do(step)
            else:
                self._fail(step)
                error = OSError(code, os.strerror(code), step[0] if step else "")
        except FileNotFoundError as missing:
            error = missing
        self.steps += 1
        self.on_step(step)
        return error

    def _do(self, step: Step) -> None:
        if isinstance(step, Write):
            self._file(step.name).change(step.offset, step.data)
        elif isinstance(step, Sync):
            self._file(step.name).sync()
        elif isinstance(step, Truncate):
            self._file(step.name).change(step.size, None)
        elif isinstance(step, SyncFolder):
            self.durable = dict(self.files)
            self.moves.clear()
            self.made.clear()
        elif isinstance(step, Create):
            self._create(step, step.size)
        elif isinstance(step, Rename):
            self.files[step.to] = self._file(step.name)
            del self.files[step.name]
            self.moves.append(step)
        else:
            self._file(step.name)
            del self.files[step.name]
            self.moves.append(step)

    def _create(self, step: Create, size: int) -> None:
        file = File()
        file.change(size, None)
        self.files[step.name] = self.made[len(self.moves)] = file
        self.moves.append(step)

    def _fail(self, step: Step) -> None:
        """Do some of a step."""
        if isinstance(step, Write) and step.name in self.files:
            size = self.rng.randrange(len(step.data) + 1)
            self._file(step.name).change(step.offset, step.data[:size])
        elif isinstance(step, Sync) and step.name in self.files:
            self._file(step.name).lose(self.rng, self.rng.choice((0.0, 0.5)))
        elif isinstance(step, Create):
            self._create(step, self.rng.randrange(step.size + 1))

    def _full(self, step: Step) -> int | None:
        """Return the error of a step for which there is no room."""
        if self.room is None:
            return None
        more = 0
        if isinstance(step, Create):
            more = step.size
        elif isinstance(step, Write) and step.name in self.files:
            more = max(0, step.offset + len(step.data) - self.size(step.name))
        used = sum(len(file.seen) for file in self.files.values())
        return errno.ENOSPC if more and used + more > self.room else None

    def _file(self, name: str) -> File:
        if name not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self.files[name]
