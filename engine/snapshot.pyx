"""Copies of a machine: by records, or from a snapshot in slices with the records since.

A snapshot is taken in slices of so many slots, so that nobody waits for it: operations go on
between two slices. Each slice says at which commit position it was taken, so that of the records
since the first slice just those are applied to a slot that its slice does not contain yet.

A slice is read and its names are numbered before anything is changed, so that one which is refused
leaves nothing behind but names that nobody mentions, and those are let go at once.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc

from pysignal.engine.binary cimport (
    get_u8,
    get_u64,
    get_user,
    left,
    need,
    put_u8,
    put_u64,
    reader_t,
    span_t,
    text_in,
    writer_clear,
    writer_reserve,
    writer_wrote,
)
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
from pysignal.engine.naming cimport (
    check_invitees,
    find_name,
    number_group,
    number_name,
    reserve_numbers,
)
from pysignal.engine.records cimport (
    FORMAT_VERSION,
    IMAGE_FREE,
    decode_image,
    decode_record,
    encode_image,
    entry_image_t,
    foresee_image,
    get_entry,
    image_t,
    record_t,
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
from pysignal.engine.wheel cimport timer_at

cdef enum:
    SLICE_HEAD = 97         # bytes before the images
    SLICE_END = 25          # where the head says which slot is the first of the next slice
    SLICE_BYTES = 1 << 16   # a slice ends when it has so many
    AHEAD = 4               # slots ahead of the one that is read whose names are asked for


def take_slice(Machine machine not None, uint32_t first, uint32_t count):
    """Encode the slots from `first` on, at most `count`.

    Args:
        machine: goes on between two slices as it likes.
        first: 0, then what the slice before gave.
        count: slots, above 0. A slice ends sooner once it has 64 KiB, so that it takes a fraction
            of a millisecond and not much more than one invitation where that is a large one.

    Returns:
        (the slice, where the next one begins; None after the last).
    """
    cdef core_t *c = &machine.core
    cdef uint32_t slot = first, top = c.invitations.top, end
    cdef uint8_t *at
    cdef int status
    if count == 0 or first > top:
        raise ValueError(f"first, count: slot 0 to {top} and at least one, not {first}, {count}")
    end = first + count if count < top - first else top
    machine.scratch.used = 0
    at = writer_reserve(&machine.scratch, SLICE_HEAD)
    at = put_u8(at, FORMAT_VERSION)
    at = put_u64(at, c.position)
    at = put_u64(at, c.wheel.now)
    at = put_u64(at, first)
    at = put_u64(at, end)       # put once more when it is known
    at = put_u64(at, top)
    at = put_u64(at, c.counts.invitations)
    for status in range(STATUSES):
        at = put_u64(at, c.counts.invitees[status])
    writer_wrote(&machine.scratch, at)
    while slot < end and machine.scratch.used < SLICE_BYTES:
        if slot + AHEAD < end:
            foresee_image(c, slot + AHEAD, machine.users)
        encode_image(&machine.scratch, c, slot, machine.users, machine.groups)
        slot += 1
    put_u64(machine.scratch.start + SLICE_END, slot)
    piece = PyBytes_FromStringAndSize(<char *>machine.scratch.start, machine.scratch.used)
    writer_clear(&machine.scratch)
    return piece, (slot if slot < top else None)


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
    cdef record_t record
    cdef fact_t *fact = &record.fact
    cdef uint64_t covered = 0, released = 0
    cdef uint32_t one = NONE
    cdef bint keeps = False     # whether the invitation holds the record's data
    cdef int result
    decode_record(source, &record)
    if fact.position <= machine.core.position:
        return SKIPPED
    drop_rolls(&machine.core, machine.rolls)
    if restore is not None:
        covered = restore.position_of(replay_slot(&machine.core, fact))
    if fact.position > covered:
        keeps = fact.kind == FACT_OPENED or fact.kind == FACT_MODIFIED
        if fact.kind == FACT_OPENED:
            name_opening(machine, &record, &one)
        fact.subject = find_name(machine.users, &record.subject)
        fact.data = handle_of(text_in(&record.data)) if keeps else 0
        record.opening.data = fact.data
    result = replay_apply(
        &machine.core, fact, &record.opening, record.deadline_ms, covered, &released,
    )
    if result != APPLIED:
        release(fact.data)
    release(released)
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


cdef int name_opening(Machine machine, record_t *record, uint32_t *one) except -1:
    """Fill in the numbers of an opening; `one` is the place for a single invitee."""
    cdef opening_t *o = &record.opening
    cdef reader_t names = record.invitees
    cdef span_t name
    cdef uint32_t *numbers = one
    cdef uint32_t i
    machine.forget_idle(o.count)
    if o.flags & LISTED:
        reserve_numbers(machine, o.count)
        numbers = machine.numbers
    o.random = record.fact.id.low
    o.inviter = number_name(machine.users, &machine.core.users, &record.actor, "users")
    for i in range(o.count):
        get_user(&names, &name)
        numbers[i] = number_name(machine.users, &machine.core.users, &name, "users")
    check_invitees(o.inviter, numbers, o.count)
    o.invitees = numbers
    o.group = number_group(machine, &record.group)
    return 0


# -- snapshots -------------------------------------------------------------------------------------

cdef int name_image(Machine machine, image_t *image) except -1:
    """Fill in the numbers of an image and take its data.

    Those of a list are found again when it is made: now it is known that they can be.
    """
    cdef core_t *c = &machine.core
    cdef uint32_t inviter = number_name(machine.users, &c.users, &image.inviter, "users")
    cdef uint32_t invitee
    image.one.inviter = inviter
    if image.one.flags & LISTED:
        number_entries(machine, image)
        check_invitees(inviter, machine.numbers, image.count)
        number_group(machine, &image.group)
    else:
        invitee = number_name(machine.users, &c.users, &image.invitee, "users")
        check_invitees(inviter, &invitee, 1)
        image.one.invitee = invitee
    if image.one.state == OPEN:
        image.one.data = handle_of(text_in(&image.data))
    return 0


cdef int number_entries(Machine machine, const image_t *image) except -1:
    """Put the numbers of the invitees of a list into the scratch."""
    cdef reader_t entries = image.entries
    cdef entry_image_t entry
    cdef uint32_t i
    reserve_numbers(machine, image.count)
    for i in range(image.count):
        get_entry(&entries, &entry)
        machine.numbers[i] = number_name(
            machine.users, &machine.core.users, &entry.user, "users",
        )
    return 0


cdef int load_image(Machine machine, uint32_t slot, const image_t *image) except -1:
    """Put an image into its slot; its data then belongs to the invitation."""
    cdef core_t *c = &machine.core
    cdef uint32_t index = image.one.invitee
    if not replay_ready(c, slot):
        raise MemoryError("snapshot: no room for another invitation")
    if image.one.state == FREE_SLOT:
        invitation_at(c, slot).generation = image.one.generation
        return 0
    if image.one.flags & LISTED:
        index = load_list(machine, slot, image)
    else:
        users_acquire(&c.users, index)
    users_acquire(&c.users, image.one.inviter)
    slot_claim(c, slot)
    invitation_at(c, slot)[0] = image.one
    invitation_at(c, slot).invitee = index
    if image.one.state == OPEN:
        timer_at(&c.wheel, slot).deadline = <uint32_t>image.deadline_ms
        c.open_count += 1
    else:
        c.ended_count += 1
    return 0


cdef uint32_t load_list(Machine machine, uint32_t slot, const image_t *image) except 0xFFFFFFFF:
    """Make the list of an image and return its index."""
    cdef core_t *c = &machine.core
    cdef uint32_t group = number_group(machine, &image.group), index, i
    cdef reader_t entries = image.entries
    cdef entry_image_t one
    cdef list_t *asked
    cdef entry_t *entry
    number_entries(machine, image)
    index = list_take(c)
    if index == NONE:
        raise MemoryError("snapshot: no room for another list")
    asked = list_at(c, index)
    if not roster_init(&c.pages, &asked.roster, index, image.count):
        list_give(c, index)
        raise MemoryError("snapshot: no room for another roster")
    asked.slot = slot
    asked.group = group
    asked.answers = image.answers
    asked.accept_limit = image.accept_limit
    if group != NONE:
        users_acquire(&c.groups, group)
    for i in range(image.count):
        get_entry(&entries, &one)
        users_acquire(&c.users, machine.numbers[i])
        entry = entry_at(&c.pages, roster_add(&c.pages, &asked.roster, machine.numbers[i]))
        entry.status = one.status
        entry.marks = one.marks
        entry.device = one.device
        if one.status > PENDING:
            entry_set_ended(entry, one.ended_position)
            asked.roster.pending -= 1
    return index


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
        machine.core.restoring = True

    def __dealloc__(self):
        free(self.covered)

    @property
    def position(self):
        """Commit position of the first slice: records after it are to be applied."""
        return self.covered[0].position if self.covered_count else 0

    def load(self, bytes piece not None):
        """Load the next slice."""
        cdef core_t *c = &self.machine.core
        cdef reader_t r
        cdef uint64_t position, now_ms, first, end, slots, invitations
        cdef uint64_t[STATUSES] invitees
        cdef int status
        self.check_usable()
        r.at = piece
        r.end = r.at + len(piece)
        need(&r, 1)
        version = get_u8(&r)
        if version != FORMAT_VERSION:
            raise ValueError(f"snapshot: version {version} is unknown, this engine reads version 1")
        need(&r, SLICE_HEAD - 1)
        position = get_u64(&r)
        now_ms = get_u64(&r)
        first = get_u64(&r)
        end = get_u64(&r)
        slots = get_u64(&r)
        invitations = get_u64(&r)
        for status in range(STATUSES):
            invitees[status] = get_u64(&r)
        self.check_follows(first, end, slots, position)
        if end - first > left(&r) // IMAGE_FREE:
            raise ValueError("the record is cut short")
        self.load_slots(&r, <uint32_t>first, <uint32_t>(end - first))
        self.covered[self.covered_count].position = position
        self.covered[self.covered_count].first = <uint32_t>first
        self.covered[self.covered_count].end = <uint32_t>end
        self.covered_count += 1
        self.slots = slots
        if self.covered_count == 1:
            c.position = position
            c.wheel.now = now_ms
            c.counts.invitations = invitations
            for status in range(STATUSES):
                c.counts.invitees[status] = invitees[status]

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
        cdef uint64_t last_end = 0, last_position = 0
        if self.covered_count:
            last_end = self.covered[self.covered_count - 1].end
            last_position = self.covered[self.covered_count - 1].position
        if first != last_end or position < last_position or not first <= end <= slots <= NONE:
            raise ValueError("snapshot: slices must be loaded in order, from slot 0")
        if self.machine.core.position != self.position:
            raise ValueError("snapshot: slices must be loaded before records are applied")
        return 0

    cdef int reserve_covered(self) except -1:
        """Make room to note one slice more."""
        cdef uint32_t room = self.covered_room * 2 if self.covered_room else 64
        cdef void *more
        if self.covered_count == self.covered_room:
            more = realloc(self.covered, room * sizeof(covered_t))
            if more == NULL:
                raise MemoryError("restore: no memory for another slice")
            self.covered = <covered_t *>more
            self.covered_room = room
        return 0

    cdef int load_slots(self, reader_t *r, uint32_t first, uint32_t count) except -1:
        """Read the images that are left, number their names, and only then fill slots with them."""
        cdef Machine machine = self.machine
        cdef uint32_t named = 0, placed = 0
        cdef image_t *images
        self.reserve_covered()
        images = <image_t *>malloc((<size_t>count + 1) * sizeof(image_t))
        if images == NULL:
            raise MemoryError("restore: no memory to read a slice of this size")
        self.failed = "no memory to say why"
        try:
            while named < count:
                decode_image(r, first + named, &images[named])
                if images[named].one.state != FREE_SLOT:
                    name_image(machine, &images[named])
                named += 1
            if left(r):
                raise ValueError("snapshot: the slice is longer than it says")
            while placed < count:
                load_image(machine, first + placed, &images[placed])
                placed += 1
        except ValueError:
            self.failed = None
            machine.users.forget_idle(&machine.core.users, 1 << 30)
            machine.groups.forget_idle(&machine.core.groups, 1 << 30)
            raise
        except BaseException as error:
            self.failed = str(error)
            raise
        finally:
            for placed in range(placed, named):
                release(images[placed].one.data if images[placed].one.state == OPEN else 0)
            free(images)
        self.failed = None
        return 0

    cdef uint64_t position_of(self, uint32_t slot) noexcept:
        """The position up to which a slot is complete from its slice."""
        cdef uint32_t low = 0, high = self.covered_count, middle
        while low < high:       # the first slice that ends after the slot
            middle = (low + high) // 2
            if self.covered[middle].end <= slot:
                low = middle + 1
            else:
                high = middle
        return self.covered[low].position if low < self.covered_count else 0

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
        cdef covered_t *last
        self.check_usable()
        if self.covered_count:
            last = &self.covered[self.covered_count - 1]
            if last.end < self.slots:
                raise ValueError(f"snapshot: slots {last.end} to {self.slots - 1} are missing")
            if c.position < last.position:
                raise ValueError(
                    f"snapshot: it needs the records up to position {last.position}, the last one "
                    f"applied is {c.position}"
                )
        if not replay_finish(c):
            raise MemoryError("restore: no memory to link with")
        self.finished = True
        return self.machine
