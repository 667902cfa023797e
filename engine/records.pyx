"""Encoding and decoding of records and images (see `records.pxd` for the format)."""

from hashlib import blake2b

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pysignal.engine.binary cimport (
    get_data,
    get_name,
    get_u8,
    get_u16,
    get_u32,
    get_u64,
    get_user,
    left,
    need,
    put_u8,
    put_u16,
    put_u32,
    put_u64,
    put_utf8,
    utf8_size,
    writer_clear,
    writer_free,
    writer_reserve,
    writer_wrote,
)
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
    deadline_of,
    ended_by,
    ended_ms,
    ended_position,
    invitation_at,
    list_at,
    list_t,
    opened_ms,
    set_ended,
)
from pysignal.engine.facts cimport FACT_KINDS, FACT_OPENED, REASONS, facts_waiting
from pysignal.engine.roster cimport PENDING, STATUSES, entry_at, entry_ended, entry_t, roster_next
from pysignal.engine.slab cimport NONE, pysignal_prefetch
from pysignal.engine.users cimport NAME_BYTES_MAX

cdef extern from *:
    # Without a reference of its own.
    PyObject *item_of "PyList_GET_ITEM"(PyObject *names, Py_ssize_t number) noexcept

cdef enum:
    NAME_ROOM = NAME_BYTES_MAX + 1
    RECORD_HEAD = 53            # bytes before the first name
    RECORD_ROOM = RECORD_HEAD + 4 + 13 + 4 * NAME_ROOM  # without the data and a list
    ENTRY_TAIL = 12             # bytes of an image's entry after the name
    ENTRIES = 64                # of a list, for which room is made at once: a power of two
    IMAGE_HEAD = 59             # bytes that follow, up to the first name
    IMAGE_ROOM = IMAGE_FREE + IMAGE_HEAD + 4 + 12 + 3 * NAME_ROOM   # without data and entries

# How many facts ahead of the one that is recorded names and data are asked for, and how many
# invitees of a list, so that they need not be waited for.
cdef enum: AHEAD = 4

# Users whose names are in the cache anyway.
cdef enum: CACHED = 4096

# Bytes of images that are hashed at once.
cdef enum: HASHED = 1 << 16


# -- encoding --------------------------------------------------------------------------------------

cdef inline uint8_t *put_name(uint8_t *at, Names names, uint32_t number) noexcept:
    """A name has room for NAME_BYTES_MAX bytes: none is longer."""
    cdef uint8_t *end = at + 1
    if number != NONE:
        end = put_utf8(end, item_of(<PyObject *>names.names, number))
    at[0] = <uint8_t>(end - at - 1)
    return end


cdef inline size_t size_of(uint64_t handle) noexcept:
    """Bytes of the data behind a handle."""
    return utf8_size(<PyObject *><void *>handle) if handle else 0


cdef inline uint8_t *put_data(uint8_t *at, uint64_t handle, size_t size) noexcept:
    at = put_u32(at, <uint32_t>size)
    return put_utf8(at, <PyObject *><void *>handle) if size else at


cdef list records_of(const core_t *c, uint32_t first, writer_t *w, Names users, Names groups):
    """The records of all facts that wait, from the one at `first` on."""
    cdef uint32_t waiting = facts_waiting(&c.facts), at
    cdef const fact_t *facts = c.facts.items + c.facts.head
    cdef bint is_large = c.users.table.top > CACHED
    cdef list out = []
    for at in range(first, waiting):
        if is_large and at + AHEAD < waiting:
            foresee(c, &facts[at + AHEAD], users)
        w.used = 0
        encode_record(w, c, &facts[at], users, groups)
        out.append(PyBytes_FromStringAndSize(<char *>w.start, w.used))
    writer_clear(w)
    return out


cdef inline int foresee(const core_t *c, const fact_t *fact, Names users) except -1:
    """Have the names of a fact brought into the cache, and its data."""
    cdef const invitation_t *one = invitation_at(c, fact.slot)
    pysignal_prefetch(<const void *>fact.data)
    if fact.actor != NONE:
        users.foresee(fact.actor)
    if fact.kind == FACT_OPENED and not one.flags & LISTED:
        users.foresee(one.invitee)
    elif fact.subject != NONE:
        users.foresee(fact.subject)
    return 0


