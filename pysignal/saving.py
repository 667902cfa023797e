"""Saving: snapshots of a hub's state, taken in slices while operations go on.

A snapshot stands for a position of the journal, that of its beginning. Its pieces are of later
moments; what was recorded since is replayed over them (see `recovery`). No piece keeps the event
loop for long, nothing waits for a snapshot, and where one fails the journal stays as it was: the
next is tried a while later.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Final

from pysignal.clock import stopwatch_ns
from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.groups.decisions import Groups
from pysignal.journal import entries, results
from pysignal.journal.contract import Journal
from pysignal.journal.writer import Writer
from pysignal.presence import Presence
from pysignal.requests import Requests

log = logging.getLogger("pysignal")

# How much of each goes into one piece: well under a millisecond's work.
SLOTS_PER_PIECE: Final = 256
MEMBERS_PER_PIECE: Final = 1024

# How long the pieces of one turn of the loop keep it, and a little over.
TURN_NS: Final = 250_000

# How long the end of a hub waits for a snapshot that was given up, seconds.
END_S: Final = 30.0

# How long after a snapshot that failed the next one is tried, ms.
AGAIN_AFTER_MS: Final = 10_000


class Saving:
    """Takes a snapshot of a hub whenever its journal wants one.

    Args:
        journal: takes snapshots.
        writer: of that journal.
        until_durable: waits for all that was committed.
        now_ms: tells engine time.
        key: the entry with which the journal begins.
        machine, groups, requests, presence: what is saved.
    """

    def __init__(
        self,
        journal: Journal,
        writer: Writer,
        until_durable: Callable[[], Awaitable[None]],
        now_ms: Callable[[], int],
        key: bytes,
        machine: Machine,
        groups: Groups,
        requests: Requests,
        presence: Presence,
    ) -> None:
        self._journal = journal
        self._writer = writer
        self._until_durable = until_durable
        self._now_ms = now_ms
        self._key = key
        self._machine = machine
        self._groups = groups
        self._requests = requests
        self._presence = presence
        self._task: asyncio.Task[None] | None = None
        self._again_ms = 0
        self._is_over = False

    def look(self) -> None:
        """Begin a snapshot if the journal wants one and none is being taken."""
        if self._task is not None or self._is_over:
            return
        if self._journal.wants_snapshot and self._now_ms() >= self._again_ms:
            self._task = asyncio.get_running_loop().create_task(self._save())

    async def close(self) -> None:
        """Give up the snapshot that is being taken, and begin no other."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=END_S)

    async def _save(self) -> None:
        try:
            await self._until_durable()
            # From here to the first piece nothing else happens: the position, and what is listed
            # with it, are of the same moment.
            head = {"next_position": self._groups.next_position, "now_ms": self._now_ms()}
            pieces = self._pieces(head, self._groups.ids())
            async with aclosing(pieces):
                await self._journal.save(self._writer.accepted, pieces)
        except Exception as error:
            self._again_ms = self._now_ms() + AGAIN_AFTER_MS
            log.error("a snapshot failed; the journal grows until one succeeds", exc_info=error)
        finally:
            self._task = None

    async def _pieces(
        self, head: dict[str, int], group_ids: list[str]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the pieces, each of the moment at which it is asked for."""
        until_ns = stopwatch_ns() + TURN_NS
        for piece in self._all(head, group_ids):
            yield piece
            if stopwatch_ns() >= until_ns:
                await asyncio.sleep(0)
                until_ns = stopwatch_ns() + TURN_NS
        # They tell of things that may not be durable yet.
        await self._until_durable()

    def _all(self, head: dict[str, int], group_ids: list[str]) -> Iterator[bytes]:
        yield entries.of_builtins(entries.HEAD, head)
        yield self._key
        first: int | None = 0
        while first is not None:
            piece, first = snapshot.take_slice(self._machine, first, SLOTS_PER_PIECE)
            yield entries.SLOTS + piece
        for group_id in group_ids:
            yield from self._group(group_id)
        for user in self._requests.users():
            for request in self._requests.of_user(user):
                yield results.of_request(request)
        for user in self._presence.users():
            yield from self._presence.entries_of(user)

    def _group(self, group_id: str) -> Iterator[bytes]:
        # What was committed so far is in the image, and nothing that comes.
        at = {"group_id": group_id, "position": self._writer.accepted}
        if not self._groups.exists(group_id):
            yield entries.of_builtins(entries.GROUP_PART, {**at, "group": None})
            return
        for part in self._groups.image(group_id, MEMBERS_PER_PIECE):
            yield entries.of_builtins(entries.GROUP_PART, {**at, "group": part})
