"""Encoding and decoding of records and images (see `records.pxd` for the format).

Lists are filled by loops, not by comprehensions of calls: what Cython 3.3 makes of those gives an
item back twice when there is no memory to append it.
"""

from hashlib import blake2b

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from pysignal.engine.core cimport (
    CALLED_OFF,
    DAY_MS,
    FREE_SLOT,
    LISTED,
    MARKS,
    OPEN,
    TIMEOUT_DAYS_MAX,
    core_find,
    core_id,
    core_t,
    deadline_of,
    ended_by,
    ended_ms,
    ended_position,
    invitation_at,
    invitation_t,
    list_at,
    list_t,
    opened_ms,
    set_ended,
)
from pysignal.engine.facts cimport FACT_KINDS, FACT_OPENED, REASONS, fact_t
from pysignal.engine.roster cimport PENDING, STATUSES, entry_at, entry_ended, entry_t, roster_next
from pysignal.engine.slab cimport NONE
from pysignal.engine.texts cimport text_of


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


cdef inline bytes encode(str text):
    return text.encode("utf-8", "surrogatepass")


cdef inline int put_name(bytearray out, Names names, uint32_t number) except -1:
    cdef bytes text = b"" if number == NONE else encode(names.name(number))
    put_u8(out, <uint8_t>len(text))
    out += text
    return 0


cdef inline int put_data(bytearray out, uint64_t handle) except -1:
    cdef bytes text = encode(text_of(handle))
    put_u32(out, <uint32_t>len(text))
    out += text
    return 0


# -- encoding --------------------------------------------------------------------------------------

cdef bytes encode_record(const core_t *c, const fact_t *fact, Names users, Names groups):
    """The record of a fact that still waits."""
    cdef bytearray out = bytearray()
    cdef const invitation_t *one = invitation_at(c, fact.slot)
    cdef const list_t *asked
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
    put_u8(out, one.flags & ~MARKS)     # marks have records of their own
    put_u64(out, deadline_of(c, fact.slot, fact.time_ms))
    if not one.flags & LISTED:
        put_name(out, groups, NONE)
        put_u32(out, 1)
        put_name(out, users, one.invitee)
        return bytes(out)
    asked = list_at(c, one.invitee)
    put_name(out, groups, asked.group)
    put_u32(out, asked.roster.count)
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            return bytes(out)
        index += 1
        put_name(out, users, entry_at(&c.pages, ref).user)


