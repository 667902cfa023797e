"""Receivers: sessions as delivery knows them, and calling their listeners (`receivers.pyx`)."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.facts cimport Event

# What the queues of a session, or of a handle, take in one drain before their readers have a turn.
cdef enum: QUEUED_PER_TURN = 512

cdef enum:  # Heard: what a receiver asks of the drain that has handed it an event
    LET_RUN = 1             # its courier and its streams' readers should have a turn of the loop
    HAS_BATCH = 2           # it began a batch: call `flush` soon


@cython.final
cdef class Subscription:
    """One listener of one session, with the methods it overrides."""

    cdef public bint active
    cdef readonly bint is_queued
    cdef bint is_plain          # neither queued nor told of events as a whole
    # By kind of event, a method or None; not in a list, which would lie elsewhere in memory.
    cdef object on_opened
    cdef object on_accepted
    cdef object on_rejected
    cdef object on_cancelled
    cdef object on_timed_out
    cdef object on_modified
    cdef object on_event
    cdef object on_events
    cdef list batch             # events for `on_events`, or None
    cdef readonly object listener

    cdef object method_for(self, Event event)


cdef class Receiver:
    """One session, as far as delivery needs it."""

    # What each delivery looks at comes first, and lies together.
    cdef public bint online
    cdef readonly uint32_t device_number
    cdef public uint64_t _since
    cdef Subscription only      # the one listener, where there is just one; else None
    cdef list streams           # None where there are none
    cdef list subscriptions     # all of them
    cdef uint32_t number        # of the user in the engine, as it was last; see `Names.find_near`
    cdef int queued
    cdef bint has_batch
    cdef uint64_t turn          # the drain in which `queued` were put into queues
    cdef readonly str user_id
    cdef readonly str device_id
    cdef public object signaling
    cdef public object _commands
    cdef public dict _watches

    cdef int hear(self, Event event, uint64_t turn) except -1
    cdef int tell(self, Subscription subscription, Event event, uint64_t turn) except -1
    cdef int call(self, method, Event event, bint whole, Subscription subscription) except -1
    cdef int queue(self, method, tuple args, Subscription subscription, about) except -1
    cdef bint is_filling(self, uint64_t turn) noexcept
    cdef int flush(self) except -1


@cython.final
cdef class Account:
    """A user who is logged in, or whose devices are remembered."""

    cdef readonly str user_id
    cdef int count              # of the sessions
    cdef uint32_t number        # of the user in the engine, where delivery keeps it; or NONE
    cdef Receiver only          # the one session, where there is just one; else None
    cdef list sessions
    cdef public dict devices


@cython.final
cdef class Call:
    """A callback that is no event of an invitation: its method, by name, and its arguments."""

    cdef readonly str name
    cdef readonly tuple args
    cdef readonly str group_id
    cdef readonly uint64_t position
