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
from libc.stdint cimport uint8_t, uint32_t, uint64_t

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
    #include <string.h>

    static unsigned char pysignal_id_pairs[1024][2];    /* ten bits as two digits */
    static signed char pysignal_id_values[256];         /* of a digit; -1 of anything else */

    __attribute__((constructor)) static void pysignal_id_tables(void) {
        static const char digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
        memset(pysignal_id_values, -1, sizeof pysignal_id_values);
        for (int i = 0; i < 32; i++) pysignal_id_values[(unsigned char)digits[i]] = (signed char)i;
        for (int i = 0; i < 1024; i++) {
            pysignal_id_pairs[i][0] = (unsigned char)digits[i >> 5];
            pysignal_id_pairs[i][1] = (unsigned char)digits[i & 31];
        }
    }

    /* 13 pairs from the right: six of the low word, one that straddles, six of the high one. */
    static inline void pysignal_id_write(uint64_t high, uint64_t low, char *text) {
        memcpy(text + 24, pysignal_id_pairs[low & 1023], 2);
        memcpy(text + 22, pysignal_id_pairs[low >> 10 & 1023], 2);
        memcpy(text + 20, pysignal_id_pairs[low >> 20 & 1023], 2);
        memcpy(text + 18, pysignal_id_pairs[low >> 30 & 1023], 2);
        memcpy(text + 16, pysignal_id_pairs[low >> 40 & 1023], 2);
        memcpy(text + 14, pysignal_id_pairs[low >> 50 & 1023], 2);
        memcpy(text + 12, pysignal_id_pairs[low >> 60 | (high << 4 & 1023)], 2);
        memcpy(text + 10, pysignal_id_pairs[high >> 6 & 1023], 2);
        memcpy(text + 8, pysignal_id_pairs[high >> 16 & 1023], 2);
        memcpy(text + 6, pysignal_id_pairs[high >> 26 & 1023], 2);
        memcpy(text + 4, pysignal_id_pairs[high >> 36 & 1023], 2);
        memcpy(text + 2, pysignal_id_pairs[high >> 46 & 1023], 2);
        memcpy(text, pysignal_id_pairs[high >> 56], 2);
    }

    static inline int pysignal_id_read(const uint8_t *text, uint64_t *out_high, uint64_t *out_low) {
        uint64_t high = 0, low = 0;
        int value, all = 0;
    #if defined(__GNUC__) && !defined(__clang__)
        #pragma GCC unroll 13
    #endif
        for (int i = 0; i < 13; i++) {
            value = pysignal_id_values[text[i]];
            all |= value;
            high = (high << 5) + (uint64_t)(int64_t)value;
        }
        value = pysignal_id_values[text[13]];
        all |= value;
        high = high << 1 | (uint64_t)(value >> 4 & 1);
        low = (uint64_t)(value & 15);
    #if defined(__GNUC__) && !defined(__clang__)
        #pragma GCC unroll 12
    #endif
        for (int i = 14; i < 26; i++) {
            value = pysignal_id_values[text[i]];
            all |= value;
            low = (low << 5) + (uint64_t)(int64_t)value;
        }
        *out_high = high;
        *out_low = low;
        return all >= 0 && pysignal_id_values[text[0]] < 8;     /* the first has three bits */
    }
    """
    void pysignal_id_write(uint64_t high, uint64_t low, char *text) nogil
    bint pysignal_id_read(const uint8_t *text, uint64_t *high, uint64_t *low) nogil

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
    pysignal_id_write(name.high, name.low, text)


cdef inline bint id_read(const uint8_t *text, invite_id_t *out) noexcept nogil:
    """Read ID_CHARS characters; False when they spell no ID."""
    return pysignal_id_read(text, &out.high, &out.low)


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