cdef int encode_record(
    writer_t *w, const core_t *c, const fact_t *fact, Names users, Names groups,
) except -1:
    """Append the record of a fact that still waits."""
    cdef size_t size = size_of(fact.data)
    cdef uint8_t *at = writer_reserve(w, RECORD_ROOM + size)
    cdef const invitation_t *one
    at = put_u8(at, FORMAT_VERSION)
    at = put_u8(at, fact.kind)
    at = put_u8(at, fact.reason)
    at = put_u8(at, fact.flags)
    at = put_u64(at, fact.position)
    at = put_u64(at, fact.time_ms)
    at = put_u64(at, fact.id.high)
    at = put_u64(at, fact.id.low)
    at = put_u32(at, fact.seq)
    at = put_u32(at, fact.data_version)
    at = put_u32(at, fact.affected)
    at = put_u32(at, fact.device)
    at = put_u8(at, fact.marks)
    at = put_name(at, users, fact.actor)
    at = put_name(at, users, fact.subject)
    at = put_data(at, fact.data, size)
    if fact.kind == FACT_OPENED:
        one = invitation_at(c, fact.slot)
        at = put_u8(at, one.flags & ~MARKS)     # marks have records of their own
        at = put_u64(at, deadline_of(c, fact.slot, fact.time_ms))
        if one.flags & LISTED:
            writer_wrote(w, at)
            return encode_asked(w, c, list_at(c, one.invitee), users, groups)
        at = put_name(at, groups, NONE)
        at = put_u32(at, 1)
        at = put_name(at, users, one.invitee)
    writer_wrote(w, at)
    return 0


cdef int encode_asked(
    writer_t *w, const core_t *c, const list_t *asked, Names users, Names groups,
) except -1:
    """Append the group of a new list and who is asked."""
    cdef uint8_t *at = writer_reserve(w, NAME_ROOM + 4)
    cdef uint32_t ref = NONE, index = NONE
    at = put_name(at, groups, asked.group)
    at = put_u32(at, asked.roster.count)
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            break
        index += 1
        if index % ENTRIES == 0:
            writer_wrote(w, at)
            at = writer_reserve(w, ENTRIES * NAME_ROOM)
        at = put_name(at, users, entry_at(&c.pages, ref).user)
    writer_wrote(w, at)
    return 0


cdef int foresee_image(const core_t *c, uint32_t slot, Names users) except -1:
    """Have the names and the data of a slot brought into the cache."""
    cdef const invitation_t *one = invitation_at(c, slot)
    if one.state == FREE_SLOT:
        return 0
    users.foresee(one.inviter)
    if not one.flags & LISTED:
        users.foresee(one.invitee)
    if one.state == OPEN:
        pysignal_prefetch(<const void *>one.data)
    return 0


cdef int encode_image(
    writer_t *w, const core_t *c, uint32_t slot, Names users, Names groups,
) except -1:
    """Append one slot as it is now."""
    cdef const invitation_t *one = invitation_at(c, slot)
    cdef bint is_open = one.state == OPEN
    cdef uint64_t since_ms = c.wheel.now if is_open else ended_ms(one)
    cdef uint64_t data = one.data if is_open else 0
    cdef size_t size = size_of(data)
    cdef uint8_t *at = writer_reserve(w, IMAGE_ROOM + size)
    at = put_u32(at, slot)
    at = put_u32(at, one.generation)
    at = put_u8(at, one.state)
    if one.state == FREE_SLOT:
        writer_wrote(w, at)
        return 0
    at = put_u8(at, one.status)
    at = put_u8(at, one.flags)
    at = put_u8(at, one.reason)
    at = put_u64(at, one.secret)
    at = put_u64(at, one.position)
    at = put_u64(at, opened_ms(one, since_ms))
    at = put_u64(at, deadline_of(c, slot, since_ms) if is_open else 0)
    at = put_u64(at, 0 if is_open else ended_position(one))
    at = put_u64(at, 0 if is_open else since_ms)
    at = put_u32(at, 0 if is_open else ended_by(one))
    at = put_u32(at, one.data_version)
    at = put_name(at, users, one.inviter)
    at = put_data(at, data, size)
    if one.flags & LISTED:
        writer_wrote(w, at)
        return encode_list(w, c, list_at(c, one.invitee), users, groups)
    at = put_name(at, users, one.invitee)
    writer_wrote(w, at)
    return 0


