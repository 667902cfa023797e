"""The writer between a hub and its journal: one append under way, and who waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from pysignal.errors import OutcomeUnknown, SignalingError
from pysignal.journal.contract import Journal, NotOwner

log = logging.getLogger("pysignal")


# How long the end of a hub waits for an append, seconds: much longer than a disk takes that works.
APPEND_S = 30.0


class Writer:
    """Hands records to a journal and tells when they are durable.

    After a failure nothing is durable any more: every caller who waits, and every later one, hears
    that the outcome is unknown. The append is never tried again.

    Args:
        journal: where the records go.
        count: how many records it holds.
        on_durable: called with the number of records that are durable, each time it has grown.
        on_failed: called once, with the error that everybody hears from then on.
    """

    def __init__(
        self,
        journal: Journal,
        count: int,
        on_durable: Callable[[int], None],
        on_failed: Callable[[SignalingError], None],
    ) -> None:
        self._journal = journal
        self._on_durable = on_durable
        self._on_failed = on_failed
        self._waiting: list[bytes] = []
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self._failure: SignalingError | None = None
        self.accepted = count
        self.durable = self.accepted

    def write(self, records: list[bytes]) -> None:
        """Take records for the next append; after a failure there is none.

        Where memory runs out, none was taken.
        """
        accepted = self.accepted + len(records)
        if self._failure is None:
            if records and self._task is None:
                self._start()
            self._waiting += records
        self.accepted = accepted

    def require(self) -> None:
        """Refuse what nobody could make durable.

        Raises:
            OutcomeUnknown: the journal failed.
        """
        if self._failure is not None:
            raise self._failure.again()

    async def wait(self) -> None:
        """Wait until all records taken so far are durable.

        Raises:
            OutcomeUnknown: the journal failed.
        """
        self.require()
        if self.durable >= self.accepted:
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((self.accepted, done))
        await done

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            await self._journal.append(batch, self.durable)
            self.durable += len(batch)
            while self._waiters and self._waiters[0][0] <= self.durable:
                done = self._waiters.popleft()[1]
                if not done.done():
                    done.set_result(None)
            # After the waiters, which run first: an answer before the events that follow it.
            asyncio.get_running_loop().call_soon(self._on_durable, self.durable)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Note the end of a run, whatever has ended it, before its first step or later."""
        self._task = None
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is not None:
            log.error("the journal failed; nothing is acknowledged any more", exc_info=failure)
            self._fail(failure)
        elif self._waiting:
            self._start()

    def _start(self) -> None:
        task = asyncio.get_running_loop().create_task(self._run())
        try:
            task.add_done_callback(self._ended)
        except MemoryError:
            task.cancel()  # nobody would note its end
            raise
        self._task = task

    def _fail(self, failure: BaseException) -> None:
        what = "is somebody else's now" if isinstance(failure, NotOwner) else "failed"
        self._failure = OutcomeUnknown(
            f"the journal {what} ({failure!r}): it is unknown whether the operation took effect; "
            "restart on the journal and retry with the same request ID"
        )
        while self._waiters:
            done = self._waiters.popleft()[1]
            if not done.done():
                done.set_exception(self._failure.again())
        self._on_failed(self._failure)

    async def close(self) -> None:
        """Wait until everything taken is durable, or has failed.

        An append that takes longer than `APPEND_S` is cancelled, and one that does not heed it is
        left behind: both count as failed.
        """
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
