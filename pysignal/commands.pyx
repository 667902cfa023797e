"""Commands: carried out at once where they can be, else in their turn, first come first served.

A command waits while others wait, while so much is undelivered that delivering has to come first,
or when it could not finish within its budget. It keeps the time of its arrival, and is carried
out even if its caller has stopped waiting. With a journal, what a command gives is held until every
record that it may rest on is durable.

A compiled caller that has an operation which needs no waiting (`is_free`) carries it out by itself,
after it has asked for a turn of the hub.
"""

import asyncio
import logging
from collections import deque

from cpython.pythread cimport PyThread_get_thread_ident

from pysignal.engine.facts cimport facts_waiting

from pysignal.errors import SignalingError
from pysignal.shard import MORE, STEPS_MAX
from pysignal.system_clock import stopwatch_ns

log = logging.getLogger("pysignal")

# Events waiting for delivery above which commands wait in turn: it keeps their queue bounded.
BACKLOG_MAX = 2048

# Items of a bulk command in one go.
cdef Py_ssize_t STEPS = STEPS_MAX

# How long a run of commands that waited keeps the loop.
RUN_NS = 1_000_000


cdef class Commands:
    """Carries out the commands of a hub, which is open until `is_open` is set to False.

    Args:
        clock: tells the time.
        ahead_ms: how much further engine time is.
        machine: the invitations.
        delivery: the queue of what is undelivered.
        publisher: hands what was committed to the journal and to the queue.
        turn: the hub's turn, called from the loop when there is something to do.
        writer: the journal's, or None.
        data_bytes_max: the limit of custom data.

    Attributes:
        is_open: whether the hub takes calls.
        is_scheduled: whether a turn was asked for that has not begun.
        has_room: whether new invitations are taken; a journal may be full.
        has_failed: whether the journal has.
    """

    def __init__(
        self,
        Clock clock not None,
        long long ahead_ms,
        Machine machine not None,
        Delivery delivery not None,
        Publisher publisher not None,
        turn,
        writer,
        Py_ssize_t data_bytes_max,
    ):
        self.data_bytes_max = data_bytes_max
        self.backlog_max = BACKLOG_MAX
        self.clock = clock
        self.ahead_ms = ahead_ms
        self.machine = machine
        self.delivery = delivery
        self.publisher = publisher
        self.turn = turn
        self.writer = writer
        loop = asyncio.get_running_loop()
        self.call_soon = loop.call_soon
        self.create_future = loop.create_future
        self.thread = PyThread_get_thread_ident()
        self.queue = deque()
        self.is_open = True
        self.has_room = True

    def __len__(self):
        return len(self.queue)

    @property
    def is_ready(self):
        """Whether a command waits that may be carried out now."""
        return len(self.queue) > 0 and self.backlog() < self.backlog_max

    cdef Py_ssize_t backlog(self) except -1:
        """How many entries wait for delivery, with the facts that will be some."""
        return len(self.delivery) + facts_waiting(&self.machine.core.facts)

    cdef bint takes(self, Receiver actor):
        """Whether an actor may call now, from this thread."""
        return self.is_open and actor.online and PyThread_get_thread_ident() == self.thread

    cdef bint is_free(self) except -1:
        """Whether an operation may be carried out now, without waiting for its turn."""
        return not self.queue and not self.has_failed and self.backlog() < self.backlog_max

    cdef bint is_journaled(self):
        """Whether an answer waits until what it rests on is durable."""
        return self.writer is not None

    cdef long long now_ms(self) except? -1:
        return self.clock.now_ms() + self.ahead_ms

    cdef int want_turn(self) except -1:
        if not self.is_scheduled and self.is_open:
            self.call_soon(self.turn)
            self.is_scheduled = True
        return 0

    def schedule(self):
        """Ask for a turn of the hub."""
        self.want_turn()

    async def perform(self, command, *args):
        """Carry out a command, and return or raise what it gives once that may be known.

        Args:
            command: called with the time of arrival and `args`; called again while it gives `MORE`.
            args: what the command takes beside.
        """
        cdef long long now_ms = self.now_ms()
        if self.writer is not None:
            self.writer.require()
        if self.queue or self.backlog() >= self.backlog_max:
            return await self._wait_in_turn(now_ms, command, args)
        self.want_turn()
        try:
            result = command(now_ms, *args)
        except SignalingError:
            if self.is_behind():
                await self.writer.arrive()
            raise
        if result is MORE:
            return await self._wait_in_turn(now_ms, command, args)
        if self.is_behind():
            await self.writer.arrive()
        return result

    cdef bint is_behind(self) except -1:
        """Whether something was committed that is not durable yet."""
        if self.writer is None:
            return False
        return self.publisher.has_more() or self.writer.durable < self.writer.accepted

    def until_durable(self):
        """An awaitable: all that was committed so far is durable; None where it is already."""
        if not self.is_behind():
            return None
        self.want_turn()
        return self.writer.arrive()

    def append(self, long long now_ms, command):
        """Let a command that nobody waits for be carried out in its turn."""
        self.queue.append(Waiting(now_ms, command, (), None))

    async def _wait_in_turn(self, long long now_ms, command, args):
        future = asyncio.get_running_loop().create_future()
        self.queue.append(Waiting(now_ms, command, args, future))
        self.want_turn()
        try:
            # The command is carried out even where nobody waits for it any more. The future is
            # awaited as it is: one more step, and events could overtake the answer.
            result = await future
        except SignalingError:
            if self.is_behind():
                self.want_turn()
                await self.writer.arrive()
            raise
        if self.is_behind():
            self.want_turn()
            await self.writer.arrive()
        return result

    def run(self):
        """Carry out commands that wait, as far as a turn goes."""
        cdef long long until_ns = stopwatch_ns() + RUN_NS
        while self.is_ready:
            waiting = self.queue[0]
            try:
                result = waiting.command(waiting.now_ms, *waiting.args)
            except Exception as error:
                self.queue.popleft().fail(error)
            else:
                if result is MORE:
                    self.publisher.publish()
                    return
                self.queue.popleft().succeed(result)
            if stopwatch_ns() >= until_ns:
                return

    def drop(self):
        """Carry out nothing that waits; who waits for it is still to be told."""
        dropped = [waiting for waiting in self.queue if waiting.future is not None]
        self.queue.clear()
        return dropped


