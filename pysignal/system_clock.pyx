"""The system's clocks. Compiled, as every operation asks for the time."""

import asyncio

from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, clockid_t, timespec

# How far ahead an event loop's timer is set at most; a later one is set again on the way.
cdef double SLEEP_MAX_S = 86_400.0

cdef enum:
    NS_PER_S = 1_000_000_000
    NS_PER_MS = 1_000_000


cdef inline long long read_ns(clockid_t which) noexcept nogil:
    cdef timespec at
    clock_gettime(which, &at)
    return <long long>at.tv_sec * NS_PER_S + at.tv_nsec


cdef class Clock:
    """Engine time from the system's clocks.

    Args:
        start_ms: engine time at the beginning, ms since the epoch, for an engine that goes on from
            a later time than the wall clock shows; the wall clock where it is later.
    """

    def __init__(self, long long start_ms=0):
        self.offset_ns = max(read_ns(CLOCK_REALTIME), start_ms * NS_PER_MS) - read_ns(
            CLOCK_MONOTONIC
        )

    cpdef long long now_ms(self) except? -1:
        """Engine time, ms since the epoch. Never steps back."""
        return (read_ns(CLOCK_MONOTONIC) + self.offset_ns) // NS_PER_MS

    def call_at(self, long long when_ms, call):
        """Call back from the running event loop at engine time `when_ms`, or as soon as it can."""
        loop = asyncio.get_running_loop()
        cdef double wait_s = (
            when_ms * NS_PER_MS - read_ns(CLOCK_MONOTONIC) - self.offset_ns
        ) / <double>NS_PER_S
        return loop.call_later(min(max(wait_s, 0.0), SLEEP_MAX_S), call)

    def attach(self, is_busy):
        """Make known who works by this clock; only a virtual one has to wait for them."""

    def detach(self, is_busy):
        """Undo `attach`."""


def stopwatch_ns():
    """Time that has passed, in ns from no particular point, for measuring how long work takes."""
    return read_ns(CLOCK_MONOTONIC)
