"""Copies of a machine: by records, or from a snapshot in slices with the records since.

A snapshot is taken in slices of so many slots, so that nobody waits for it: operations go on
between two slices. Each slice says at which commit position it was taken, so that of the records
since the first slice just those are applied to a slot that its slice does not contain yet.
"""

from bisect import bisect_right
from operator import itemgetter

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pysignal.engine.core cimport (
    FREE_SLOT,
    LISTED,
    OPEN,
    core_t,
    invitation_at,
    invitation_t,
    list_at,
    list_give,
    list_t,
    list_take,
    opening_t,
    slot_give,
)
from pysignal.engine.facts cimport FACT_KINDS, FACT_MODIFIED, FACT_OPENED, fact_t
from pysignal.engine.machine cimport Machine
from pysignal.engine.records cimport FORMAT_VERSION, Reader, encode_image
from pysignal.engine.replay cimport (
    APPLIED,
    APPLY_FULL,
    GAP,
    MISFIT,
    SKIPPED,
    replay_apply,
    replay_claim,
    replay_finish,
    replay_slot,
)
from pysignal.engine.roster cimport (
    PENDING,
    STATUSES,
    entry_at,
    entry_set_ended,
    entry_t,
    roster_add,
    roster_init,
)
from pysignal.engine.slab cimport NONE
from pysignal.engine.texts cimport handle_of, release
from pysignal.engine.users cimport users_acquire

cdef object FIRST = itemgetter(0)


def take_slice(Machine machine not None, uint32_t first, uint32_t count):
    """Encode the slots from `first` on, at most `count`.

    Args:
        machine: goes on between two slices as it likes.
        first: 0, then what the slice before gave.
        count: slots; 1,000 take well under a millisecond.

    Returns:
        (the slice, where the next one begins; None after the last).
    """
    cdef core_t *c = &machine.core
    cdef uint32_t slot, end = first + count
    cdef bytearray out = bytearray()
    if end > c.invitations.top:
        end = c.invitations.top
    out.append(FORMAT_VERSION)
    for number in (c.position, c.wheel.now, first, end, c.counts.invitations):
        out += (<object>number).to_bytes(8, "little")
    for slot in range(STATUSES):
        out += (<object>c.counts.invitees[slot]).to_bytes(8, "little")
    for slot in range(first, end):
        encode_image(out, c, slot, machine.users, machine.groups)
    return bytes(out), (end if end < c.invitations.top else None)


def apply(Machine machine not None, bytes record not None):
    """Carry out a record on a copy that has all records before it.

    Returns:
        Whether it changed anything: a record that the copy has already is skipped.

    Raises:
        ValueError: the record is malformed, of another version, contradicts the copy, or records
            before it are missing. Nothing was changed.
    """
    return apply_record(machine, record, None) == APPLIED


cdef int apply_record(Machine machine, bytes record, Restore restore) except -1:
    cdef core_t *c = &machine.core
    cdef Reader reader = Reader(record)
    cdef fact_t fact
    cdef opening_t o
    cdef uint64_t deadline_ms = 0, covered = 0, released = 0
    cdef uint32_t slot, one
    cdef int result
    cdef tuple invitees = ()
    if reader.u8() != FORMAT_VERSION:
        raise ValueError(f"record: version {record[0]} is unknown, this engine reads version 1")
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
    actor = reader.name()
    subject = reader.name()
    data = reader.data()
    if not FACT_OPENED <= fact.kind < FACT_KINDS:
        raise ValueError(f"record: kind {fact.kind} is unknown")
    machine.drop_rolls()
    machine.rolls.clear()
    fact.actor = machine.users.find(actor) if actor else NONE
    fact.subject = machine.users.find(subject) if subject else NONE
    fact.data = 0
    fact.held = 0
    if fact.kind == FACT_OPENED:
        o.flags = reader.u8()
        deadline_ms = reader.u64()
        invitees = read_opening(machine, reader, &o)
        o.inviter = machine.users.intern(&c.users, actor)
        if o.inviter == NONE:
            raise MemoryError("users: the table is full")
        one = machine.users.find(invitees[0]) if o.count == 1 else 0
        o.invitees = machine.numbers if o.flags & LISTED else &one
    slot = replay_slot(c, &fact)
    if restore is not None:
        covered = restore.position_of(slot)
    fact.data = handle_of(data)
    o.data = fact.data
    result = replay_apply(c, &fact, &o, deadline_ms, covered, &released)
    # The reference stays with the invitation that was opened or modified; others give it back.
    if result != APPLIED or not (fact.kind == FACT_OPENED or fact.kind == FACT_MODIFIED):
        release(fact.data)
    release(released)
    if result == APPLIED:
        if restore is not None and fact.kind == FACT_OPENED:
            restore.deadlines[slot] = deadline_ms
        return result
    if result == SKIPPED:
        return result
    if result == GAP:
        raise ValueError(
            f"record: position {fact.position} does not follow {c.position}: records are missing"
        )
    if result == MISFIT:
        raise ValueError(f"record: position {fact.position} contradicts what this machine holds")
    raise MemoryError(f"record: no room to apply position {fact.position}")