cdef int encode_list(
    writer_t *w, const core_t *c, const list_t *asked, Names users, Names groups,
) except -1:
    """Append a list: its group, its counts, and where each invitee stands."""
    cdef uint8_t *at = writer_reserve(w, NAME_ROOM + 12)
    cdef const entry_t *entry
    cdef uint32_t ref = NONE, index = NONE
    at = put_name(at, groups, asked.group)
    at = put_u32(at, asked.answers)
    at = put_u32(at, asked.accept_limit)
    at = put_u32(at, asked.roster.count)
    while True:
        ref = roster_next(&c.pages, &asked.roster, ref, index)
        if ref == NONE:
            break
        index += 1
        if index % ENTRIES == 0:
            writer_wrote(w, at)
            at = writer_reserve(w, ENTRIES * (NAME_ROOM + ENTRY_TAIL))
        entry = entry_at(&c.pages, ref)
        at = put_name(at, users, entry.user)
        at = put_u8(at, entry.status)
        at = put_u8(at, entry.marks)
        at = put_u16(at, entry.device)
        at = put_u64(at, 0 if entry.status <= PENDING else entry_ended(entry))
    writer_wrote(w, at)
    return 0


cdef str hash_state(const core_t *c, Names users, Names groups):
    """A hash of everything that is open or remembered, with names and texts, 32 hex digits."""
    cdef writer_t w
    cdef uint8_t *at
    cdef uint32_t slot
    cdef int status
    w.start = NULL
    w.used = w.room = 0
    digest = blake2b(digest_size=16)
    try:
        for slot in range(c.invitations.top):
            if core_find(c, core_id(c, slot)) != slot:
                continue
            encode_image(&w, c, slot, users, groups)
            if w.used > HASHED:
                digest.update(PyBytes_FromStringAndSize(<char *>w.start, w.used))
                w.used = 0
        at = writer_reserve(&w, (2 + STATUSES) * sizeof(uint64_t))
        at = put_u64(at, c.position)
        at = put_u64(at, c.wheel.now)
        for status in range(STATUSES):
            at = put_u64(at, c.counts.invitees[status])
        writer_wrote(&w, at)
        digest.update(PyBytes_FromStringAndSize(<char *>w.start, w.used))
    finally:
        writer_free(&w)
    return digest.hexdigest()


# -- decoding --------------------------------------------------------------------------------------

cdef int decode_record(bytes source, record_t *record) except -1:
    """Read a record whose bytes somebody holds as long as `record` is used."""
    cdef fact_t *fact = &record.fact
    cdef reader_t r
    cdef uint8_t version
    r.at = source
    r.end = r.at + len(source)
    need(&r, 1)
    version = get_u8(&r)
    if version != FORMAT_VERSION:
        raise ValueError(f"record: version {version} is unknown, this engine reads version 1")
    need(&r, RECORD_HEAD - 1)
    fact.kind = get_u8(&r)
    fact.reason = get_u8(&r)
    fact.flags = get_u8(&r)
    fact.position = get_u64(&r)
    fact.time_ms = get_u64(&r)
    fact.id.high = get_u64(&r)
    fact.id.low = get_u64(&r)
    fact.seq = get_u32(&r)
    fact.data_version = get_u32(&r)
    fact.affected = get_u32(&r)
    fact.device = get_u32(&r)
    fact.marks = get_u8(&r)
    fact.data = 0
    fact.subject = NONE
    get_name(&r, &record.actor)
    get_name(&r, &record.subject)
    get_data(&r, &record.data)
    if not FACT_OPENED <= fact.kind < FACT_KINDS or fact.reason >= REASONS:
        raise ValueError(f"record: kind {fact.kind} or reason {fact.reason} is unknown")
    if fact.marks & ~MARKS:
        raise ValueError(f"record: marks {fact.marks} are unknown")
    if fact.kind == FACT_OPENED:
        decode_opening(&r, record)
    if left(&r):
        raise ValueError("record: longer than it says")
    return 0


