"""The machine: a core with names, texts and randomness of its own; what Python code uses."""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pysignal.engine.binary cimport writer_t
from pysignal.engine.core cimport core_t
from pysignal.engine.entropy cimport Entropy
from pysignal.engine.texts cimport spelled_t
from pysignal.engine.users cimport Names


@cython.final
cdef class Machine:
    """Invitations of one shard."""

    cdef core_t core
    cdef Names users
    cdef Names groups
    cdef dict logins            # user -> how many `hold`
    cdef list rolls             # Roll by list index, or None
    cdef spelled_t spelled      # texts of IDs that operations have named, for their events
    cdef Entropy entropy
    cdef bytes key
    cdef uint32_t invitees_max
    cdef uint32_t recorded      # facts at the head that were recorded and not taken yet
    cdef readonly bint journaled
    cdef writer_t scratch       # for records and slices
    cdef uint32_t *numbers      # scratch for one list of invitees
    cdef uint32_t numbers_room

    cdef int forget_idle(self, Py_ssize_t count) except -1
    cdef uint32_t number_of(self, str user, str what) except? 0xFFFFFFFF
    cdef uint32_t number_of_group(self, str group) except? 0xFFFFFFFF
    cdef uint32_t intern_all(self, list users) except? 0xFFFFFFFF
    cdef int settle_result(
        self, int result, str invite_id, uint32_t user, uint64_t handle=*,
    ) except -1
    cdef void release_data(self, uint32_t count) noexcept
    cdef int answer(
        self, uint64_t now_ms, str invite_id, str invitee, uint8_t status, str data,
        uint32_t device,
    ) except -1