cdef tuple read_opening(Machine machine, Reader reader, opening_t *o):
    """The group and the invitees of an opening; a list of them goes to the machine's scratch."""
    cdef str group = reader.name()
    cdef list invitees
    o.group = NONE
    o.count = reader.u32()
    invitees = [reader.name() for _ in range(o.count)]
    machine.users.forget_idle(&machine.core.users, 2 + <int>o.count)
    if o.flags & LISTED:
        machine.intern_all(invitees)
        if group:
            o.group = machine.groups.intern(&machine.core.groups, group)
            if o.group == NONE:
                raise MemoryError("groups: the table is full")
        return tuple(invitees)
    if o.count != 1 or group:
        raise ValueError("record: one invitee without a group was expected")
    if machine.users.intern(&machine.core.users, invitees[0]) == NONE:
        raise MemoryError("users: the table is full")
    return tuple(invitees)


cdef class Restore:
    """A machine being rebuilt from the slices of a snapshot and the records since.

    Call `load` with all slices in order, then `apply` with all records after the position of the
    first slice, then `finish`.

    Args:
        machine: a fresh machine with the key, shard and limits of the one that was copied.
    """

    def __cinit__(self, Machine machine not None):
        if machine.core.position or machine.core.invitations.top:
            raise ValueError("machine: a fresh one is needed, this one has a history")
        self.machine = machine
        self.covered = []
        self.deadlines = {}
        machine.core.restoring = True

    @property
    def position(self):
        """Commit position of the first slice: records after it are to be applied."""
        return self.first_position

    def load(self, bytes piece not None):
        """Load the next slice."""
        cdef core_t *c = &self.machine.core
        cdef Reader reader = Reader(piece)
        cdef uint64_t position, now_ms, first, end, slot, invitations
        cdef list invitees
        if self.finished:
            raise ValueError("restore: finished already")
        if reader.u8() != FORMAT_VERSION:
            raise ValueError(f"snapshot: version {piece[0]} is unknown, this engine reads version 1")
        position = reader.u64()
        now_ms = reader.u64()
        first = reader.u64()
        end = reader.u64()
        invitations = reader.u64()
        invitees = [reader.u64() for _ in range(STATUSES)]
        if first != (self.covered[len(self.covered) - 1][1] if self.covered else 0):
            raise ValueError("snapshot: slices must be loaded in order, from slot 0")
        if not self.covered:
            self.first_position = position
            c.position = position
            c.wheel.now = now_ms
            c.counts.invitations = invitations
            for slot in range(STATUSES):
                c.counts.invitees[slot] = invitees[slot]
        self.covered.append((first, end, position))
        for slot in range(first, end):
            self.load_image(reader)
        if reader.left:
            raise ValueError("snapshot: the slice is longer than it says")

    cdef int load_image(self, Reader reader) except -1:
        cdef core_t *c = &self.machine.core
        cdef uint32_t slot = reader.u32(), generation = reader.u32(), number
        cdef uint8_t state = reader.u8()
        cdef uint64_t deadline_ms, ended_position, ended_ms
        cdef uint32_t device
        cdef invitation_t *one
        cdef str invitee
        if not replay_claim(c, slot):
            raise MemoryError("snapshot: no room for another invitation")
        one = invitation_at(c, slot)
        one.generation = generation
        if state == FREE_SLOT:
            slot_give(c, slot)
            return 0
        one.state = state
        one.status = reader.u8()
        one.flags = reader.u8()
        one.reason = reader.u8()
        one.secret = reader.u64()
        one.position = reader.u64()
        one.opened_ms = <uint32_t>reader.u64()
        deadline_ms = reader.u64()
        ended_position = reader.u64()
        ended_ms = reader.u64()
        device = reader.u32()
        one.data_version = reader.u32()
        number = self.machine.users.intern(&c.users, reader.name())
        if number == NONE:
            raise MemoryError("users: the table is full")
        users_acquire(&c.users, number)
        one.inviter = number
        one.data = handle_of(reader.data())
        if one.flags & LISTED:
            self.load_list(reader, slot)
        else:
            invitee = reader.name()
            number = self.machine.users.intern(&c.users, invitee)
            if number == NONE:
                raise MemoryError("users: the table is full")
            users_acquire(&c.users, number)
            one.invitee = number
        if state == OPEN:
            c.open_count += 1
            self.deadlines[slot] = deadline_ms
            return 0
        c.ended_count += 1
        one.data = device
        one.open.next = <uint32_t>ended_position
        one.open.prev = <uint32_t>(ended_position >> 32)
        one.pending.prev = <uint32_t>ended_ms
        return 0

    cdef int load_list(self, Reader reader, uint32_t slot) except -1:
        cdef core_t *c = &self.machine.core
        cdef uint32_t index = list_take(c), number, ref, i, count
        cdef list_t *asked
        cdef entry_t *entry
        cdef str group = reader.name()
        if index == NONE:
            raise MemoryError("snapshot: no room for another list")
        asked = list_at(c, index)
        asked.slot = slot
        asked.group = NONE
        asked.answers = reader.u32()
        asked.accept_limit = reader.u32()
        count = reader.u32()
        if not roster_init(&c.pages, &asked.roster, index, count):
            list_give(c, index)
            raise MemoryError("snapshot: no room for another roster")
        invitation_at(c, slot).invitee = index
        if group:
            number = self.machine.groups.intern(&c.groups, group)
            if number == NONE:
                raise MemoryError("groups: the table is full")
            users_acquire(&c.groups, number)
            asked.group = number
        for i in range(count):
            number = self.machine.users.intern(&c.users, reader.name())
            if number == NONE:
                raise MemoryError("users: the table is full")
            users_acquire(&c.users, number)
            ref = roster_add(&c.pages, &asked.roster, number)
            entry = entry_at(&c.pages, ref)
            entry.status = reader.u8()
            entry.marks = reader.u8()
            entry.device = <uint16_t>reader.u16()
            entry_set_ended(entry, reader.u64())
            if entry.status > PENDING:
                asked.roster.pending -= 1
        return 0

    def position_of(self, uint32_t slot):
        """The position up to which a slot is complete from its slice."""
        cdef Py_ssize_t at = bisect_right(self.covered, slot, key=FIRST) - 1
        if at >= 0 and slot < <uint32_t>self.covered[at][1]:
            return self.covered[at][2]
        return 0

    def apply(self, bytes record not None):
        """Apply a record made since the first slice; returns whether it changed anything."""
        if self.finished:
            raise ValueError("restore: finished already")
        return apply_record(self.machine, record, self) == APPLIED

    def finish(self):
        """Link everything and return the machine, ready for operations."""
        cdef core_t *c = &self.machine.core
        cdef uint64_t *deadlines
        cdef bint linked
        if self.finished:
            raise ValueError("restore: finished already")
        deadlines = <uint64_t *>calloc(c.invitations.top + 1, sizeof(uint64_t))
        if deadlines == NULL:
            raise MemoryError("restore: no memory to link with")
        for slot, deadline_ms in self.deadlines.items():
            deadlines[<uint32_t>slot] = deadline_ms
        linked = replay_finish(c, deadlines)
        free(deadlines)
        if not linked:
            raise MemoryError("restore: no memory to link with")
        self.finished = True
        return self.machine
