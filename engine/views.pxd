"""Invitations as Python objects, whole, for queries and login snapshots."""

cimport cython
from libc.stdint cimport uint32_t

from pysignal.engine.core cimport core_t
from pysignal.engine.users cimport Names


@cython.final
cdef class InvitationInfo:
    """One invitation as it stands at the moment of asking (SPEC section 7)."""

    cdef readonly str invite_id
    cdef readonly str group_id
    cdef readonly str inviter
    cdef readonly str data
    cdef readonly str state
    cdef readonly str reason
    cdef readonly dict statuses
    cdef readonly object expires_at
    cdef readonly object ended_at
    cdef readonly long long opened_at
    cdef readonly unsigned int seq
    cdef readonly unsigned int data_version
    cdef readonly unsigned long long position
    cdef readonly unsigned long long ended_position
    cdef readonly bint online_only
    cdef readonly bint parties_only
    cdef readonly bint no_deadline
    cdef readonly unsigned int ended_by


cdef InvitationInfo info_of(const core_t *c, uint32_t slot, Names users, Names groups)
cdef list infos_pending(const core_t *c, uint32_t user, Names users, Names groups)
cdef list infos_sent(const core_t *c, uint32_t user, Names users, Names groups)
cdef list ids_in_group(const core_t *c, uint32_t group)
cdef list ids_of_party(const core_t *c, uint32_t user)
cdef list infos_of_lists(const core_t *c, Names users, Names groups)
cdef dict stats_of(const core_t *c)
