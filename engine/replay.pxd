"""Applying records: decisions made elsewhere, carried out live or on top of a snapshot.

A record is a decision: it is never weighed again, only compared with what the copy holds, so that a
record of another history, or a damaged one, is found before it changes anything. `replay_apply`
carries it out on another core, which then has the same invitations in the same slots under the same
IDs. Two ways:

* in order, from the start or on a live copy: position after position, and what the copy has already
  is skipped;
* on a snapshot that was taken in slices while operations went on. Then the slices are loaded first,
  each with the position up to which it is complete, and the records since the first slice are
  applied over them: what a slot has from its slice is skipped. Meanwhile the core is `restoring`:
  nothing is linked, and a timer only keeps its deadline. `replay_finish` links lists, timers,
  tombstones and free slots, in the order of commit positions.
"""

from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.core cimport core_t, opening_t
from pysignal.engine.facts cimport fact_t

cdef enum:  # Applied
    APPLIED = 0
    SKIPPED = 1             # the core has it already
    GAP = 2                 # records before it are missing
    MISFIT = 3              # it contradicts what the core holds
    APPLY_FULL = 4          # a table or memory is full

cdef int replay_apply(
    core_t *c, const fact_t *fact, const opening_t *opening, uint64_t deadline_ms,
    uint64_t covered, uint64_t *released,
) noexcept nogil
cdef uint32_t replay_slot(const core_t *c, const fact_t *fact) noexcept nogil
cdef bint replay_ready(core_t *c, uint32_t slot) noexcept nogil
cdef bint replay_finish(core_t *c) noexcept nogil
