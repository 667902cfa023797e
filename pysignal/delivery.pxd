"""Delivery: who hears an event, and calling them (see `delivery.pyx`)."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.facts cimport Event


@cython.final
cdef class Subscription:
    """One listener of one session, with the methods it overrides."""

    cdef readonly object listener
    cdef public bint active
    cdef list methods           # by kind of event: a method or None
    cdef object on_event
    cdef readonly bint is_queued


cdef class Receiver:
    """One session, as far as delivery needs it."""

    cdef readonly str user_id
    cdef readonly str device_id
    cdef readonly uint32_t device_number
    cdef public bint online
    cdef public list _subscriptions
    cdef public list _streams
    cdef public object _courier
    cdef public uint64_t _since

    cdef int hear(self, Event event) except -1
    cdef int queue(self, method, tuple args, Subscription subscription, Event event) except -1


@cython.final
cdef class Account:
    """A user who is logged in, or whose devices are remembered."""

    cdef readonly str user_id
    cdef public list online
    cdef public dict devices


@cython.final
cdef class Call:
    """A callback that is no event of an invitation: its method, by name, and its arguments."""

    cdef readonly str name
    cdef readonly tuple args
    cdef readonly str group_id


@cython.final
cdef class Entry:
    """One item of the queue: an event or a call, for whom, and as of which commit."""

    cdef readonly object item
    cdef readonly list receivers
    cdef readonly Receiver acting
    cdef readonly uint64_t rests_on
    cdef uint64_t number


@cython.final
cdef class Delivery:
    """The queue between what was committed and who hears it."""

    cdef readonly dict accounts
    cdef readonly dict watchers
    cdef public uint64_t durable
    cdef public uint64_t fed
    cdef readonly uint64_t posted
    cdef readonly list told
    cdef object queue
    cdef object failed
    cdef Entry current
    cdef Py_ssize_t at
    cdef int calls
    cdef int calls_per_look
    cdef long long looked_ns
    cdef list recent
    cdef Py_ssize_t recent_at
    cdef Event followed         # handed over to the handles that are left in `followers`
    cdef list followers

    cdef bint is_late(self, long long until_ns, now_ns) except -1
    cdef int note_told(self, Event event, Receiver receiver) except -1
    cdef int feed(self, Event event) except -1
    cdef int feed_some(self) except -1
    cdef int give(self, Entry entry, Receiver receiver) except -1
