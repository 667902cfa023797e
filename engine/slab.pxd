"""Chunked tables: live records never move, and growth is one allocation.

A slab is a directory of chunks of `CHUNK` items each. Only the directory is ever copied when it
grows; a pointer to an item stays good for the life of the slab. Items are handed out by index: a
table keeps its own free list inside its items and takes new ones from `top`.

A chunk is allocated whole but not cleared, so that the pages of it which nobody has touched cost
no memory.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from *:
    """
    #define pysignal_fetch(p) __builtin_prefetch((p), 1)
    """
    # Have memory that will be written to brought into the cache; any address will do.
    void prefetch "pysignal_fetch"(const void *p) nogil

cdef enum:
    SLAB_SHIFT = 14
    CHUNK = 1 << SLAB_SHIFT
    CHUNK_MASK = CHUNK - 1

# "None" for every index in the engine.
cdef enum: NONE = 0xFFFFFFFF

ctypedef struct slab_t:
    char **chunks           # directory, indexed by item >> SLAB_SHIFT
    uint32_t chunk_count    # chunks allocated
    uint32_t room           # entries in the directory
    uint32_t item_size      # bytes
    uint32_t top            # items from 0 to top - 1 have been handed out at least once
    uint32_t limit          # items at most


cdef inline void slab_init(slab_t *s, uint32_t item_size, uint32_t limit) noexcept nogil:
    s.chunks = NULL
    s.chunk_count = 0
    s.room = 0
    s.item_size = item_size
    s.top = 0
    s.limit = limit


cdef inline void slab_free(slab_t *s) noexcept nogil:
    cdef uint32_t i
    for i in range(s.chunk_count):
        free(s.chunks[i])
    free(s.chunks)
    slab_init(s, s.item_size, s.limit)


cdef inline void *slab_at(const slab_t *s, uint32_t index) noexcept nogil:
    """The item, which must lie below the chunks allocated."""
    return s.chunks[index >> SLAB_SHIFT] + <uint64_t>(index & CHUNK_MASK) * s.item_size


cdef inline bint slab_reserve(slab_t *s, uint32_t count) noexcept nogil:
    """Make items 0 to count - 1 addressable. False when memory is out; then nothing changed."""
    cdef uint32_t wanted = <uint32_t>((<uint64_t>count + CHUNK - 1) >> SLAB_SHIFT)
    cdef uint32_t room
    cdef void *more
    if wanted <= s.chunk_count:
        return True
    if wanted > s.room:
        room = s.room * 2 if s.room * 2 > wanted else wanted + 7
        more = realloc(s.chunks, <uint64_t>room * sizeof(char *))
        if more == NULL:
            return False
        s.chunks = <char **>more
        s.room = room
    while s.chunk_count < wanted:
        more = aligned_alloc(64, <uint64_t>CHUNK * s.item_size)
        if more == NULL:
            return False
        s.chunks[s.chunk_count] = <char *>more
        s.chunk_count += 1
    return True


cdef inline uint64_t slab_bytes(const slab_t *s) noexcept nogil:
    """Memory in use, in bytes: the directory and the items handed out so far."""
    return <uint64_t>s.room * sizeof(char *) + <uint64_t>s.top * s.item_size
