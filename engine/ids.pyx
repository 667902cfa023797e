"""The Python face of invite IDs: make one, and read one back."""

from libc.stdint cimport uint32_t, uint64_t

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
    id_write(name, <char *>PyUnicode_1BYTE_DATA(blank))


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
    return id_read(<const uint8_t *>PyUnicode_1BYTE_DATA(text), out)


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
