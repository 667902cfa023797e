"""Following an invitation: its outcome, its events (see `following.pyx`)."""

cimport cython

from pysignal.delivery cimport Delivery
from pysignal.engine.facts cimport Event
from pysignal.engine.machine cimport Machine
from pysignal.receivers cimport Receiver


@cython.final
cdef class Outcome:
    """How an invitation ended."""

    cdef readonly str invite_id
    cdef readonly str state
    cdef readonly str reason
    cdef readonly Event event
    cdef dict known             # the statuses; None for those of `event`, of its one invitee


cdef class Followers


cdef class Watch:
    """One follower of an invitation, entered with the hub; delivery feeds it."""

    cdef readonly Receiver actor
    cdef readonly str invite_id
    cdef Followers followers    # where it is entered, or None


@cython.final
cdef class OutcomeWatch(Watch):
    """Somebody who awaits the outcome; each has a future of their own."""

    cdef public dict statuses   # None where there is one invitee
    cdef public object ending


@cython.final
cdef class Followers:
    """Who follows which invitation."""

    cdef Delivery delivery
    cdef Machine machine
    cdef Py_ssize_t count

    cdef int add(self, Watch watch) except -1
