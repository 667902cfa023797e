"""Looking into a log without touching it: `pysignal journal check` and `pysignal journal dump`.

A server may write to it meanwhile. It appends where one has just read, gives files other names, and
removes them. So what seems missing or damaged is looked at again: only what is the same twice,
while no file came or went, is believed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator
from os import PathLike, fspath
from typing import Final, TypeVar

import orjson

from pysignal.journal import frames, snapshots
from pysignal.journal.contract import JournalDamaged, UnknownVersion
from pysignal.journal.files import Folder, read_sound, read_start, segment_name, sort_out
from pysignal.journal.read_only_disk import ReadOnlyDisk
from pysignal.journal.readable import fields_of
from pysignal.journal.recovery import Found, survey

SOUND: Final = 0
DAMAGED: Final = 1
UNUSABLE: Final = 2

_LOOKS_MAX: Final = 40
_PAUSE_S: Final = 0.05
_EVER: Final = (1 << 64) - 1

_Result = TypeVar("_Result")


def check(folder: str | PathLike[str]) -> int:
    """Judge all files of a log, print what there is, and return the exit status."""
    return _look_into(fspath(folder), _check)


def dump(folder: str | PathLike[str]) -> int:
    """Print a line of JSON for each record, as far as they can be read; return the exit status."""
    return _look_into(fspath(folder), _dump)


def _look_into(path: str, look: Callable[[str, Folder], int]) -> int:
    disk = ReadOnlyDisk(path)
    try:
        disk.open()
        return look(path, disk)
    except BrokenPipeError:
        raise
    except OSError as error:
        return _refuse(path, f"it can't be read: {error}")
    finally:
        disk.close()


def _refuse(path: str, why: object) -> int:
    print(f"{path}: {why}", file=sys.stderr)
    return UNUSABLE


def _check(path: str, disk: Folder) -> int:
    try:
        found = steady_look(disk)
    except UnknownVersion as error:
        return _refuse(path, error)
    except JournalDamaged as error:
        print(f"{path}: damaged")
        print(f"  {error}")
        return DAMAGED
    if found is None:
        return _refuse(path, "there is no journal in it")
    print(f"{path}: sound")
    base = found.snapshot.position if found.snapshot else 0
    after = f", {found.position - base:,} of them after its snapshot" if found.snapshot else ""
    print(f"  {found.position:,} records{after}")
    if found.snapshot:
        _print_file(found.snapshot.name, found.snapshot.size, f"{found.snapshot.pieces:,} pieces")
    ends = [*(segment.first for segment in found.segments[1:]), found.position]
    for segment, end in zip(found.segments, ends, strict=True):
        _print_file(segment.name, segment.end, f"{end - segment.first:,} records")
    if found.cut is not None:
        print(f"  {found.cut}: opening the journal cuts it, unless it is being written right now")
    return SOUND


def _print_file(name: str, size: int, what: str) -> None:
    print(f"  {name:<30} {size:>15,} bytes  {what}")


def steady_look(disk: Folder) -> Found | None:
    """Judge a log that somebody may be writing to; see `recovery.survey` for what is raised."""
    before: object = None
    for _ in range(_LOOKS_MAX):
        verdict: Found | JournalDamaged | UnknownVersion | None
        try:
            verdict = at_once(survey(disk))
        except FileNotFoundError:
            continue  # a snapshot has taken its place
        except (JournalDamaged, UnknownVersion) as error:
            verdict = error
        if isinstance(verdict, Found) and verdict.cut is None:
            return verdict
        if isinstance(verdict, Found):
            seen: object = (verdict.cut, disk.names())
        else:
            seen = (str(verdict), disk.names())
        if seen == before:
            break
        before = seen
        time.sleep(_PAUSE_S)
    else:
        raise OSError("files come and go so quickly that it can't be judged; try again")
    if isinstance(verdict, Exception):
        raise verdict
    return verdict


def at_once(work: Generator[None, None, _Result]) -> _Result:
    """Do work that goes in slices, without a pause."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: _Result = end.value
            return result


def _dump(path: str, disk: Folder) -> int:
    try:
        sort_out(disk.names())
    except UnknownVersion as error:
        return _refuse(path, error)
    printer = _Printer(disk)
    for _ in range(_LOOKS_MAX):
        try:
            printer.go_on()
        except FileNotFoundError:
            continue  # a snapshot has taken its place: on from there
        break
    return _verdict(path, disk)


def _verdict(path: str, disk: Folder) -> int:
    """Return the exit status of what was dumped, and say what is wrong with it."""
    try:
        found = steady_look(disk)
    except UnknownVersion as error:
        return _refuse(path, error)
    except JournalDamaged as error:
        print(f"{path}: damaged: {error}", file=sys.stderr)
        return DAMAGED
    return SOUND if found else _refuse(path, "there is no journal in it")


class _Printer:
    """Prints records, as far as they can be read.

    Attributes:
        position: of the next record to print.
    """

    def __init__(self, disk: Folder) -> None:
        self.position = 0
        self._disk = disk

    def go_on(self) -> None:
        """Print what has not been printed yet."""
        files = sort_out(self._disk.names())
        if files.snapshots and files.snapshots[-1] > self.position:
            self._tell_of_snapshot(files.snapshots[-1])
        ends = [*files.segments[1:], _EVER]
        for first, end in zip(files.segments, ends, strict=False):
            if end > self.position:
                self._print_segment(first)

    def _tell_of_snapshot(self, base: int) -> None:
        try:
            snapshot = at_once(snapshots.survey(self._disk, base))
        except (JournalDamaged, UnknownVersion) as error:
            _print_line({"snapshot": base, "damaged": str(error)})
        else:
            _print_line({"snapshot": base, "pieces": snapshot.pieces, "bytes": snapshot.size})
            self.position = base

    def _print_segment(self, first: int) -> None:
        name = segment_name(first)
        try:
            start = read_start(self._disk, name, frames.SEGMENT, first)
        except (JournalDamaged, UnknownVersion) as error:
            _print_line({"segment": first, "damaged": str(error)})
            return
        run = frames.Run(frames.COMMIT, first, start.checksum)
        self.position = max(self.position, first)
        for records in read_sound(self._disk, name, run, self.position, _EVER):
            for record in records:
                _print_line({"position": self.position, **fields_of(record)})
                self.position += 1


def _print_line(fields: dict[str, object]) -> None:
    sys.stdout.write(orjson.dumps(fields).decode() + "\n")
