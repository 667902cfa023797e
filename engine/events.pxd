"""Facts as events: the reading that people hear."""

from pysignal.engine.core cimport core_t
from pysignal.engine.facts cimport Event, fact_t
from pysignal.engine.users cimport Names

cdef Event event_of(const core_t *c, const fact_t *fact, Names users, Names groups, list rolls)
cdef int drop_rolls(const core_t *c, list rolls) except -1
