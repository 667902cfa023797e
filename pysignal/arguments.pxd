"""Arguments of a request as a number that differs where they do (see `arguments.pyx`).

The number of several values is that of each with the number of those before it, from 0 on.
"""

from libc.stdint cimport int64_t, uint64_t


cdef uint64_t with_text(uint64_t number, str text) noexcept
cdef uint64_t with_whole(uint64_t number, int64_t whole) noexcept
cdef uint64_t with_truth(uint64_t number, bint truth) noexcept
cdef uint64_t with_value(uint64_t number, value, int depth) except? 0