cdef int encode_image(
    bytearray out, const core_t *c, uint32_t slot, Names users, Names groups,
) except -1:
    """Append one slot as it is now."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef const list_t *asked
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, index = NONE
    cdef bint is_open = one.state == OPEN
    cdef uint64_t since_ms = c.wheel.now if is_open else ended_ms(one)
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
    put_u64(out, opened_ms(one, since_ms))
    put_u64(out, deadline_of(c, slot, since_ms) if is_open else 0)
    put_u64(out, 0 if is_open else ended_position(one))
    put_u64(out, 0 if is_open else since_ms)
    put_u32(out, 0 if is_open else ended_by(one))
    put_u32(out, one.data_version)
    put_name(out, users, one.inviter)
    put_data(out, one.data if is_open else 0)
    if not one.flags & LISTED:
        put_name(out, users, one.invitee)
        return 0
    asked = list_at(c, one.invitee)
    put_name(out, groups, asked.group)
    put_u32(out, asked.answers)
    put_u32(out, asked.accept_limit)
    put_u32(out, asked.roster.count)
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            return 0
        index += 1
        entry = entry_at(&c.pages, ref)
        put_name(out, users, entry.user)
        put_u8(out, entry.status)
        put_u8(out, entry.marks)
        put_u16(out, entry.device)
        put_u64(out, 0 if entry.status <= PENDING else entry_ended(entry))


cdef str hash_state(const core_t *c, Names users, Names groups):
    """A hash of everything that is open or remembered, with names and texts, 32 hex digits."""
    cdef bytearray image = bytearray()
    cdef uint32_t slot
    digest = blake2b(digest_size=16)
    for slot in range(c.invitations.top):
        if core_find(c, core_id(c, slot)) != slot:
            continue
        image.clear()
        encode_image(image, c, slot, users, groups)
        digest.update(image)
    image.clear()
    put_u64(image, c.position)
    put_u64(image, c.wheel.now)
    put(image, c.counts.invitees, STATUSES * sizeof(uint64_t))
    digest.update(image)
    return digest.hexdigest()


# -- decoding --------------------------------------------------------------------------------------

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

    cdef uint16_t u16(self) except? 65535:
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

    cdef str text(self, Py_ssize_t size):
        cdef const char *start = <const char *>self.skip(size)
        return start[:size].decode("utf-8", "surrogatepass") if size else ""

    cdef str name(self):
        return self.text(self.u8())

    cdef str user(self):
        """A name that must be there."""
        cdef str name = self.name()
        if not name:
            raise ValueError("a user has an empty name")
        return name

    cdef str data(self):
        return self.text(self.u32())


cdef class Record:
    """One record, read: a fact whose numbers, handles and slot are still to be filled in."""


cdef Record decode_record(bytes source):
    cdef Reader reader = Reader(source)
    cdef Record record = Record()
    cdef fact_t *fact = &record.fact
    version = reader.u8()
    if version != FORMAT_VERSION:
        raise ValueError(f"record: version {version} is unknown, this engine reads version 1")
    fact.kind = reader.u8()
    fact.reason = reader.u8()
    fact.flags = reader.u8()
    fact.position = reader.u64()
    fact.time_ms = reader.u64()
    fact.id.high = reader.u64()
    fact.id.low = reader.u64()
    fact.seq = reader.u32()
    fact.data_version = reader.u32()
    fact.affected = reader.u32()
    fact.device = reader.u32()
    fact.marks = reader.u8()
    record.actor = reader.name()
    record.subject = reader.name()
    record.data = reader.data()
    if not FACT_OPENED <= fact.kind < FACT_KINDS or fact.reason >= REASONS:
        raise ValueError(f"record: kind {fact.kind} or reason {fact.reason} is unknown")
    if fact.marks & ~MARKS:
        raise ValueError(f"record: marks {fact.marks} are unknown")
    if fact.kind == FACT_OPENED:
        decode_opening(reader, record)
    if reader.left:
        raise ValueError("record: longer than it says")
    return record


cdef int decode_opening(Reader reader, Record record) except -1:
    cdef opening_t *o = &record.opening
    cdef uint32_t _
    o.flags = reader.u8()
    record.deadline_ms = reader.u64()
    record.group = reader.name()
    o.count = reader.u32()
    record.invitees = []
    for _ in range(o.count):
        record.invitees.append(reader.user())
    check_invitees(record.actor, record.invitees)
    check_deadline(record.fact.time_ms, record.deadline_ms)
    if o.flags & MARKS or bool(o.flags & LISTED) == (o.count == 1 and not record.group):
        raise ValueError(f"record: flags {o.flags} contradict the invitees")
    return 0


cdef int check_deadline(uint64_t begin_ms, uint64_t deadline_ms) except -1:
    if not begin_ms <= deadline_ms <= begin_ms + <uint64_t>TIMEOUT_DAYS_MAX * DAY_MS:
        raise ValueError(f"a deadline at {deadline_ms} does not fit to an opening at {begin_ms}")
    return 0


cdef int check_invitees(str inviter, list invitees) except -1:
    if not inviter or inviter in invitees or len(set(invitees)) != len(invitees):
        raise ValueError("nobody invites oneself, or anybody twice")
    return 0


cdef class Image:
    """One slot of a snapshot, read: an invitation whose numbers are still to be filled in."""


cdef Image decode_image(Reader reader, uint32_t slot):
    """The image of a slot, which must be the next one."""
    cdef Image image = Image()
    cdef invitation_t *one = &image.one
    cdef uint64_t begin_ms, end_position, end_ms
    cdef uint32_t device
    image.slot = reader.u32()
    if image.slot != slot:
        raise ValueError(f"snapshot: slot {image.slot} stands where {slot} belongs")
    one.generation = reader.u32()
    one.state = reader.u8()
    if one.state == FREE_SLOT:
        return image
    one.status = reader.u8()
    one.flags = reader.u8()
    one.reason = reader.u8()
    if one.state > CALLED_OFF or not PENDING <= one.status < STATUSES or one.reason >= REASONS:
        raise ValueError("snapshot: a state, status or reason is unknown")
    one.secret = reader.u64()
    one.position = reader.u64()
    begin_ms = reader.u64()
    one.opened_ms = <uint32_t>begin_ms
    image.deadline_ms = reader.u64()
    end_position = reader.u64()
    end_ms = reader.u64()
    device = reader.u32()
    if one.state == OPEN:
        check_deadline(begin_ms, image.deadline_ms)
    else:
        set_ended(one, end_position, end_ms, device)
    one.data_version = reader.u32()
    image.inviter = reader.user()
    image.data = reader.data()
    if one.flags & LISTED:
        decode_list(reader, image)
        return image
    image.invitee = reader.user()
    check_invitees(image.inviter, [image.invitee])
    if (one.status == PENDING) != (one.state == OPEN):
        raise ValueError("snapshot: an invitation is open without anybody pending, or not")
    return image


cdef int decode_list(Reader reader, Image image) except -1:
    cdef uint32_t count, _
    cdef bint pending = False
    image.group = reader.name()
    image.answers = reader.u32()
    image.accept_limit = reader.u32()
    count = reader.u32()
    image.entries = []
    image.invitees = []
    for _ in range(count):
        user, status, marks, device = reader.user(), reader.u8(), reader.u8(), reader.u16()
        image.entries.append((status, marks, device, reader.u64()))
        image.invitees.append(user)
        if not PENDING <= status < STATUSES:
            raise ValueError(f"snapshot: status {status} is unknown")
        pending = pending or status == PENDING
    check_invitees(image.inviter, image.invitees)
    if pending != (image.one.state == OPEN):
        raise ValueError("snapshot: a list is open without anybody pending, or not")
    return 0
