"""Commands: carried out at once, or in their turn (see `commands.pyx`)."""

cimport cython

from pysignal.delivery cimport Delivery
from pysignal.engine.machine cimport Machine
from pysignal.publisher cimport Publisher
from pysignal.receivers cimport Receiver
from pysignal.system_clock cimport Clock


@cython.final
cdef class Commands:
    """Carries out the commands of a hub."""

    cdef Clock clock
    cdef Machine machine
    cdef Delivery delivery
    cdef object writer
    cdef Publisher publisher
    cdef object call_soon
    cdef readonly object create_future
    cdef object turn
    cdef object queue
    cdef long long ahead_ms
    cdef unsigned long thread
    cdef Py_ssize_t data_bytes_max
    cdef Py_ssize_t backlog_max
    cdef public bint is_open
    cdef public bint is_scheduled
    cdef public bint has_room
    cdef public bint has_failed

    cdef bint takes(self, Receiver actor)
    cdef bint is_free(self) except -1
    cdef bint is_journaled(self)
    cdef bint is_behind(self) except -1
    cdef long long now_ms(self) except? -1
    cdef int want_turn(self) except -1
    cdef Py_ssize_t backlog(self) except -1


@cython.final
cdef class Bulk:
    """A command over many items, in slices."""

    cdef list items
    cdef object act
    cdef list results
    cdef Py_ssize_t at          # of the next item