cdef class Bulk:
    """A command over many items, in slices.

    Args:
        items: what to do, one after the other.
        act: carries one item out at a time of arrival, and returns its result, or MORE to be called
            again. A refusal that it raises is the item's result.
    """

    def __init__(self, list items not None, act):
        self.items = items
        self.act = act
        self.results = [None] * len(items)

    def __call__(self, now_ms):
        """Carry out some more; returns the results, in the order of the items, or MORE."""
        cdef Py_ssize_t until = min(self.at + STEPS, len(self.items))
        # Nothing here needs memory: no item is carried out whose result could get lost.
        while self.at < until:
            try:
                result = self.act(now_ms, self.items[self.at])
            except (SignalingError, MemoryError) as refusal:
                result = refusal
            if result is MORE:
                return MORE
            self.results[self.at] = result
            self.at += 1
        return MORE if self.at < len(self.items) else self.results


class Waiting:
    """A command that waits for its turn."""

    __slots__ = ("args", "command", "future", "now_ms")

    def __init__(self, now_ms, command, args, future):
        self.now_ms = now_ms
        self.command = command
        self.args = args
        self.future = future

    def succeed(self, result):
        """Answer it."""
        if self.future is not None and not self.future.done():
            self.future.set_result(result)

    def fail(self, error):
        """Refuse it."""
        if self.future is None:
            log.error("what was due could not be carried out", exc_info=error)
        elif not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever waited may have been cancelled
