"""Commands, in the order of their arrival: at once where nothing stands before them, or in turn.

Most commands are carried out in the call itself, without suspending. They queue up only while
something must come first: a mass expiry that takes more than one slice, or more events than the
turns of the loop have delivered. A command that waits keeps the time of its arrival, and is carried
out even if its caller has stopped waiting. With a journal, what a command gives is held until every
record that it may rest on is durable.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from pysignal.clock import stopwatch_ns
from pysignal.errors import SignalingError
from pysignal.journal.writer import Writer
from pysignal.shard import MORE

log = logging.getLogger("pysignal")

# Events waiting for delivery above which commands wait in turn: it keeps their queue bounded.
BACKLOG_MAX: Final = 512

# How long a run of commands that waited keeps the loop.
RUN_NS: Final = 1_000_000


class Commands:
    """Carries out the commands of a hub.

    Args:
        now_ms: tells engine time.
        backlog: tells how many events wait for delivery.
        schedule: asks for a turn of the hub.
        publish: finds the audience of what was committed, and hands its records to the journal.
        writer: the journal's, or None.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        backlog: Callable[[], int],
        schedule: Callable[[], None],
        publish: Callable[[], None],
        writer: Writer | None,
    ) -> None:
        self._now_ms = now_ms
        self._backlog = backlog
        self._schedule = schedule
        self._publish = publish
        self._writer = writer
        self._queue: deque[Waiting] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def is_ready(self) -> bool:
        """Whether a command waits that may be carried out now."""
        return bool(self._queue) and self._backlog() < BACKLOG_MAX

    async def perform(self, command: Callable[..., Any], *args: Any) -> Any:
        """Carry out a command, and return or raise what it gives once that may be known.

        Args:
            command: called with the time of arrival and `args`; called again while it gives `MORE`.
            args: what the command takes beside.
        """
        now_ms = self._now_ms()
        if self._writer is not None:
            self._writer.require()
        if self._queue or self._backlog() >= BACKLOG_MAX:
            return await self._wait_in_turn(now_ms, command, args)
        self._schedule()
        try:
            result = command(now_ms, *args)
        except SignalingError:
            if self._writer is not None:
                await self._until_durable(self._writer)
            raise
        if result is MORE:
            return await self._wait_in_turn(now_ms, command, args)
        if self._writer is not None:
            await self._until_durable(self._writer)
        return result

    def append(self, now_ms: int, command: Callable[..., Any]) -> None:
        """Let a command that nobody waits for be carried out in its turn."""
        self._queue.append(Waiting(now_ms, command, (), None))

    async def _wait_in_turn(
        self, now_ms: int, command: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(Waiting(now_ms, command, args, future))
        self._schedule()
        try:
            # The command is carried out even where nobody waits for it any more. The future is
            # awaited as it is: one more step, and events could overtake the answer.
            result = await future
        except SignalingError:
            if self._writer is not None:
                await self._until_durable(self._writer)
            raise
        if self._writer is not None:
            await self._until_durable(self._writer)
        return result

    async def _until_durable(self, writer: Writer) -> None:
        self._publish()
        await writer.wait()

    def run(self) -> None:
        """Carry out commands that wait, as far as a turn goes."""
        until_ns = stopwatch_ns() + RUN_NS
        while self.is_ready:
            waiting = self._queue[0]
            try:
                result = waiting.command(waiting.now_ms, *waiting.args)
            except Exception as error:
                self._queue.popleft().fail(error)
            else:
                if result is MORE:
                    self._publish()
                    return
                self._queue.popleft().succeed(result)
            if stopwatch_ns() >= until_ns:
                return

    def drop(self) -> list[Waiting]:
        """Carry out nothing that waits; who waits for it is still to be told."""
        dropped = [waiting for waiting in self._queue if waiting.future is not None]
        self._queue.clear()
        return dropped


class Waiting:
    """A command that waits for its turn."""

    __slots__ = ("args", "command", "future", "now_ms")

    def __init__(
        self,
        now_ms: int,
        command: Callable[..., Any],
        args: tuple[Any, ...],
        future: asyncio.Future[Any] | None,
    ) -> None:
        self.now_ms = now_ms
        self.command = command
        self.args = args
        self.future = future

    def succeed(self, result: Any) -> None:
        """Answer it."""
        if self.future is not None and not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        """Refuse it."""
        if self.future is None:
            log.error("what was due could not be carried out", exc_info=error)
        elif not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever waited may have been cancelled
