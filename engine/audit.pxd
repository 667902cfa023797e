"""The self-check of a core: every link, count and list, from both sides."""

from pysignal.engine.core cimport core_t

cdef const char *core_audit(const core_t *c) noexcept nogil
