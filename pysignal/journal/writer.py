"""The writer between a hub and its journal: one append under way, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final

from pysignal.clock import stopwatch_ns
from pysignal.errors import OutcomeUnknown, SignalingError
from pysignal.journal.acknowledgement import Acknowledgement, finish_some
from pysignal.journal.contract import Journal, NotOwner

log = logging.getLogger("pysignal")


# How long the end of a hub waits for an append, seconds: much longer than a disk takes that works.
APPEND_S = 30.0

# How long those who waited, and are told, keep the loop in one turn.
TURN_NS: Final = 1_000_000

# Records come fast where so many a second came, counted over so long a time.
FAST_PER_S: Final = 25_000
COUNT_NS: Final = 10_000_000

# How long nobody is made to wait for more after a wait that few have joined.
CALM_NS: Final = 100_000_000


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
        self._arrived: list[Acknowledgement] = []
        # By how many records each needs; those of one flush in reverse order.
        self._waiters: deque[tuple[int, list[Acknowledgement]]] = deque()
        self._append: asyncio.Future[None] | None = None
        self._until = 0  # how many records are durable when that has ended
        self._begun_ns = 0
        self._gather_ns = round(journal.gather_s * 1e9)
        self._pause: asyncio.TimerHandle | None = None
        self._calm_until_ns = 0
        self._came_fast = False
        self._counted = 0
        self._counted_ns = 0
        self._failure: SignalingError | None = None
        journal.when_settled = self._settled
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
    def waiting(self) -> int:
        """How many records were taken and are not durable yet."""
        return self.accepted - self.durable

    @property
    def wants_flush(self) -> bool:
        """Whether something waits that no append under way will look after."""
        if self._append is not None or self._pause is not None:
            return False
        return bool(self._waiting or self._arrived)

    def require(self) -> None:
        """Refuse what nobody could make durable.

        Raises:
            OutcomeUnknown: the journal failed.
        """
        if self._failure is not None:
            raise self._failure.again()

    def arrive(self) -> Acknowledgement:
        """Return what is done when all that is taken until the next `flush` is durable.

        Raises:
            OutcomeUnknown: the journal failed; it may be raised where that is awaited, too.
        """
        self.require()
        done = Acknowledgement(self._loop)
        self._arrived.append(done)
        return done

    def flush(self) -> None:
        """Begin an append, if there is something to append and none is under way.

        All that was committed has been taken.
        """
        if self._arrived:
            self._arrived.reverse()
            self._waiters.append((self.accepted, self._arrived))
            self._arrived = []
        if self._append is not None or self._pause is not None:
            return
        if self._waiting:
            self._begin_or_gather()
        elif self._waiters:
            self._tell()

    def _begin_or_gather(self) -> None:
        """Begin an append; where records come fast, wait a little so that many share one sync."""
        now_ns = stopwatch_ns()
        left_ns = self._begun_ns + self._gather_ns - now_ns
        if self._gather_ns and self._is_fast(now_ns) and left_ns > 0:
            count = len(self._waiting)
            self._pause = self._loop.call_later(left_ns / 1e9, self._gathered, count, left_ns)
        else:
            self._begin(now_ns)

    def _is_fast(self, now_ns: int) -> bool:
        elapsed_ns = now_ns - self._counted_ns
        if elapsed_ns >= COUNT_NS:
            count = self.accepted - self._counted
            self._came_fast = count * 1_000_000_000 > FAST_PER_S * elapsed_ns
            self._counted, self._counted_ns = self.accepted, now_ns
        return self._came_fast and now_ns >= self._calm_until_ns

    def _gathered(self, before: int, waited_ns: int) -> None:
        try:
            self._on_appended()  # what was committed since joins; nothing begins in the pause
        finally:
            self._pause = None
            now_ns = stopwatch_ns()
            if (len(self._waiting) - before) * 1_000_000_000 < FAST_PER_S * waited_ns:
                # All who would call wait for an answer, as it seems.
                self._calm_until_ns = now_ns + CALM_NS
            if self._waiting:
                self._begin(now_ns)

    def _begin(self, now_ns: int) -> None:
        batch, later = self._waiting, list[bytes]()
        self._until = self.durable + len(batch)
        try:
            append = self._started(self._journal.append(batch, self.durable))
        except MemoryError:
            raise
        except Exception as failure:
            self._fail(failure)
            return
        self._append, self._waiting, self._begun_ns = append, later, now_ns

    def _started(self, append: Awaitable[None]) -> asyncio.Future[None]:
        """Have an append that was asked for carried out, and its end noted."""
        started: asyncio.Future[None] | None = append if asyncio.isfuture(append) else None
        try:
            if started is None:
                started = asyncio.ensure_future(append)
            started.add_done_callback(self._ended)
        except MemoryError:
            if asyncio.iscoroutine(append):  # it must not run, as nobody would note its end
                append.close()
            raise
        return started

    def _settled(self) -> None:
        """Note the end of the append before its callbacks come."""
        if self._append is not None and self._append.done():
            self._ended(self._append)

    def _ended(self, append: asyncio.Future[None]) -> None:
        """Note the end of an append, whatever has ended it, before its first step or later."""
        if append is not self._append:
            return  # that was noted already
        failure = asyncio.CancelledError() if append.cancelled() else append.exception()
        self._append = None
        if failure is not None:
            self._fail(failure)
            return
        self.durable = self._until
        try:
            self._on_appended()  # the next append begins, before anybody is told of this one
        finally:
            self._tell()

    def _tell(self) -> None:
        """Tell who has waited long enough, in turns where they are many, then the hub."""
        until_ns = stopwatch_ns() + TURN_NS
        while self._waiters and self._waiters[0][0] <= self.durable:
            waiters = self._waiters[0][1]
            all_are_told = False
            try:
                finish_some(waiters, until_ns, stopwatch_ns)
                all_are_told = not waiters
            finally:
                # Also where somebody who was woken ends the program.
                if not all_are_told:
                    self._loop.call_soon(self._tell)
            if not all_are_told:
                return
            self._waiters.popleft()
        # After the waiters, which run first: an answer before the events that follow it.
        if self._told < self.durable:
            self._told = self.durable
            self._loop.call_soon(self._on_durable, self.durable)

    def _fail(self, failure: BaseException) -> None:
        log.error("the journal failed; nothing is acknowledged any more", exc_info=failure)
        what = "is somebody else's now" if isinstance(failure, NotOwner) else "failed"
        self._failure = OutcomeUnknown(
            f"the journal {what} ({failure!r}): it is unknown whether the operation took effect; "
            "restart on the journal and retry with the same request ID"
        )
        self._waiting = []
        self._arrived.reverse()
        self._waiters.append((self.accepted, self._arrived))
        self._arrived = []
        while self._waiters:
            for done in reversed(self._waiters.popleft()[1]):
                done.fail(self._failure.again())
        self._on_failed(self._failure)

    async def close(self) -> None:
        """Wait until everything taken is durable, or has failed.

        An append that takes longer than `APPEND_S` is cancelled, and one that does not heed it is
        left behind: both count as failed.
        """
        self._on_appended()
        while self._append is not None or self._pause is not None:
            if self._pause is not None:
                self._pause.cancel()
                self._gathered(0, 0)
            if self._append is not None:
                await self._end(self._append)
            await asyncio.sleep(0)  # its end is noted in a turn of its own

    async def _end(self, append: asyncio.Future[None]) -> None:
        """Wait for the end of an append, as long as may be."""
        await asyncio.wait({append}, timeout=APPEND_S)
        if not append.done():
            append.cancel()
            await asyncio.wait({append}, timeout=APPEND_S)
        if not append.done():
            append.remove_done_callback(self._ended)
            self._append = None
            self._fail(TimeoutError(f"an append took over {APPEND_S} s and is left behind"))
