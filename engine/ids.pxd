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
from libc.stdint cimport int8_t, uint8_t, uint32_t, uint64_t

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

cdef extern from *:
    """
    static const char pysignal_id_digits[33] = "0123456789abcdefghjkmnpqrstvwxyz";
    static const signed char pysignal_id_values[128] = {
        -1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,
        -1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,
        -1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,
         0, 1, 2, 3, 4, 5, 6, 7, 8, 9,-1,-1,-1,-1,-1,-1,
        -1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,
        -1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,-1,
        -1,10,11,12,13,14,15,16,17,-1,18,19,-1,20,21,-1,
        22,23,24,25,26,-1,27,28,29,30,31,-1,-1,-1,-1,-1};
    """
    const char *pysignal_id_digits
    const int8_t *pysignal_id_values

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


cdef inline void id_write(invite_id_t name, char *text) noexcept nogil:
    """Write the ID_CHARS characters of an ID; no terminating zero."""
    cdef int i
    cdef uint64_t high = name.high, low = name.low
    # 128 bits from the right: twelve digits of the low word, one that straddles, thirteen more.
    for i in range(ID_CHARS - 1, ID_CHARS - 13, -1):
        text[i] = pysignal_id_digits[low & 31]
        low >>= 5
    text[ID_CHARS - 13] = pysignal_id_digits[(low & 15) | ((high & 1) << 4)]
    high >>= 1
    for i in range(ID_CHARS - 14, -1, -1):
        text[i] = pysignal_id_digits[high & 31]
        high >>= 5


cdef inline bint id_read(const uint8_t *text, invite_id_t *out) noexcept nogil:
    """Read ID_CHARS characters; False when they spell no ID."""
    cdef uint64_t high = 0, low = 0
    cdef int i, value, bad
    for i in range(ID_CHARS):
        if text[i] & 0x80:
            return False
    bad = pysignal_id_values[text[0]]
    if bad > 7:
        return False
    for i in range(ID_CHARS - 13):
        value = pysignal_id_values[text[i]]
        bad |= value
        high = (high << 5) | <uint64_t>(value & 31)
    value = pysignal_id_values[text[ID_CHARS - 13]]
    bad |= value
    high = (high << 1) | <uint64_t>((value >> 4) & 1)
    low = <uint64_t>(value & 15)
    for i in range(ID_CHARS - 12, ID_CHARS):
        value = pysignal_id_values[text[i]]
        bad |= value
        low = (low << 5) | <uint64_t>(value & 31)
    out.high = high
    out.low = low
    return bad >= 0


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
