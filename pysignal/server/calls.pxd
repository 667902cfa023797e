"""Calls: requests on their way (`calls.pyx`)."""

cimport cython

from pysignal.direct cimport DirectSignaling
from pysignal.server.outbox cimport Outbox


@cython.final
cdef class Caller:
    """Carries out the operations that one connection asks for."""

    cdef object session
    cdef DirectSignaling signaling
    cdef Outbox outbox
    cdef object post
    cdef str prefix

    cdef str request_id(self, request, params)
    cdef bint take_now(self, request) except -1


@cython.final
cdef class Later:
    """An answer that waits until what it tells of is durable."""

    cdef object number
    cdef bytes text
    cdef object post


@cython.final
cdef class Call:
    """An operation on its way: a coroutine of the session."""

    cdef object number
    cdef object operation
    cdef object write
    cdef object post
