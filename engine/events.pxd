"""Facts as events: the reading that people hear."""

from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.core cimport core_t
from pysignal.engine.facts cimport Event, fact_t
from pysignal.engine.texts cimport spelled_t
from pysignal.engine.users cimport Names
from pysignal.engine.views cimport InvitationInfo

cdef list events_of(
    const core_t *c, uint32_t *count, uint64_t up_to, spelled_t *spelled, Names users,
    Names groups, list rolls,
)
cdef Event event_of(
    const core_t *c, const fact_t *fact, spelled_t *spelled, Names users, Names groups, list rolls,
)
cdef Event opened_again(InvitationInfo info)
cdef int drop_rolls(const core_t *c, list rolls) except -1
