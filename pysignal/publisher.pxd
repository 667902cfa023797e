"""Publishing what was committed (see `publisher.pyx`)."""

cimport cython

from pysignal.delivery cimport Delivery
from pysignal.engine.facts cimport Event
from pysignal.engine.machine cimport Machine
from pysignal.requests cimport Requests


@cython.final
cdef class Publisher:
    """Takes what was committed to the journal and to the queue of deliveries."""

    cdef Machine machine
    cdef Delivery delivery
    cdef object groups
    cdef object presence
    cdef Requests requests
    cdef object writer
    cdef object online
    cdef readonly dict _parties
    cdef list records
    cdef list taken
    cdef Py_ssize_t at          # of the next of `taken` that was not passed on

    cdef bint has_more(self) except -1
    cdef bint has_facts(self)
    cdef int write(self) except -1
    cdef int write_requests(self) except -1
    cdef list audience(self, Event event)
    cdef int note_list(self, Event event) except -1
    cdef list change(self, record, made)