cdef int decode_opening(reader_t *r, record_t *record) except -1:
    cdef opening_t *o = &record.opening
    cdef span_t user
    cdef uint32_t _
    need(r, 9)
    o.flags = get_u8(r)
    record.deadline_ms = get_u64(r)
    get_name(r, &record.group)
    need(r, 4)
    o.count = get_u32(r)
    record.invitees = r[0]
    for _ in range(o.count):
        get_user(r, &user)
    record.invitees.end = r.at
    if not record.actor.size:
        raise ValueError("record: nobody invites")
    check_deadline(record.fact.time_ms, record.deadline_ms)
    if o.flags & MARKS or bool(o.flags & LISTED) == (o.count == 1 and not record.group.size):
        raise ValueError(f"record: flags {o.flags} contradict the invitees")
    return 0


cdef int check_deadline(uint64_t begin_ms, uint64_t deadline_ms) except -1:
    if not begin_ms <= deadline_ms <= begin_ms + <uint64_t>TIMEOUT_DAYS_MAX * DAY_MS:
        raise ValueError(f"a deadline at {deadline_ms} does not fit to an opening at {begin_ms}")
    return 0


cdef int decode_image(reader_t *r, uint32_t slot, image_t *image) except -1:
    """Read the image of a slot, which must be the next one."""
    cdef invitation_t *one = &image.one
    cdef uint64_t begin_ms, end_position, end_ms
    cdef uint32_t found, device
    need(r, IMAGE_FREE)
    found = get_u32(r)
    if found != slot:
        raise ValueError(f"snapshot: slot {found} stands where {slot} belongs")
    one.generation = get_u32(r)
    one.state = get_u8(r)
    one.data = 0
    if one.state == FREE_SLOT:
        return 0
    need(r, IMAGE_HEAD)
    one.status = get_u8(r)
    one.flags = get_u8(r)
    one.reason = get_u8(r)
    if one.state > CALLED_OFF or not PENDING <= one.status < STATUSES or one.reason >= REASONS:
        raise ValueError("snapshot: a state, status or reason is unknown")
    one.secret = get_u64(r)
    one.position = get_u64(r)
    begin_ms = get_u64(r)
    one.opened_ms = <uint32_t>begin_ms
    image.deadline_ms = get_u64(r)
    end_position = get_u64(r)
    end_ms = get_u64(r)
    device = get_u32(r)
    if one.state == OPEN:
        check_deadline(begin_ms, image.deadline_ms)
    else:
        set_ended(one, end_position, end_ms, device)
    one.data_version = get_u32(r)
    get_user(r, &image.inviter)
    get_data(r, &image.data)
    if one.flags & LISTED:
        return decode_list(r, image)
    get_user(r, &image.invitee)
    if (one.status == PENDING) != (one.state == OPEN):
        raise ValueError("snapshot: an invitation is open without anybody pending, or not")
    return 0


cdef int decode_list(reader_t *r, image_t *image) except -1:
    cdef entry_image_t entry
    cdef uint32_t _
    cdef bint pending = False
    get_name(r, &image.group)
    need(r, 12)
    image.answers = get_u32(r)
    image.accept_limit = get_u32(r)
    image.count = get_u32(r)
    image.entries = r[0]
    for _ in range(image.count):
        get_entry(r, &entry)
        if not PENDING <= entry.status < STATUSES:
            raise ValueError(f"snapshot: status {entry.status} is unknown")
        pending = pending or entry.status == PENDING
    image.entries.end = r.at
    if pending != (image.one.state == OPEN):
        raise ValueError("snapshot: a list is open without anybody pending, or not")
    return 0


cdef int get_entry(reader_t *r, entry_image_t *entry) except -1:
    """Read an entry of a list: who was invited, and how they stand."""
    get_user(r, &entry.user)
    need(r, ENTRY_TAIL)
    entry.status = get_u8(r)
    entry.marks = get_u8(r)
    entry.device = get_u16(r)
    entry.ended_position = get_u64(r)
    return 0
