"""Copies of a machine: by records, or from a snapshot in slices with the records since."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.machine cimport Machine
from pysignal.engine.records cimport Image


@cython.final
cdef class Restore:
    """A machine being rebuilt from the slices of a snapshot and the records since."""

    cdef readonly Machine machine
    cdef list covered           # (first slot, end slot, position) of each slice
    cdef dict deadlines         # ms, by slot of what is open
    cdef uint64_t slots         # that the machine had when the last slice was taken
    cdef str failed             # why nothing more can be done, or None
    cdef bint finished

    cdef int check_usable(self) except -1
    cdef uint64_t position_of(self, uint32_t slot) except? 0
    cdef int check_follows(
        self, uint64_t first, uint64_t end, uint64_t slots, uint64_t position,
    ) except -1
    cdef int load_image(self, Image image) except -1
    cdef uint32_t load_list(self, Image image) except? 0xFFFFFFFF


cdef int apply_record(Machine machine, bytes source, Restore restore) except -1
