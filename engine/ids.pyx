"""The Python face of invite IDs: make one, and read one back."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <string.h>

    static uint8_t pysignal_id_pairs[1024][2];      /* ten bits as two digits */
    static int16_t pysignal_id_values[256][256];    /* of two digits ten bits; -1 of others */

    __attribute__((constructor)) static void pysignal_id_tables(void) {
        static const uint8_t digits[] = "0123456789abcdefghjkmnpqrstvwxyz";
        memset(pysignal_id_values, -1, sizeof pysignal_id_values);
        for (int i = 0; i < 1024; i++) {
            uint8_t first = digits[i >> 5], second = digits[i & 31];
            pysignal_id_pairs[i][0] = first;
            pysignal_id_pairs[i][1] = second;
            pysignal_id_values[first][second] = (int16_t)i;
        }
    }

    /* 13 pairs, the first of eight bits. */
    static void pysignal_id_write(uint64_t high, uint64_t low, char *text) {
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

    #define PYSIGNAL_PAIR(at) ((int64_t)pysignal_id_values[text[at]][text[(at) + 1]])

    static int pysignal_id_read(const uint8_t *text, uint64_t *high, uint64_t *low) {
        int64_t p0 = PYSIGNAL_PAIR(0), p1 = PYSIGNAL_PAIR(2), p2 = PYSIGNAL_PAIR(4),
            p3 = PYSIGNAL_PAIR(6), p4 = PYSIGNAL_PAIR(8), p5 = PYSIGNAL_PAIR(10),
            p6 = PYSIGNAL_PAIR(12), p7 = PYSIGNAL_PAIR(14), p8 = PYSIGNAL_PAIR(16),
            p9 = PYSIGNAL_PAIR(18), p10 = PYSIGNAL_PAIR(20), p11 = PYSIGNAL_PAIR(22),
            p12 = PYSIGNAL_PAIR(24);
        if ((p0 | p1 | p2 | p3 | p4 | p5 | p6 | p7 | p8 | p9 | p10 | p11 | p12) < 0 || p0 > 255)
            return 0;
        *high = (uint64_t)p0 << 56 | (uint64_t)p1 << 46 | (uint64_t)p2 << 36 | (uint64_t)p3 << 26
            | (uint64_t)p4 << 16 | (uint64_t)p5 << 6 | (uint64_t)p6 >> 4;
        *low = (uint64_t)p6 << 60 | (uint64_t)p7 << 50 | (uint64_t)p8 << 40 | (uint64_t)p9 << 30
            | (uint64_t)p10 << 20 | (uint64_t)p11 << 10 | (uint64_t)p12;
        return 1;
    }
    """
    void pysignal_id_write(uint64_t high, uint64_t low, char *text) noexcept
    bint pysignal_id_read(const uint8_t *text, uint64_t *high, uint64_t *low) noexcept

cdef extern from "Python.h":
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    int PyUnicode_KIND(object text)
    int PyUnicode_1BYTE_KIND
    void *PyUnicode_1BYTE_DATA(object text)
    str PyUnicode_New(Py_ssize_t size, Py_UCS4 largest)


cdef str id_blank():
    """Room for the text of an ID, which nobody else may see before `id_fill`."""
    return PyUnicode_New(ID_CHARS, 127)


cdef void id_fill(str blank, invite_id_t name) noexcept:
    """Write an ID into its room."""
    pysignal_id_write(name.high, name.low, <char *>PyUnicode_1BYTE_DATA(blank))


cdef str id_text(invite_id_t name):
    """The text of an ID."""
    cdef str text = id_blank()
    id_fill(text, name)
    return text


cdef bint id_parse(str text, invite_id_t *out):
    """Read a text of any length and content; False when it spells no ID."""
    if text is None or PyUnicode_GET_LENGTH(text) != ID_CHARS:
        return False
    if PyUnicode_KIND(text) != PyUnicode_1BYTE_KIND:
        return False
    return pysignal_id_read(
        <const uint8_t *>PyUnicode_1BYTE_DATA(text), &out.high, &out.low,
    )


cdef id_key_t id_key(bytes key):
    """A key from its 16 bytes."""
    if len(key) != 16:
        raise ValueError(f"key: 16 bytes are needed, not {len(key)}")
    cdef id_key_t made
    made.first = int.from_bytes(key[:8], "little")
    made.second = int.from_bytes(key[8:], "little")
    return made


cdef class IdSpace:
    """The invite IDs of one shard.

    Args:
        key: 16 secret bytes that hide slot and generation.
        shard: 0 to 4095.
    """

    def __cinit__(self, bytes key not None, uint32_t shard=0):
        if shard >> SHARD_BITS:
            raise ValueError(f"shard: 0 to {(1 << SHARD_BITS) - 1}, not {shard}")
        self.key = id_key(key)
        self.shard = shard

    def make(self, uint32_t slot, uint32_t generation, uint64_t random):
        """Spell the ID of a slot.

        Args:
            slot: index of the record, any 32 bits.
            generation: counts the uses of the slot; its low 20 bits go into the ID.
            random: 64 unpredictable bits.
        """
        return id_text(id_make(&self.key, self.shard, slot, generation, random))

    def read(self, str text not None):
        """Return (slot, generation, random) of an ID of this shard; None for any other text."""
        cdef invite_id_t name
        cdef uint64_t place
        if not id_parse(text, &name) or id_shard(name) != self.shard:
            return None
        place = id_place(&self.key, name)
        return <uint32_t>place, <uint32_t>(place >> SLOT_BITS), name.low
