"""The system's clocks, read as seldom as can be and as cheaply (see `system_clock.pyx`)."""


cdef class Clock:
    """Engine time from the system's clocks."""

    cdef long long offset_ns

    cpdef long long now_ms(self) except? -1
