"""The Python face of the timer wheel."""

from libc.stdint cimport int64_t, uint32_t, uint64_t


cdef class Wheel:
    """A timer wheel of its own; timers are small numbers that the caller chooses.

    Args:
        now_ms: the time at the beginning, in ms, 64 bits.
        limit: timers from 0 to limit - 1, at most 2**31.
    """

    def __cinit__(self, uint64_t now_ms=0, uint32_t limit=1 << 24):
        if limit > <uint32_t>HEAD:
            raise ValueError(f"limit: at most 2**31 timers, not {limit}")
        wheel_init(&self.wheel, now_ms, limit)

    def __dealloc__(self):
        slab_free(&self.wheel.timers)

    def __len__(self):
        return self.wheel.armed

    @property
    def now_ms(self):
        """The time: all before it has expired."""
        return self.wheel.now

    @property
    def next_ms(self):
        """The earliest time at which there may be something to do; None when nothing is armed."""
        cdef uint64_t due = wheel_next(&self.wheel)
        return due if self.wheel.armed else None

    def arm(self, uint32_t timer, uint64_t deadline_ms, uint32_t kind=1):
        """Arm a timer that is not armed.

        Args:
            timer: 0 to limit - 1.
            deadline_ms: at most 34 days after now; not after now means at once.
            kind: 1 or more; the C face gives it back at the expiry.
        """
        cdef uint32_t fresh = self.wheel.timers.top
        if timer >= self.wheel.timers.limit:
            raise IndexError(f"timer: 0 to {self.wheel.timers.limit - 1}, not {timer}")
        if kind == 0:
            raise ValueError("kind: 1 or more; 0 marks a timer that is not armed")
        if (
            deadline_ms > self.wheel.now
            and deadline_ms - self.wheel.now > <uint64_t>WHEEL_SPAN_DAYS * 86_400_000
        ):
            raise ValueError(f"deadline_ms: at most {WHEEL_SPAN_DAYS} days after now")
        if timer >= fresh:
            if not slab_reserve(&self.wheel.timers, timer + 1):
                raise MemoryError("timers: no memory for another chunk")
            self.wheel.timers.top = timer + 1
            while fresh <= timer:
                timer_at(&self.wheel, fresh).kind = 0
                fresh += 1
        if timer_at(&self.wheel, timer).kind:
            raise ValueError(f"timer {timer} is armed already: disarm it first")
        wheel_arm(&self.wheel, timer, deadline_ms, kind)

    def disarm(self, uint32_t timer):
        """Disarm a timer; False when it was not armed."""
        if timer >= self.wheel.timers.top or timer_at(&self.wheel, timer).kind == 0:
            return False
        wheel_disarm(&self.wheel, timer)
        return True

    def deadline_ms(self, uint32_t timer):
        """The deadline of an armed timer, or None."""
        if timer >= self.wheel.timers.top or timer_at(&self.wheel, timer).kind == 0:
            return None
        return wheel_deadline(&self.wheel, timer)

    def advance(self, uint64_t now_ms, int64_t budget=1 << 62):
        """Move time to `now_ms` and report what fell due, in the order of deadlines.

        Args:
            now_ms: the new time; earlier than now changes nothing.
            budget: steps at most; a step is an expiry or one timer coming down a ring.

        Returns:
            (timers that expired, whether more is due): with more due, time has not arrived yet.
        """
        cdef uint32_t timer, kind = 0
        cdef list expired = []
        while True:
            timer = wheel_step(&self.wheel, now_ms, &budget, &kind)
            if timer == NONE:
                return expired, budget <= 0
            expired.append(timer)
