"""Chunked tables: live records never move, and growth is one allocation.

A slab is a directory of chunks. Only the directory is ever copied when it grows; a pointer to an
item stays good for the life of the slab. Items are handed out by index: a table keeps its own free
list inside its items and takes new ones from `top`.

A chunk holds as many items as fit into 2 MiB, rounded down to a power of two, so that it can be one
huge page: a table of millions is then a few dozen entries of the TLB. It is allocated whole but not
cleared, so that pages which nobody has touched cost no memory. For the sake of small tables the
first chunk has pages of the usual size until there is a second.
"""

from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from *:
    """
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    #if defined(MADV_HUGEPAGE)
    #define pysignal_prefer_huge(p, size) ((void)madvise((p), (size), MADV_HUGEPAGE))
    #else
    #define pysignal_prefer_huge(p, size) ((void)(p))
    #endif
    #define pysignal_clz32(x) ((uint32_t)__builtin_clz(x))
    #define pysignal_ctz64(x) ((uint32_t)__builtin_ctzll(x))
    /* The empty assembly keeps GCC from taking a function that only prefetches for one without any
       effect, and leaving out the call. */
    #define pysignal_prefetch(p) do { __builtin_prefetch((p), 1); __asm__ volatile (""); } while (0)
    """
    void pysignal_prefer_huge(void *p, size_t size) nogil
    uint32_t pysignal_clz32(uint32_t x) nogil
    uint32_t pysignal_ctz64(uint64_t x) nogil
    # Have memory that will be written to brought into the cache; any address will do.
    void pysignal_prefetch(const void *p) nogil

cdef enum:
    CHUNK_SHIFT = 21
    CHUNK_BYTES = 1 << CHUNK_SHIFT      # at most
    LINE_BYTES = 64

# "None" for every index in the engine.
cdef enum: NONE = 0xFFFFFFFF

ctypedef struct slab_t:
    uintptr_t *origins      # by item >> slab_shift: where item 0 would lie, were all one chunk
    char **chunks           # likewise, the chunk; in one block with `origins`, behind them
    uint32_t chunk_count    # chunks allocated
    uint32_t room           # entries in each of the two
    uint32_t item_size      # bytes, more than 1
    uint32_t top            # items from 0 to top - 1 have been handed out at least once
    uint32_t limit          # items at most


cdef inline uint32_t slab_shift(uint32_t item_size) noexcept nogil:
    """Binary logarithm of the items in a chunk."""
    return CHUNK_SHIFT - 32 + pysignal_clz32(item_size - 1)


cdef inline void slab_init(slab_t *s, uint32_t item_size, uint32_t limit) noexcept nogil:
    s.origins = NULL
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
    free(s.origins)
    slab_init(s, s.item_size, s.limit)


cdef inline void *slab_at(const slab_t *s, uint32_t index, uint32_t item_size) noexcept nogil:
    """The item, which must lie below the chunks allocated.

    Each caller knows the size of its items when it is compiled, so that this needs no multiply; and
    the directory says where item 0 would lie, so that no part of the index is masked out.
    """
    return <void *>(s.origins[index >> slab_shift(item_size)] + <uintptr_t>index * item_size)


cdef inline bint slab_grow_directory(slab_t *s, uint32_t room) noexcept nogil:
    """Make room for more chunks. False when memory is out; then nothing changed."""
    cdef uintptr_t *more = <uintptr_t *>realloc(
        s.origins, <size_t>room * (sizeof(uintptr_t) + sizeof(char *)),
    )
    if more == NULL:
        return False
    memmove(more + room, more + s.room, s.chunk_count * sizeof(char *))
    s.origins = more
    s.chunks = <char **>(more + room)
    s.room = room
    return True


cdef inline bint slab_reserve(slab_t *s, uint32_t count) noexcept nogil:
    """Make items 0 to count - 1 addressable. False when memory is out; then nothing changed."""
    cdef uint32_t shift = slab_shift(s.item_size)
    cdef uint32_t wanted = <uint32_t>((<uint64_t>count + (1u << shift) - 1) >> shift)
    cdef size_t size = <size_t>s.item_size << shift
    cdef char *more
    if wanted <= s.chunk_count:
        return True
    if wanted > s.room:
        if not slab_grow_directory(s, s.room * 2 if s.room * 2 > wanted else wanted + 7):
            return False
    while s.chunk_count < wanted:
        more = <char *>aligned_alloc(size if size == CHUNK_BYTES else LINE_BYTES, size)
        if more == NULL:
            return False
        if s.chunk_count and size == CHUNK_BYTES:
            if s.chunk_count == 1:
                pysignal_prefer_huge(s.chunks[0], size)
            pysignal_prefer_huge(more, size)
        s.chunks[s.chunk_count] = more
        s.origins[s.chunk_count] = <uintptr_t>more - s.chunk_count * size
        s.chunk_count += 1
    return True


cdef inline uint64_t slab_bytes(const slab_t *s) noexcept nogil:
    """Memory in use, in bytes: the directory and the items handed out so far.

    Chunks after the first count whole where they can be huge pages.
    """
    cdef uint64_t size = <uint64_t>s.item_size << slab_shift(s.item_size)
    cdef uint64_t used = <uint64_t>s.top * s.item_size
    if size == CHUNK_BYTES and used > size:
        used = (used + size - 1) & ~(size - 1)
    return <uint64_t>s.room * (sizeof(uintptr_t) + sizeof(char *)) + used
