"""Encoding and decoding of records and images (see `records.pxd` for the format)."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pysignal.engine.core cimport (
    FREE_SLOT,
    LISTED,
    OPEN,
    core_t,
    ended_by,
    ended_ms,
    ended_position,
    invitation_at,
    invitation_t,
    list_at,
    list_t,
)
from pysignal.engine.facts cimport FACT_OPENED, fact_t
from pysignal.engine.roster cimport PENDING, entry_at, entry_ended, entry_t, roster_next
from pysignal.engine.slab cimport NONE
from pysignal.engine.wheel cimport timer_at


cdef inline int put(bytearray out, const void *value, Py_ssize_t size) except -1:
    out += (<const char *>value)[:size]
    return 0


cdef inline int put_u8(bytearray out, uint8_t value) except -1:
    return put(out, &value, 1)


cdef inline int put_u16(bytearray out, uint16_t value) except -1:
    return put(out, &value, 2)


cdef inline int put_u32(bytearray out, uint32_t value) except -1:
    return put(out, &value, 4)


cdef inline int put_u64(bytearray out, uint64_t value) except -1:
    return put(out, &value, 8)


cdef inline int put_name(bytearray out, Names names, uint32_t number) except -1:
    cdef bytes text = b"" if number == NONE else names.name(number).encode()
    put_u8(out, <uint8_t>len(text))
    out += text
    return 0


cdef inline int put_data(bytearray out, uint64_t handle) except -1:
    cdef bytes text = b"" if handle == 0 else (<str><void *>handle).encode()
    put_u32(out, <uint32_t>len(text))
    out += text
    return 0


cdef inline uint64_t whole_ms(const core_t *c, uint32_t low_ms) noexcept nogil:
    """A time of the past from its low 32 bits."""
    return c.wheel.now - <uint32_t>(<uint32_t>c.wheel.now - low_ms)


cdef inline uint64_t deadline_of(const core_t *c, uint32_t slot, uint64_t since_ms) noexcept nogil:
    """The deadline of an invitation that was open at `since_ms`, from its low 32 bits."""
    return since_ms + <uint32_t>(timer_at(&c.wheel, slot).deadline - <uint32_t>since_ms)


cdef bytes encode_record(const core_t *c, const fact_t *fact, Names users, Names groups):
    """The record of a fact that still waits."""
    cdef bytearray out = bytearray()
    cdef const invitation_t *one = invitation_at(c, fact.slot)
    cdef const list_t *l
    cdef uint32_t ref = NONE, index = NONE
    put_u8(out, FORMAT_VERSION)
    put_u8(out, fact.kind)
    put_u8(out, fact.reason)
    put_u8(out, fact.flags)
    put_u64(out, fact.position)
    put_u64(out, fact.time_ms)
    put_u64(out, fact.id.high)
    put_u64(out, fact.id.low)
    put_u32(out, fact.seq)
    put_u32(out, fact.data_version)
    put_u32(out, fact.affected)
    put_u32(out, fact.device)
    put_u8(out, fact.marks)
    put_name(out, users, fact.actor)
    put_name(out, users, fact.subject)
    put_data(out, fact.data)
    if fact.kind != FACT_OPENED:
        return bytes(out)
    put_u8(out, one.flags)
    put_u64(out, deadline_of(c, fact.slot, fact.time_ms))
    if not one.flags & LISTED:
        put_name(out, groups, NONE)
        put_u32(out, 1)
        put_name(out, users, one.invitee)
        return bytes(out)
    l = list_at(c, one.invitee)
    put_name(out, groups, l.group)
    put_u32(out, l.roster.count)
    while True:
        ref = roster_next(&c.pages, &l.roster, ref, index)
        if ref == NONE:
            return bytes(out)
        index += 1
        put_name(out, users, entry_at(&c.pages, ref).user)


cdef int encode_image(
    bytearray out, const core_t *c, uint32_t slot, Names users, Names groups,
) except -1:
    """Append one slot as it is now."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef const list_t *l
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, index = NONE
    cdef bint is_open = one.state == OPEN
    put_u32(out, slot)
    put_u32(out, one.generation)
    put_u8(out, one.state)
    if one.state == FREE_SLOT:
        return 0
    put_u8(out, one.status)
    put_u8(out, one.flags)
    put_u8(out, one.reason)
    put_u64(out, one.secret)
    put_u64(out, one.position)
    put_u64(out, whole_ms(c, one.opened_ms))
    put_u64(out, deadline_of(c, slot, c.wheel.now) if is_open else 0)
    put_u64(out, 0 if is_open else ended_position(one))
    put_u64(out, 0 if is_open else whole_ms(c, ended_ms(one)))
    put_u32(out, 0 if is_open else ended_by(one))
    put_u32(out, one.data_version)
    put_name(out, users, one.inviter)
    put_data(out, one.data if is_open else 0)
    if not one.flags & LISTED:
        put_name(out, users, one.invitee)
        return 0
    l = list_at(c, one.invitee)
    put_name(out, groups, l.group)
    put_u32(out, l.answers)
    put_u32(out, l.accept_limit)
    put_u32(out, l.roster.count)
    while True:
        ref = roster_next(&c.pages, &l.roster, ref, index)
        if ref == NONE:
            return 0
        index += 1
        entry = entry_at(&c.pages, ref)
        put_name(out, users, entry.user)
        put_u8(out, entry.status)
        put_u8(out, entry.marks)
        put_u16(out, entry.device)
        put_u64(out, 0 if entry.status <= PENDING else entry_ended(entry))


cdef class Reader:
    """A cursor over encoded bytes; reading past the end is a ValueError."""

    def __cinit__(self, bytes source not None):
        self.owner = source
        self.at = source
        self.left = len(source)

    def __len__(self):
        return self.left

    cdef const uint8_t *skip(self, Py_ssize_t count) except NULL:
        cdef const uint8_t *here = self.at
        if count > self.left:
            raise ValueError("the record is cut short")
        self.at += count
        self.left -= count
        return here

    cdef uint8_t u8(self) except? 255:
        return self.skip(1)[0]

    cdef uint32_t u16(self) except? 0xFFFFFFFF:
        cdef uint16_t value
        memcpy(&value, self.skip(2), 2)
        return value

    cdef uint32_t u32(self) except? 0xFFFFFFFF:
        cdef uint32_t value
        memcpy(&value, self.skip(4), 4)
        return value

    cdef uint64_t u64(self) except? 0xFFFFFFFFFFFFFFFF:
        cdef uint64_t value
        memcpy(&value, self.skip(8), 8)
        return value

    cdef str name(self):
        cdef Py_ssize_t size = self.u8()
        return (<const char *>self.skip(size))[:size].decode() if size else ""

    cdef str data(self):
        cdef Py_ssize_t size = self.u32()
        return (<const char *>self.skip(size))[:size].decode() if size else ""
