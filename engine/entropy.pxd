"""Random bits beside the machine, so that the machine itself has none."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

cdef enum: ENTROPY_WORDS = 512


@cython.final
cdef class Entropy:
    """A source of 64-bit numbers: unpredictable, or repeatable from a seed."""

    cdef uint64_t[512] words
    cdef uint32_t used
    cdef bint seeded
    cdef uint64_t state
    cdef object __weakref__

    cdef int refill(self) except -1
    cdef uint64_t next(self) except? 0
