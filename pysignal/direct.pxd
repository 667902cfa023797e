"""The operations on invitations that need not wait (see `direct.pyx`)."""

from libc.stdint cimport uint8_t

from pysignal.receivers cimport Receiver
from pysignal.requests cimport OfUser


cdef class DirectSignaling:
    """The operations on invitations, as far as they can be carried out at once."""

    cdef readonly Receiver _actor
    cdef OfUser own             # the actor's requests, as they were known last

    cdef bint is_journaled(self)
    cdef object durable(self)
    cdef str open_now(self, invitee, data, timeout, online_only, request_id)
    cdef bint answer_now(self, uint8_t status, invite_id, data, request_id) except -1
