"""Recovery: the state of a hub, from the last snapshot and the records since.

A snapshot is taken in slices while operations go on, so its pieces are of different moments, each
later than the position that the snapshot stands for. A record that a piece contains already is
skipped: the machine knows by commit positions, a group by the position of its image; requests and
devices are written whole each time, so that the last holds.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from pysignal.clock import stopwatch_ns
from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.groups.decisions import Groups
from pysignal.journal import entries, results
from pysignal.journal.contract import (
    Journal,
    JournalDamaged,
    JournalError,
    UnknownVersion,
)
from pysignal.presence import Presence
from pysignal.requests import Requests

_Item = TypeVar("_Item")

# How long a recovery keeps the event loop.
TURN_NS: Final = 1_000_000


class Recovery:
    """What a journal holds, as far as it was read.

    Args:
        new_machine: makes an empty machine, with a key or, of an empty journal, without.
        shard: of the hub.
        groups: without a history.
        requests: likewise.

    Attributes:
        devices: the last entry of each device, by user and device ID, in their order.
    """

    def __init__(
        self,
        new_machine: Callable[[bytes | None], Machine],
        shard: int,
        groups: Groups,
        requests: Requests,
    ) -> None:
        self._new_machine = new_machine
        self._shard = shard
        self._groups = groups
        self._requests = requests
        self._machine: Machine | None = None
        self._restore: snapshot.Restore | None = None
        self._imaged: dict[str, int] = {}
        self._next_position = 0
        self.last_ms = 0
        self.devices: dict[tuple[str, str], dict[str, Any]] = {}

    async def read(self, journal: Journal) -> Machine:
        """Read a journal from its snapshot to its end; returns the machine.

        Raises:
            JournalError: it is not of a hub, of another one, or of another version; or the hub has
                no room for what it holds.
            ValueError: a record contradicts those before it.
        """
        try:
            return await self._read(journal)
        except MemoryError as error:
            raise JournalError(
                f"journal: there is no room for what it holds ({error}); raise Limits.open_max, "
                "users_max or groups_max, or give the process more memory"
            ) from error

    async def _read(self, journal: Journal) -> Machine:
        await _in_turns(journal.snapshot(), self._take_piece)
        if self._restore is not None:
            self._groups.relink(self._next_position)
        position = journal.base

        def take(entry: bytes) -> None:
            nonlocal position
            position += 1
            self._take_record(entry, position)

        await _in_turns(journal.replay(), take)
        if self._machine is None:
            self._machine = self._new_machine(None)
        if self._restore is not None:
            self._restore.finish()
            self._groups.relink(self._groups.next_position)
        self._requests.settle()
        return self._machine

    async def finish(self, presence: Presence, now_ms: int) -> None:
        """Bring back what was known beside the machine and the groups.

        Args:
            presence: of the machine that was read.
            now_ms: engine time.
        """
        presence.note_answers(self._begun().open_lists())

        def bring_back(kept: dict[str, Any]) -> None:
            presence.bring_back(kept, now_ms)

        await _in_turns(sorted(self.devices.values(), key=_went_ms), bring_back)

    def _take_piece(self, piece: bytes) -> None:
        kind = piece[:1]
        if kind == entries.SLOTS:
            if self._restore is None:
                self._restore = snapshot.Restore(self._begun())
            self._restore.load(piece[1:])
        elif kind == entries.GROUP_PART:
            read = entries.builtins_of(piece)
            if read["group"] is not None:
                self._groups.load(read["group"])
            self._imaged[read["group_id"]] = read["position"]
        elif kind == entries.HEAD:
            head = entries.builtins_of(piece)
            self._next_position, self.last_ms = head["next_position"], head["now_ms"]
        else:
            self._take(kind, piece)

    def _take_record(self, entry: bytes, position: int) -> None:
        kind = entry[:1]
        if self._machine is None and kind != entries.KEY:
            raise UnknownVersion(
                "journal: it does not begin with a key, so it is none of a hub; name another one"
            )
        if kind == entries.MACHINE:
            if self._restore is None:
                snapshot.apply(self._begun(), entry)
            else:
                self._restore.apply(entry)
        elif kind == entries.GROUP:
            record = entries.group_of(entry)
            self.last_ms = max(self.last_ms, record.time_ms)
            if position <= self._imaged.get(record.group_id, 0):
                self._groups.skip(record)
            else:
                self._groups.apply(record)
        else:
            self._take(kind, entry)

    def _take(self, kind: bytes, entry: bytes) -> None:
        """Take what stands among records and in snapshots alike."""
        if kind == entries.REQUEST:
            request = results.request_of(entry)
            self.last_ms = max(self.last_ms, request.at_ms)
            self._requests.bring_back(request)
        elif kind == entries.DEVICE:
            read = entries.builtins_of(entry)
            self.last_ms = max(self.last_ms, read["left_ms"])
            name = read["user"], read["device"]
            # Last again: of those that left in one millisecond the last entry is the latest.
            self.devices.pop(name, None)
            self.devices[name] = read
        elif kind == entries.KEY:
            if self._machine is None:
                self._begin(*entries.key_of(entry))
        else:
            raise UnknownVersion(
                f"journal: an entry of the unknown kind {kind!r}; is it of a newer version? Open "
                "it with the program that wrote it"
            )

    def _begin(self, key: bytes, shard: int) -> None:
        if shard != self._shard:
            raise JournalError(
                f"journal: it is of shard {shard}, the hub of shard {self._shard}: open it by "
                f"Hub(shard={shard}), or name another journal"
            )
        self._machine = self._new_machine(key)

    def _begun(self) -> Machine:
        if self._machine is None:
            raise JournalDamaged("snapshot", 0, "it has no key", "restore it from a copy")
        return self._machine


def _went_ms(kept: dict[str, Any]) -> float:
    """When a device left, for one whose last entry it is."""
    return math.inf if kept["online"] else kept["left_ms"]


async def _in_turns(items: Iterable[_Item], take: Callable[[_Item], None]) -> None:
    """Take items, and let others have the event loop now and then."""
    until_ns = stopwatch_ns() + TURN_NS
    for item in items:
        take(item)
        if stopwatch_ns() >= until_ns:
            await asyncio.sleep(0)
            until_ns = stopwatch_ns() + TURN_NS
