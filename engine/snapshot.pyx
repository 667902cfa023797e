"""Copies of a machine: by records, or from a snapshot in slices with the records since.

A snapshot is taken in slices of so many slots, so that nobody waits for it: operations go on
between two slices. Each slice says at which commit position it was taken, so that of the records
since the first slice just those are applied to a slot that its slice does not contain yet.
"""

from bisect import bisect_right
from operator import itemgetter

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pysignal.engine.core cimport (
    FREE_SLOT,
    LISTED,
    OPEN,
    core_t,
    invitation_at,
    list_at,
    list_t,
    opening_t,
)
from pysignal.engine.events cimport drop_rolls
from pysignal.engine.facts cimport FACT_MODIFIED, FACT_OPENED, fact_t, facts_waiting
from pysignal.engine.machine cimport Machine
from pysignal.engine.records cimport (
    FORMAT_VERSION,
    Image,
    Reader,
    Record,
    decode_image,
    decode_record,
    encode_image,
)
from pysignal.engine.replay cimport (
    APPLIED,
    GAP,
    MISFIT,
    SKIPPED,
    replay_apply,
    replay_finish,
    replay_ready,
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
from pysignal.engine.store cimport list_give, list_take, slot_claim
from pysignal.engine.texts cimport handle_of, release
from pysignal.engine.users cimport users_acquire

cdef object FIRST = itemgetter(0)


def take_slice(Machine machine not None, uint32_t first, uint32_t count):
    """Encode the slots from `first` on, at most `count`.

    Args:
        machine: goes on between two slices as it likes.
        first: 0, then what the slice before gave.
        count: slots, above 0; 1,000 take well under a millisecond.

    Returns:
        (the slice, where the next one begins; None after the last).
    """
    cdef core_t *c = &machine.core
    cdef uint32_t slot, top = c.invitations.top, end
    cdef int status
    cdef bytearray out = bytearray()
    if count == 0 or first > top:
        raise ValueError(f"first, count: slot 0 to {top} and at least one, not {first}, {count}")
    end = first + count if count < top - first else top
    out.append(FORMAT_VERSION)
    for number in (c.position, c.wheel.now, first, end, top, c.counts.invitations):
        out += (<object>number).to_bytes(8, "little")
    for status in range(STATUSES):
        out += (<object>c.counts.invitees[status]).to_bytes(8, "little")
    for slot in range(first, end):
        encode_image(out, c, slot, machine.users, machine.groups)
    return bytes(out), (end if end < top else None)


# -- records ---------------------------------------------------------------------------------------

def apply(Machine machine not None, bytes record not None):
    """Carry out a record on a copy that has all records before it.

    Returns:
        Whether it changed anything: a record that the copy has already is skipped.

    Raises:
        ValueError: the record is malformed, of another version, contradicts the copy, or records
            before it are missing; or the machine has facts of its own that were not taken. No
            invitation was changed.
        MemoryError: a table or memory is full. No invitation was changed.
    """
    if machine.core.restoring:
        raise ValueError("machine: it is being restored, use Restore.apply")
    if facts_waiting(&machine.core.facts):
        raise ValueError("machine: it has facts of its own, take them first")
    return apply_record(machine, record, None) == APPLIED


cdef int apply_record(Machine machine, bytes source, Restore restore) except -1:
    cdef Record record = decode_record(source)
    cdef fact_t *fact = &record.fact
    cdef uint64_t covered = 0, released = 0
    cdef uint32_t slot = replay_slot(&machine.core, fact), one = NONE
    cdef object place = None, deadline_ms = None
    cdef int result
    if fact.position <= machine.core.position:
        return SKIPPED
    drop_rolls(&machine.core, machine.rolls)
    if fact.kind == FACT_OPENED:
        name_opening(machine, record, &one)
    if restore is not None:
        covered = restore.position_of(slot)
        if fact.kind == FACT_OPENED:
            # The place is made first, as memory may run out, and filled when all is done.
            place, deadline_ms = slot, record.deadline_ms
            restore.deadlines.setdefault(place, 0)
    fact.subject = machine.users.find(record.subject) if record.subject else NONE
    fact.data = handle_of(record.data)
    record.opening.data = fact.data
    result = replay_apply(
        &machine.core, fact, &record.opening, record.deadline_ms, covered, &released,
    )
    # The reference stays with the invitation that was opened or modified; others give it back.
    if result != APPLIED or not (fact.kind == FACT_OPENED or fact.kind == FACT_MODIFIED):
        release(fact.data)
    release(released)
    if result == APPLIED and restore is not None and fact.kind == FACT_OPENED:
        restore.deadlines[place] = deadline_ms
    if result == APPLIED or result == SKIPPED:
        return result
    if result == GAP:
        raise ValueError(
            f"record: position {fact.position} does not follow {machine.core.position}: "
            "records are missing"
        )
    if result == MISFIT:
        raise ValueError(f"record: position {fact.position} contradicts what this machine holds")
    raise MemoryError(f"record: no room to apply position {fact.position}")


cdef int name_opening(Machine machine, Record record, uint32_t *one) except -1:
    """Fill in the numbers of an opening; `one` is the place for a single invitee."""
    cdef opening_t *o = &record.opening
    machine.forget_idle(o.count)
    o.random = record.fact.id.low
    o.inviter = machine.number_of(record.actor, "record")
    if o.flags & LISTED:
        one[0] = machine.intern_all(record.invitees)
        o.invitees = machine.numbers
    else:
        one[0] = machine.number_of(record.invitees[0], "record")
        o.invitees = one
    if o.inviter == NONE or one[0] == NONE:
        raise MemoryError("users: the table is full")
    o.group = group_number(machine, record.group)
    return 0


cdef uint32_t group_number(Machine machine, str group) except? 0xFFFFFFFF:
    """The number of a group, or NONE for no group."""
    cdef uint32_t number = NONE
    if group:
        number = machine.number_of_group(group)
        if number == NONE:
            raise MemoryError("groups: the table is full")
    return number


# -- snapshots -------------------------------------------------------------------------------------

cdef class Restore:
    """A machine being rebuilt from the slices of a snapshot and the records since.

    Call `load` with all slices in order, then `apply` with all records after the position of the
    first slice, then `finish`. A slice or record that is refused changes nothing; where memory or a
    table runs out in the middle of a slice, nothing more can be done with the restore.

    Args:
        machine: a fresh machine with the key, shard and limits of the one that was copied. It
            refuses operations until `finish` returns it.
    """

    def __cinit__(self, Machine machine not None):
        if machine.core.position or machine.core.invitations.top or machine.core.restoring:
            raise ValueError("machine: a fresh one is needed, this one has a history")
        self.machine = machine
        self.covered = []
        self.deadlines = {}
        machine.core.restoring = True

    @property
    def position(self):
        """Commit position of the first slice: records after it are to be applied."""
        return self.covered[0][2] if self.covered else 0

    def load(self, bytes piece not None):
        """Load the next slice."""
        cdef core_t *c = &self.machine.core
        cdef Reader reader = Reader(piece)
        cdef uint64_t position, now_ms, first, end, slots, invitations, slot
        cdef list invitees, images
        self.check_usable()
        version = reader.u8()
        if version != FORMAT_VERSION:
            raise ValueError(f"snapshot: version {version} is unknown, this engine reads version 1")
        position = reader.u64()
        now_ms = reader.u64()
        first = reader.u64()
        end = reader.u64()
        slots = reader.u64()
        invitations = reader.u64()
        invitees = []
        for _ in range(STATUSES):
            invitees.append(reader.u64())
        self.check_follows(first, end, slots, position)
        images = []
        for slot in range(first, end):
            images.append(decode_image(reader, slot))
        if reader.left:
            raise ValueError("snapshot: the slice is longer than it says")
        self.failed = "no memory to say why"
        try:
            for image in images:
                self.load_image(<Image>image)
            self.covered.append((first, end, position))
        except BaseException as error:
            self.failed = str(error)
            raise
        self.failed = None
        if len(self.covered) == 1:
            c.position = position
            c.wheel.now = now_ms
            c.counts.invitations = invitations
            for slot in range(<uint64_t>STATUSES):
                c.counts.invitees[slot] = invitees[slot]
        self.slots = slots

    cdef int check_usable(self) except -1:
        if self.finished:
            raise ValueError("restore: finished already")
        if self.failed is not None:
            raise ValueError(f"restore: it failed before: {self.failed}")
        return 0

    cdef int check_follows(
        self, uint64_t first, uint64_t end, uint64_t slots, uint64_t position,
    ) except -1:
        """Refuse a slice that is not the next one."""
        last_end, last_position = 0, 0
        if self.covered:
            _, last_end, last_position = self.covered[len(self.covered) - 1]
        if first != last_end or position < last_position or not first <= end <= slots:
            raise ValueError("snapshot: slices must be loaded in order, from slot 0")
        if self.machine.core.position != self.position:
            raise ValueError("snapshot: slices must be loaded before records are applied")
        return 0

    cdef int load_image(self, Image image) except -1:
        cdef Machine machine = self.machine
        cdef core_t *c = &machine.core
        cdef uint32_t inviter, invitee
        if not replay_ready(c, image.slot):
            raise MemoryError("snapshot: no room for another invitation")
        if image.one.state == FREE_SLOT:
            invitation_at(c, image.slot).generation = image.one.generation
            return 0
        inviter = machine.number_of(image.inviter, "snapshot")
        if image.one.flags & LISTED:
            invitee = self.load_list(image)
        else:
            invitee = machine.number_of(image.invitee, "snapshot")
        if inviter == NONE or invitee == NONE:
            raise MemoryError("users: the table is full")
        users_acquire(&c.users, inviter)
        if not image.one.flags & LISTED:
            users_acquire(&c.users, invitee)
        image.one.inviter = inviter
        image.one.invitee = invitee
        if image.one.state == OPEN:
            self.deadlines[image.slot] = image.deadline_ms
            image.one.data = handle_of(image.data)      # from here on nothing fails
            c.open_count += 1
        else:
            c.ended_count += 1
        slot_claim(c, image.slot)
        invitation_at(c, image.slot)[0] = image.one
        return 0

    cdef uint32_t load_list(self, Image image) except? 0xFFFFFFFF:
        """Make the list of an image and return its index."""
        cdef Machine machine = self.machine
        cdef core_t *c = &machine.core
        cdef uint32_t count = machine.intern_all(image.invitees)
        cdef uint32_t group = group_number(machine, image.group)
        cdef uint32_t index, i
        cdef list_t *asked
        cdef entry_t *entry
        if count == NONE:
            return NONE
        index = list_take(c)
        if index == NONE:
            raise MemoryError("snapshot: no room for another list")
        asked = list_at(c, index)
        if not roster_init(&c.pages, &asked.roster, index, count):
            list_give(c, index)
            raise MemoryError("snapshot: no room for another roster")
        asked.slot = image.slot
        asked.group = group
        asked.answers = image.answers
        asked.accept_limit = image.accept_limit
        if group != NONE:
            users_acquire(&c.groups, group)
        for i in range(count):
            users_acquire(&c.users, machine.numbers[i])
            entry = entry_at(&c.pages, roster_add(&c.pages, &asked.roster, machine.numbers[i]))
            entry.status, entry.marks, entry.device, ended_position = image.entries[i]
            if entry.status > PENDING:
                entry_set_ended(entry, ended_position)
                asked.roster.pending -= 1
        return index

    cdef uint64_t position_of(self, uint32_t slot) except? 0:
        """The position up to which a slot is complete from its slice."""
        cdef Py_ssize_t at = bisect_right(self.covered, slot, key=FIRST) - 1
        if at >= 0 and slot < <uint32_t>self.covered[at][1]:
            return self.covered[at][2]
        return 0

    def apply(self, bytes record not None):
        """Apply a record made since the first slice; returns whether it changed anything."""
        self.check_usable()
        return apply_record(self.machine, record, self) == APPLIED

    def finish(self):
        """Link everything and return the machine, ready for operations.

        Raises:
            ValueError: slices are missing, or records made while they were taken.
        """
        cdef core_t *c = &self.machine.core
        cdef uint64_t *deadlines
        cdef bint linked
        self.check_usable()
        if self.covered:
            _, end, position = self.covered[len(self.covered) - 1]
            if end < self.slots:
                raise ValueError(f"snapshot: slots {end} to {self.slots - 1} are missing")
            if c.position < position:
                raise ValueError(
                    f"snapshot: it needs the records up to position {position}, the last one "
                    f"applied is {c.position}"
                )
        deadlines = <uint64_t *>calloc(<size_t>c.invitations.top + 1, sizeof(uint64_t))
        if deadlines == NULL:
            raise MemoryError("restore: no memory to link with")
        try:
            for slot, deadline_ms in self.deadlines.items():
                # A record that was refused may have left a place behind that has no slot.
                if <uint32_t>slot < c.invitations.top:
                    deadlines[<uint32_t>slot] = deadline_ms
            linked = replay_finish(c, deadlines)
        finally:
            free(deadlines)
        if not linked:
            raise MemoryError("restore: no memory to link with")
        self.finished = True
        return self.machine
