"""Random bits beside the machine, so that the machine itself has none."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ENTROPY_WORDS = 512
    KEY_WORDS = 4           # of those without a seed, the first ones become the next key


@cython.final
cdef class Entropy:
    """A source of 64-bit numbers: unpredictable, or repeatable from a seed."""

    cdef uint64_t[512] words
    cdef uint64_t[4] key    # of the stream; nothing where `keyed` is False
    cdef uint32_t used
    cdef bint seeded
    cdef bint keyed
    cdef uint64_t state
    cdef object __weakref__

    cdef int refill(self) except -1

    cdef inline uint64_t next(self) except? 0:
        """The next number, 64 bits."""
        if self.used == ENTROPY_WORDS:
            self.refill()
        self.used += 1
        return self.words[self.used - 1]
