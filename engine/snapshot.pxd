"""Copies of a machine: by records, or from a snapshot in slices with the records since."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.machine cimport Machine
from pysignal.engine.records cimport Reader


@cython.final
cdef class Restore:
    """A machine being rebuilt from the slices of a snapshot and the records since."""

    cdef readonly Machine machine
    cdef list covered           # (first slot, end slot, position) of each slice
    cdef dict deadlines         # ms, by slot of what is open
    cdef uint64_t first_position
    cdef bint finished

    cdef int load_image(self, Reader reader) except -1
    cdef int load_list(self, Reader reader, uint32_t slot) except -1


cdef int apply_record(Machine machine, bytes record, Restore restore) except -1
