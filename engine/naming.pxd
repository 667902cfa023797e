"""Names by their bytes: the numbers of those whom records and images name.

A restart reads a name some hundred times. One that is ASCII, and known, is found in the table of
names by the hash of its bytes, which is that of the `str`: no text is made to look it up. Any other
goes the usual way.
"""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from pysignal.engine.binary cimport span_t, text_in
from pysignal.engine.machine cimport Machine
from pysignal.engine.slab cimport NONE
from pysignal.engine.users cimport Names, users_t

cdef extern from *:
    """
    /* As `hash(str)` of the same ASCII text; where Python hashes short texts otherwise, it is not,
       and then nothing is found by it. */
    static inline uint64_t pysignal_hash_ascii(const uint8_t *at, size_t size) {
        Py_hash_t hashed = PyHash_GetFuncDef()->hash(at, (Py_ssize_t)size);
        return (uint64_t)(hashed == -1 ? -2 : hashed);
    }

    static inline int pysignal_same_ascii(PyObject *text, const uint8_t *at, size_t size) {
        return PyUnicode_IS_ASCII(text) && (size_t)PyUnicode_GET_LENGTH(text) == size
            && memcmp(PyUnicode_DATA(text), at, size) == 0;
    }
    """
    uint64_t hash_ascii "pysignal_hash_ascii"(const uint8_t *at, size_t size) noexcept
    bint is_text "pysignal_same_ascii"(PyObject *text, const uint8_t *at, size_t size) noexcept

# Invitees that are compared one by one.
cdef enum: FEW = 16


cdef inline uint32_t find_known(Names names, const span_t *name) noexcept:
    """The number of a name that is ASCII, found without a `str`; NONE where that finds none."""
    cdef uint64_t hashed
    cdef uint32_t at
    if not name.is_ascii or name.size == 0 or names.slots == NULL:
        return NONE
    hashed = hash_ascii(name.at, name.size)
    at = <uint32_t>hashed & names.mask
    while names.slots[at].name != NULL:
        if names.slots[at].tag == <uint32_t>(hashed >> 32):
            if is_text(names.slots[at].name, name.at, name.size):
                return names.slots[at].number
        at = (at + 1) & names.mask
    return NONE


cdef inline uint32_t find_name(Names names, const span_t *name) except? 0xFFFFFFFF:
    """The number of a name, or NONE."""
    cdef uint32_t number = find_known(names, name)
    return names.find(text_in(name)) if number == NONE and name.size else number


cdef inline uint32_t number_name(
    Names names, users_t *u, const span_t *name, str what,
) except 0xFFFFFFFF:
    """The number of a name, a new idle one if need be."""
    cdef uint32_t number = find_known(names, name)
    if number == NONE:
        number = names.number(u, text_in(name), what)
        if number == NONE:
            raise MemoryError(f"{what}: the table is full")
    return number


cdef inline uint32_t number_group(Machine machine, const span_t *name) except? 0xFFFFFFFF:
    """The number of a group, or NONE for no group."""
    if name.size == 0:
        return NONE
    return number_name(machine.groups, &machine.core.groups, name, "groups")


cdef inline int reserve_numbers(Machine machine, uint64_t count) except -1:
    """Make room in the scratch for the numbers of one list, before any of its names is numbered."""
    cdef void *more
    if count > machine.invitees_max:
        raise ValueError(f"invitees: at most {machine.invitees_max}, not {count}")
    if count > machine.numbers_room:
        more = realloc(machine.numbers, count * sizeof(uint32_t))
        if more == NULL:
            raise MemoryError("invitees: no memory for a list of this size")
        machine.numbers = <uint32_t *>more
        machine.numbers_room = <uint32_t>count
    return 0


cdef inline int check_invitees(
    uint32_t inviter, const uint32_t *invitees, uint32_t count,
) except -1:
    """Refuse a list that names the inviter, or anybody twice."""
    cdef uint32_t size = 1, i, j, at
    cdef uint32_t *seen = NULL          # numbers plus 1, in the first free place
    cdef bint refused = False
    for i in range(count):
        refused |= invitees[i] == inviter
    if count <= FEW:
        for i in range(count):
            for j in range(i):
                refused |= invitees[i] == invitees[j]
    else:
        while size < 2 * count:
            size *= 2
        seen = <uint32_t *>calloc(size, sizeof(uint32_t))
        if seen == NULL:
            raise MemoryError("invitees: no memory to compare them with each other")
        for i in range(count):
            at = (invitees[i] * <uint32_t>2654435769u) & (size - 1)
            while seen[at] and seen[at] != invitees[i] + 1:
                at = (at + 1) & (size - 1)
            refused |= seen[at] != 0
            seen[at] = invitees[i] + 1
        free(seen)
    if refused:
        raise ValueError("nobody invites oneself, or anybody twice")
    return 0
