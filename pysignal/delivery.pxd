"""Delivery: who hears an event, and calling them (see `delivery.pyx`)."""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.facts cimport Event
from pysignal.receivers cimport Account, Receiver


@cython.final
cdef class Entry:
    """One item of the queue: an event or a call, for whom, and as of which commit."""

    cdef object item
    cdef Receiver inviter       # a session of each party, where each has one at most
    cdef Receiver invitee
    cdef list receivers         # else, and besides
    cdef Receiver acting        # the one of them that did it, or None
    cdef uint64_t rests_on
    cdef uint64_t number
    cdef Entry next             # in the queue


@cython.final
cdef class Delivery:
    """The queue between what was committed and who hears it."""

    cdef readonly dict accounts
    cdef readonly dict watchers
    cdef public uint64_t durable
    cdef public uint64_t fed
    cdef readonly uint64_t posted
    cdef readonly list told
    cdef Entry head             # of the queue, or None
    cdef Entry tail
    cdef Py_ssize_t waiting     # entries in the queue
    cdef object failed
    cdef Py_ssize_t run         # entries at the head of the queue that are being handed over
    cdef Py_ssize_t at          # place of the receiver that hears them
    cdef Py_ssize_t step        # how many of them it has heard
    cdef Entry stepped          # the next of them
    cdef int calls
    cdef int calls_per_look
    cdef long long looked_ns
    cdef list recent
    cdef Py_ssize_t recent_at
    cdef Event followed         # handed over to the handles that are left in `followers`
    cdef list followers
    cdef int followed_count     # events of this drain that anybody follows
    cdef list by_number         # Account or None, by number of the user in the engine
    cdef list batching          # sessions with a batch
    cdef uint64_t turn          # drains so far
    cdef uint64_t position      # commit position of the last event that was queued
    cdef bint let_run           # a queue of this drain should be read before it goes on

    cdef int post_to_parties(self, Event event, uint64_t rests_on) except -1
    cdef int foresee(self, Event event) except -1
    cdef Account account_of(self, uint32_t number, str user)
    cdef int remember(self, Account account, uint32_t number) except -1
    cdef Receiver acting(self, Event event, Account account)
    cdef Entry append(self, item, list receivers, Receiver acting, uint64_t rests_on)
    cdef int pop(self) except -1
    cdef int begin_run(self) except -1
    cdef int hand_over(self, Receiver receiver) except -1
    cdef bint flush(self, long long until_ns, now_ns) except -1
    cdef bint is_late(self, long long until_ns, now_ns) except -1
    cdef int note_told(self, Event event, Receiver receiver) except -1
    cdef int feed(self, Event event) except -1
    cdef int feed_some(self) except -1
    cdef int give(self, Entry entry, Receiver receiver) except -1
