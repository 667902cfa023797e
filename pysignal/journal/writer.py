"""The writer between a hub and its journal: one append under way, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from pysignal.clock import stopwatch_ns
from pysignal.errors import OutcomeUnknown, SignalingError
from pysignal.journal.contract import Journal, NotOwner

log = logging.getLogger("pysignal")


# How long the end of a hub waits for an append, seconds: much longer than a disk takes that works.
APPEND_S = 30.0

# Waiters that are told in one turn of the loop.
TOLD_PER_TURN: Final = 1024

# Records come fast where so many came during one append, at so many a second.
FAST_COUNT: Final = 8
FAST_PER_S: Final = 50_000


class Writer:
    """Hands records to a journal and tells when they are durable.

    What is taken waits for `flush`, which begins an append if none is under way. After a failure
    nothing is durable any more: every caller who waits, and every later one, hears that the outcome
    is unknown. The append is never tried again.

    Args:
        journal: where the records go; it is open.
        on_appended: called when records have become durable, before anybody is told: it hands over
            what was committed meanwhile, and calls `flush`.
        on_durable: called with the number of records that are durable, after all who waited for
            them were told.
        on_failed: called once, with the error that everybody hears from then on.

    Attributes:
        accepted: records taken so far, with those that the journal had.
        durable: how many of them are durable.
    """

    def __init__(
        self,
        journal: Journal,
        on_appended: Callable[[], None],
        on_durable: Callable[[int], None],
        on_failed: Callable[[SignalingError], None],
    ) -> None:
        self._journal = journal
        self._on_appended = on_appended
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._arrived: list[asyncio.Future[None]] = []
        self._waiters: deque[tuple[int, list[asyncio.Future[None]]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._is_running = False
        self._failure: SignalingError | None = None
        self.accepted = self.durable = self._told = journal.position

    def write(self, records: list[bytes]) -> None:
        """Take records for the next append; after a failure there is none.

        Where memory runs out, none was taken.
        """
        accepted = self.accepted + len(records)
        if self._failure is None:
            self._waiting += records
        self.accepted = accepted

    @property
    def wants_flush(self) -> bool:
        """Whether something waits that no append under way will look after."""
        return self._task is None and bool(self._waiting or self._arrived)

    def require(self) -> None:
        """Refuse what nobody could make durable.

        Raises:
            OutcomeUnknown: the journal failed.
        """
        if self._failure is not None:
            raise self._failure.again()

    def arrive(self) -> asyncio.Future[None]:
        """Return what is done when all that is taken until the next `flush` is durable.

        Raises:
            OutcomeUnknown: the journal failed; so may the future, later.
        """
        self.require()
        done = self._loop.create_future()
        self._arrived.append(done)
        return done

    def flush(self) -> None:
        """Begin an append, if there is something to append and none is under way.

        All that was committed has been taken.
        """
        if self._arrived:
            self._waiters.append((self.accepted, self._arrived))
            self._arrived = []
        if self._waiting:
            if self._task is None:
                self._start()
        elif self._waiters and not self._is_running:
            self._tell()

    def _start(self) -> None:
        task = self._loop.create_task(self._run())
        try:
            task.add_done_callback(self._ended)
        except MemoryError:
            task.cancel()  # nobody would note its end
            raise
        self._task = task

    async def _run(self) -> None:
        if self._is_running:  # for want of memory, nobody knows of the other
            return
        self._is_running = True
        try:
            while self._waiting:
                await self._append()
        finally:
            self._is_running = False

    async def _append(self) -> None:
        batch, self._waiting = self._waiting, []
        durable = self.durable + len(batch)
        begun_ns = stopwatch_ns()
        await self._journal.append(batch, self.durable)
        elapsed_ns = stopwatch_ns() - begun_ns
        self.durable = durable
        self._on_appended()
        self._tell()
        if self._is_fast(elapsed_ns):
            # Rather than wait for a sync each, many wait a little and share one.
            await asyncio.sleep(self._journal.gather_s)
            self._on_appended()

    def _is_fast(self, elapsed_ns: int) -> bool:
        if not self._journal.gather_s or len(self._waiting) < FAST_COUNT:
            return False
        return len(self._waiting) * 1_000_000_000 > FAST_PER_S * elapsed_ns

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Note the end of a run, whatever has ended it, before its first step or later."""
        self._task = None
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is not None:
            log.error("the journal failed; nothing is acknowledged any more", exc_info=failure)
            self._fail(failure)
        else:
            self._on_appended()

    def _tell(self) -> None:
        """Tell who has waited long enough, in turns where they are many, then the hub."""
        left = TOLD_PER_TURN
        while self._waiters and self._waiters[0][0] <= self.durable:
            count, waiters = self._waiters[0]
            for done in waiters[:left]:
                if not done.done():
                    done.set_result(None)
            left -= len(waiters)
            if left < 0:
                self._waiters[0] = (count, waiters[left:])
                self._loop.call_soon(self._tell)
                return
            self._waiters.popleft()
        # After the waiters, which run first: an answer before the events that follow it.
        if self._told < self.durable:
            self._told = self.durable
            self._loop.call_soon(self._on_durable, self.durable)

    def _fail(self, failure: BaseException) -> None:
        what = "is somebody else's now" if isinstance(failure, NotOwner) else "failed"
        self._failure = OutcomeUnknown(
            f"the journal {what} ({failure!r}): it is unknown whether the operation took effect; "
            "restart on the journal and retry with the same request ID"
        )
        self._waiting = []
        self._waiters.append((self.accepted, self._arrived))
        self._arrived = []
        while self._waiters:
            for done in self._waiters.popleft()[1]:
                if not done.done():
                    done.set_exception(self._failure.again())
                    done.exception()  # whoever waited may have been cancelled
        self._on_failed(self._failure)

    async def close(self) -> None:
        """Wait until everything taken is durable, or has failed.

        An append that takes longer than `APPEND_S` is cancelled, and one that does not heed it is
        left behind: both count as failed.
        """
        self._on_appended()
        while self._task is not None:
            task = self._task
            await asyncio.wait({task}, timeout=APPEND_S)
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=APPEND_S)
            if not task.done():
                task.remove_done_callback(self._ended)
                self._task = None
                log.error("the journal does not return from an append; it is left behind")
                self._fail(TimeoutError(f"an append took over {APPEND_S} s"))
            await asyncio.sleep(0)  # its end is noted in a turn of its own
