"""What an operation awaits until it is durable.

A future would do, and costs a turn of the event loop and a microsecond an operation: it asks the
loop to wake its task. Here a whole commit wakes its tasks one after the other, at once, in the
callback that learned of it, as no other task is being carried out then. Tasks know it by the
protocol of futures: `_asyncio_future_blocking`, `add_done_callback`, `result`, `cancel`.
"""

cimport cython

from asyncio import CancelledError, current_task

# Tasks woken between two looks at the clock.
cdef enum: WOKEN_PER_LOOK = 16


@cython.freelist(1024)
cdef class Acknowledgement:
    """Awaited by one task; done when what it stands for is durable, or never will be.

    Args:
        loop: on which it is awaited.
    """

    def __init__(self, loop):
        self.loop = loop

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        if not self.is_done:
            self._asyncio_future_blocking = True
            return self
        self.result()
        raise StopIteration

    def get_loop(self):
        """The loop on which it is awaited."""
        return self.loop

    def add_done_callback(self, wakeup, *, context=None):
        """Wake a task in its context when this is done; there is but one."""
        self.wakeup = wakeup
        self.context = context
        if self.is_done:
            self.finish(False)

    def cancel(self, msg=None):
        """Stop waiting; what it stands for goes on. False where it is done already."""
        if self.is_done:
            return False
        self.error = CancelledError() if msg is None else CancelledError(msg)
        self.finish(False)
        return True

    def result(self):
        """Nothing, or raise why it will never be durable."""
        if self.error is not None:
            raise self.error

    def fail(self, error not None):
        """End the wait by an error; one that has ended stays as it is."""
        if not self.is_done:
            self.error = error
            self.finish(False)

    cdef int finish(self, bint at_once) except -1:
        """End the wait, and wake the task: in this call, or in a turn of its own."""
        wakeup, context = self.wakeup, self.context
        self.is_done = True
        if wakeup is None:
            return 0
        if at_once:
            self.wakeup = self.context = None
            context.run(wakeup, self)
        else:
            self.loop.call_soon(wakeup, self, context=context)
            self.wakeup = self.context = None
        return 0


def finish_some(list waiting not None, long long until_ns, stopwatch):
    """Wake those who wait, the last first, and take them out of the list, as far as time goes.

    Args:
        waiting: in reverse order.
        until_ns: when to stop, by the stopwatch; at least one is woken.
        stopwatch: tells ns.
    """
    cdef Acknowledgement one
    cdef bint at_once = current_task() is None
    while waiting:
        for _ in range(WOKEN_PER_LOOK):
            if not waiting:
                return
            one = <Acknowledgement>waiting.pop()
            if not one.is_done:
                one.finish(at_once)
        if stopwatch() >= until_ns:
            return
