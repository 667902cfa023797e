"""Random bits for invite IDs.

Asking the operating system for each ID would cost more than all the rest of an invitation, so 4 KiB
are asked for at once. After a fork the child throws away what it shares with its parent: two
processes must never hand out the same bits.
"""

import os
import weakref

from libc.string cimport memcpy

_SOURCES = weakref.WeakSet()


def _after_fork():
    for source in list(_SOURCES):
        source.discard()


os.register_at_fork(after_in_child=_after_fork)


cdef class Entropy:
    """A source of 64-bit numbers.

    Args:
        seed: None for unpredictable numbers from the operating system; a number for a sequence that
            is the same each time, for tests and simulations only: its IDs can be guessed.
    """

    def __cinit__(self, seed=None):
        self.used = ENTROPY_WORDS
        if seed is not None and not isinstance(seed, int):
            raise TypeError(f"seed: a number or None, not {type(seed).__name__}")
        self.seeded = seed is not None
        if self.seeded:
            self.state = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)
        else:
            _SOURCES.add(self)

    def discard(self):
        """Throw away the numbers that are left of the last refill."""
        self.used = ENTROPY_WORDS

    def draw(self):
        """The next number, 64 bits."""
        return self.next()

    cdef int refill(self) except -1:
        cdef bytes fresh
        cdef uint64_t x
        cdef int i
        if self.seeded:
            for i in range(ENTROPY_WORDS):     # splitmix64
                self.state += <uint64_t>0x9E3779B97F4A7C15
                x = self.state
                x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
                x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
                self.words[i] = x ^ (x >> 31)
        else:
            fresh = os.urandom(sizeof(self.words))
            memcpy(self.words, <const char *>fresh, sizeof(self.words))
        self.used = 0
        return 0

    cdef uint64_t next(self) except? 0:
        if self.used == ENTROPY_WORDS:
            self.refill()
        self.used += 1
        return self.words[self.used - 1]
