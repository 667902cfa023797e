"""Copies of a machine: by records, or from a snapshot in slices with the records since."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.binary cimport reader_t
from pysignal.engine.machine cimport Machine

ctypedef struct covered_t:  # a slice that has been loaded
    uint64_t position       # up to which its slots are complete
    uint32_t first          # slot
    uint32_t end            # one past the last


@cython.final
cdef class Restore:
    """A machine being rebuilt from the slices of a snapshot and the records since."""

    cdef readonly Machine machine
    cdef covered_t *covered     # slices in order
    cdef uint32_t covered_count
    cdef uint32_t covered_room
    cdef uint64_t slots         # that the machine had when the last slice was taken
    cdef str failed             # why nothing more can be done, or None
    cdef bint finished

    cdef int check_usable(self) except -1
    cdef uint64_t position_of(self, uint32_t slot) noexcept
    cdef int check_follows(
        self, uint64_t first, uint64_t end, uint64_t slots, uint64_t position,
    ) except -1
    cdef int reserve_covered(self) except -1
    cdef int load_slots(self, reader_t *r, uint32_t first, uint32_t count) except -1


cdef int apply_record(Machine machine, bytes source, Restore restore) except -1
