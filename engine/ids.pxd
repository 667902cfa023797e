"""Invite IDs: 128 bits that lead straight to their record.

An ID holds the shard (12 bits), the slot of its record (32) and the slot's generation (20), the
last two hidden under a key of the shard, and 64 random bits. Finding an invitation is one memory
access and a compare: no table is searched. The random bits make it impossible to guess; the
generation makes two IDs of one slot differ even if the random bits should repeat.

The mask over slot and generation keeps an ID from telling how many calls a server has open. It is
no cipher, and nothing rests on it: permission never depends on knowing an ID (SPEC §1).

As text an ID is 26 characters of Crockford's base 32 in lower case, first the highest bits. Each
ID has exactly one spelling.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    ID_CHARS = 26
    SHARD_BITS = 12
    GENERATION_BITS = 20
    GENERATION_MASK = (1 << GENERATION_BITS) - 1

ctypedef struct invite_id_t:
    uint64_t high           # shard << 52 | hidden(generation << 32 | slot)
    uint64_t low            # random bits

ctypedef struct id_key_t:
    uint64_t first
    uint64_t second

cdef enum: SLOT_BITS = 32


cdef inline uint64_t id_mask(const id_key_t *key, uint64_t low) noexcept nogil:
    """52 bits that depend on the key and on the random bits of the ID."""
    cdef uint64_t x = low ^ key.first
    x = (x ^ (x >> 32)) * <uint64_t>0xD6E8FEB86659FD93
    x = (x + key.second) ^ (x >> 29)
    x = x * <uint64_t>0xBF58476D1CE4E5B9
    return (x ^ (x >> 32)) >> SHARD_BITS


cdef inline invite_id_t id_make(
    const id_key_t *key, uint32_t shard, uint32_t slot, uint32_t generation, uint64_t low,
) noexcept nogil:
    cdef invite_id_t made
    made.low = low
    made.high = (<uint64_t>shard << 52) | (
        (<uint64_t>(generation & GENERATION_MASK) << SLOT_BITS | slot) ^ id_mask(key, low)
    )
    return made


cdef inline uint32_t id_shard(invite_id_t name) noexcept nogil:
    return <uint32_t>(name.high >> 52)


cdef inline uint64_t id_place(const id_key_t *key, invite_id_t name) noexcept nogil:
    """Generation << 32 | slot."""
    return (name.high ^ id_mask(key, name.low)) & ((<uint64_t>1 << 52) - 1)


cdef str id_blank()
cdef void id_fill(str blank, invite_id_t name) noexcept
cdef str id_text(invite_id_t name)
cdef bint id_parse(str text, invite_id_t *out)
cdef id_key_t id_key(bytes key)


@cython.final
cdef class IdSpace:
    """The invite IDs of one shard."""

    cdef id_key_t key
    cdef uint32_t shard
