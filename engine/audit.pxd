"""The self-check of a core: every link, count and list, from both sides."""

from pysignal.engine.core cimport core_t

# What `core_audit` returns where it could not look: no rule is broken, as far as one knows.
cdef const char *NO_MEMORY_TO_AUDIT

cdef const char *core_audit(const core_t *c) noexcept nogil
