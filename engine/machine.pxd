"""The machine: a core with names, texts and randomness of its own; what Python code uses."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pysignal.engine.core cimport core_t, invitation_t
from pysignal.engine.entropy cimport Entropy
from pysignal.engine.facts cimport Event, Roll, fact_t
from pysignal.engine.users cimport Names
from pysignal.engine.views cimport InvitationInfo


@cython.final
cdef class Machine:
    """Invitations of one shard."""

    cdef core_t core
    cdef Names users
    cdef Names groups
    cdef list rolls             # Roll by list index, or None
    cdef Entropy entropy
    cdef bytes key
    cdef uint32_t invitees_max
    cdef uint32_t recorded      # facts at the head that were recorded and not taken yet
    cdef readonly bint journaled
    cdef uint32_t *numbers      # scratch for one list of invitees
    cdef uint32_t numbers_room

    cdef int intern_all(self, invitees) except -1
    cdef int drop_rolls(self) except -1
    cdef Roll roll_of(self, uint32_t index, uint64_t position)
    cdef tuple ended_at(self, const invitation_t *one, uint64_t position)
    cdef int settle_result(self, int result, str invite_id, uint32_t user) except -1
    cdef Event event_of(self, const fact_t *fact)
    cdef InvitationInfo info_of(self, uint32_t slot)
    cdef int answer(
        self, uint64_t now_ms, str invite_id, str invitee, uint8_t status, str data,
        uint32_t device,
    ) except -1


cpdef int require_abi(int abi) except -1
