"""Outboxes: what a session's client is sent, and what is kept for it (`outbox.pyx`)."""

cimport cython
from libc.stdint cimport uint64_t

from pysignal.engine.facts cimport Event
from pysignal.receivers cimport Call


@cython.final
cdef class Message:
    """What is sent to all who hear an event or a callback of a group."""

    cdef readonly uint64_t number
    cdef readonly long long at_ms
    cdef readonly object item
    cdef readonly bytes text


@cython.final
cdef class Writer:
    """Writes each message once."""

    cdef object now_ms
    cdef str begin
    cdef list ring
    cdef Message last_call
    cdef readonly uint64_t number

    cdef Message message_of(self, Event event)
    cdef Message message_of_call(self, Call call)


@cython.final
cdef class Flusher:
    """Sends what waits in outboxes."""

    cdef object call_soon
    cdef list waiting
    cdef bint is_scheduled

    cdef int want(self, Outbox outbox) except -1


@cython.final
cdef class Outbox:
    """What one session's client is sent, and what is kept for when it comes back."""

    cdef Writer writer
    cdef Flusher flusher
    cdef object overflowed
    cdef Py_ssize_t kept_max
    cdef Py_ssize_t count_max
    cdef Py_ssize_t bytes_max
    cdef long long keep_ms
    cdef readonly uint64_t lost
    cdef public uint64_t position
    cdef readonly bint is_short
    cdef object history         # a deque of messages, or None
    cdef object dropped_ends    # a deque of events, or None
    cdef object wire            # the connection's, or None
    cdef list unsent            # texts that wait for it, or None
    cdef Py_ssize_t unsent_bytes
    cdef Py_ssize_t count_most  # that may wait now, with what a client that is back has missed
    cdef Py_ssize_t bytes_most
    cdef bint is_paused

    cdef int take(self, Message message) except -1
    cdef int forget(self, long long until_ms) except -1
    cdef int add(self, bytes text) except -1
    cdef int send(self) except -1
    cdef int nothing_waits(self) except -1
