"""The machine: commands in, events and records out. The Python face of the core.

It owns what the core does not know: the names behind the numbers, the texts behind the handles, the
random bits. It judges nothing itself. Every operation takes the time in ms and the actor's name;
what the core refuses is raised as `Refused`, and has changed nothing.

A handle is a reference to the `str` itself, 0 for the empty one. The reference belongs to the
invitation until the fact that releases it has been taken.

Facts wait until they are read: `records()` first where a journal is kept, then `take()`. What ended
is not forgotten, and no number given to somebody else, before its facts have been taken.
"""

from hashlib import blake2b
from operator import itemgetter

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from pysignal.engine.audit cimport core_audit
from pysignal.engine.core cimport (
    ANSWERED,
    BAD_NUMBER,
    DONE,
    ENDED,
    ENGINE_ABI,
    ENTRY,
    LISTED,
    MARK_TOLD,
    NO_DEADLINE,
    NO_MEMORY,
    ONLINE_ONLY,
    OPEN,
    PARTIES_ONLY,
    UNKNOWN,
    core_advance,
    core_answer,
    core_bytes,
    core_cancel,
    core_dismiss,
    core_entry,
    core_find,
    core_free,
    core_id,
    core_init,
    core_leave,
    core_mark,
    core_modify,
    core_open,
    core_seq,
    core_take,
    ended_by,
    ended_ms,
    ended_position,
    invitation_at,
    invitation_t,
    limits_t,
    links_at,
    list_at,
    list_t,
    opening_t,
)
from pysignal.engine.facts cimport (
    ENDS,
    FACT_ACCEPTED,
    FACT_CANCELLED,
    FACT_MARKED,
    FACT_MODIFIED,
    FACT_OPENED,
    FACT_REJECTED,
    FACT_TIMED_OUT,
    RELEASES,
    event_new,
    facts_waiting,
)
from pysignal.engine.ids cimport SHARD_BITS, id_key, id_parse, id_text, invite_id_t
from pysignal.engine.records cimport encode_image, encode_record
from pysignal.engine.roster cimport (
    ACCEPTED,
    PAGE_SHIFT,
    REJECTED,
    entry_at,
    entry_ended,
    entry_t,
    page_at,
    roster_next,
)
from pysignal.engine.slab cimport NONE
from pysignal.engine.texts cimport handle_of, release, text_of
from pysignal.engine.users cimport (
    users_acquire,
    users_open,
    users_pending,
    users_release,
)
from pysignal.engine.views cimport info_new
from pysignal.engine.wheel cimport timer_at, wheel_deadline, wheel_next

from pysignal.engine.facts import KINDS, REASON_NAMES
from pysignal.engine.views import STATE_NAMES, STATUS_NAMES

cdef object FIRST = itemgetter(0)
cdef tuple KIND_OF = KINDS
cdef tuple REASON_OF = REASON_NAMES
cdef tuple STATE_OF = STATE_NAMES
cdef tuple STATUS_OF = STATUS_NAMES

cdef tuple RESULTS = (
    "done", "due", "unknown", "ended", "answered", "not_party", "not_modifiable", "conflict",
    "table_full", "no_memory", "bad_number",
)

TIMEOUT_MS_MAX = 30 * 86_400_000


cpdef int require_abi(int abi) except -1:
    """Refuse an extension that was built against other structs of the engine.

    Call it at import with the ENGINE_ABI that the extension was compiled with.
    """
    if abi != ENGINE_ABI:
        raise ImportError(
            f"this extension was built against engine ABI {abi}, but ABI {ENGINE_ABI} is "
            "installed: rebuild the extension"
        )
    return 0


class Refused(Exception):
    """What the core refuses; nothing was changed.

    Attributes:
        result: due (advance first), unknown, ended, answered, not_party, not_modifiable, conflict,
            table_full, no_memory.
        info: the invitation, for a party to it, where it is remembered; else None.
    """

    def __init__(self, result, info=None):
        super().__init__(result)
        self.result = result
        self.info = info


cdef class Machine:
    """Invitations of one shard, with names and texts.

    Args:
        key: 16 secret bytes that hide slots in IDs; of the operating system when None.
        entropy: source of random bits for IDs.
        shard: 0 to 4095, part of every ID.
        now_ms: engine time at the beginning, ms since the epoch.
        capacity: open invitations at most.
        users_max: users at most that open or remembered invitations and logins name.
        groups_max: likewise, groups.
        invitees_max: invitees of one invitation at most.
        ended_max: ended invitations remembered at most.
        ended_keep_ms: how long an ended invitation is remembered.
        lifetime_ms: when an invitation without a timeout ends, at most 30 days.
        journaled: whether `records` must be read before `take`.
    """

    def __cinit__(
        self,
        *,
        bytes key=None,
        Entropy entropy=None,
        uint32_t shard=0,
        uint64_t now_ms=0,
        uint32_t capacity=1 << 24,
        uint32_t users_max=1 << 24,
        uint32_t groups_max=1 << 20,
        uint32_t invitees_max=10_000,
        uint32_t ended_max=100_000,
        uint64_t ended_keep_ms=60_000,
        uint64_t lifetime_ms=86_400_000,
        bint journaled=False,
    ):
        cdef limits_t limits
        if shard >> SHARD_BITS:
            raise ValueError(f"shard: 0 to {(1 << SHARD_BITS) - 1}, not {shard}")
        if not 0 < capacity <= 1 << 28 or ended_max > 1 << 28:
            raise ValueError("capacity, ended_max: at most 2**28 invitations")
        if not 0 < lifetime_ms <= TIMEOUT_MS_MAX or ended_keep_ms > TIMEOUT_MS_MAX:
            raise ValueError(f"lifetime_ms, ended_keep_ms: at most {TIMEOUT_MS_MAX} ms (30 days)")
        self.entropy = Entropy() if entropy is None else entropy
        if key is None:
            key = self.entropy.next().to_bytes(8, "little") + self.entropy.next().to_bytes(
                8, "little",
            )
        self.key = key
        limits.capacity = capacity
        limits.users = users_max
        limits.groups = groups_max
        limits.invitees = 1 << 28
        limits.ended_max = ended_max
        limits.keep_ms = ended_keep_ms
        limits.lifetime_ms = lifetime_ms
        core_init(&self.core, &limits, id_key(key), shard, now_ms)
        self.users = Names()
        self.groups = Names()
        self.rolls = []
        self.invitees_max = invitees_max
        self.journaled = journaled

    def __dealloc__(self):
        cdef uint32_t slot, i
        cdef fact_t *fact
        for i in range(self.core.facts.head, self.core.facts.tail):
            fact = &self.core.facts.items[i]
            if FACT_ACCEPTED <= fact.kind <= FACT_CANCELLED:
                release(fact.data)
            if fact.flags & RELEASES:
                release(fact.held)
        for slot in range(self.core.invitations.top):
            if invitation_at(&self.core, slot).state == OPEN:
                release(invitation_at(&self.core, slot).data)
        core_free(&self.core)
        free(self.numbers)

    # -- operations --------------------------------------------------------------------------------

    def open(
        self,
        uint64_t now_ms,
        str inviter not None,
        invitees,
        str data="",
        uint64_t timeout_ms=30_000,
        *,
        str group_id="",
        bint online_only=False,
        bint parties_only=False,
        uint32_t device=0,
    ):
        """Open an invitation and return its ID.

        Args:
            now_ms: engine time.
            inviter: the actor.
            invitees: one user, or a list of users, none twice and the inviter not among them; an
                empty list, only with a group, is born completed.
            data: opaque text.
            timeout_ms: ms until the deadline, at most 30 days; 0 for never.
            group_id: the group, or "" for none. Membership is the caller's business.
            online_only: kept in the invitation and its events.
            parties_only: likewise.
            device: number of the acting device, 0 for none.
        """
        cdef opening_t o
        cdef invite_id_t name
        cdef uint32_t one
        cdef int result
        self.users.forget_idle(
            &self.core.users, 2 if type(invitees) is str else 2 + <int>len(invitees),
        )
        o.now_ms = now_ms
        o.timeout_ms = timeout_ms
        o.inviter = self.users.intern(&self.core.users, inviter)
        o.group = NONE
        o.device = device
        o.flags = (ONLINE_ONLY if online_only else 0) | (PARTIES_ONLY if parties_only else 0)
        if timeout_ms > <uint64_t>TIMEOUT_MS_MAX:
            raise ValueError(f"timeout_ms: at most {TIMEOUT_MS_MAX} ms (30 days)")
        if type(invitees) is str:
            one = self.users.intern(&self.core.users, <str>invitees)
            o.invitees = &one
            o.count = 1
        else:
            self.intern_all(invitees)
            o.invitees = self.numbers
            o.count = <uint32_t>len(invitees)
            one = o.inviter if o.count == 0 else NONE - 1
        if group_id:
            self.groups.forget_idle(&self.core.groups, 2)
            o.group = self.groups.intern(&self.core.groups, group_id)
        if o.inviter == NONE or one == NONE or (group_id and o.group == NONE):
            raise Refused("table_full")
        if o.count == 0 and o.group == NONE:
            raise ValueError("invitees: nobody, and no group to tell it to")
        o.random = self.entropy.next()
        o.data = handle_of(data)
        result = core_open(&self.core, &o, &name)
        if result != DONE:
            release(o.data)
            if result == BAD_NUMBER:
                raise ValueError("invitees: the inviter is among them")
            raise Refused(RESULTS[result])
        return id_text(name)

    cdef int intern_all(self, invitees) except -1:
        """Put the numbers of a list of users into the scratch."""
        cdef list users = invitees
        cdef uint32_t count = <uint32_t>len(users), i
        cdef void *more
        if count > self.invitees_max:
            raise ValueError(f"invitees: at most {self.invitees_max}, not {count}")
        if len(set(users)) != count:
            raise ValueError("invitees: a user is in the list twice")
        if count > self.numbers_room:
            more = realloc(self.numbers, count * sizeof(uint32_t))
            if more == NULL:
                raise MemoryError("invitees: no memory for a list of this size")
            self.numbers = <uint32_t *>more
            self.numbers_room = count
        for i in range(count):
            self.numbers[i] = self.users.intern(&self.core.users, <str?>users[i])
            if self.numbers[i] == NONE:
                raise Refused("table_full")
        return 0

    def accept(
        self, uint64_t now_ms, str invite_id not None, str invitee not None, str data="", *,
        uint32_t device=0,
    ):
        """Accept as a pending invitee."""
        self.answer(now_ms, invite_id, invitee, ACCEPTED, data, device)

    def reject(
        self, uint64_t now_ms, str invite_id not None, str invitee not None, str data="", *,
        uint32_t device=0,
    ):
        """Reject as a pending invitee."""
        self.answer(now_ms, invite_id, invitee, REJECTED, data, device)

    cdef int answer(
        self, uint64_t now_ms, str invite_id, str invitee, uint8_t status, str data,
        uint32_t device,
    ) except -1:
        cdef uint32_t user = self.users.find(invitee)
        cdef invite_id_t name
        cdef uint64_t handle
        cdef int result
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, user)
        handle = handle_of(data)
        result = core_answer(&self.core, now_ms, name, user, status, handle, device)
        if result != DONE:
            release(handle)
            return self.settle_result(result, invite_id, user)
        return 0

    def cancel(
        self, uint64_t now_ms, str invite_id not None, str inviter, str data="", *,
        uint32_t device=0,
    ):
        """Cancel as the inviter, or as the server where `inviter` is None."""
        cdef uint32_t user = NONE
        cdef invite_id_t name
        cdef uint64_t handle
        cdef int result
        if inviter is not None:
            user = self.users.find(inviter)
            if user == NONE:
                user = NONE - 1     # a stranger, not the server
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, user)
        handle = handle_of(data)
        result = core_cancel(&self.core, now_ms, name, user, handle, device)
        if result != DONE:
            release(handle)
            self.settle_result(result, invite_id, user)

    def modify(
        self, uint64_t now_ms, str invite_id not None, str inviter not None, str data="", *,
        uint32_t expected_version=0, uint32_t device=0,
    ):
        """Replace the data of an open invitation; an `expected_version` of 0 is not compared."""
        cdef uint32_t user = self.users.find(inviter)
        cdef invite_id_t name
        cdef uint64_t handle
        cdef int result
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, user)
        handle = handle_of(data)
        result = core_modify(
            &self.core, now_ms, name, user, handle, expected_version, device,
        )
        if result != DONE:
            release(handle)
            self.settle_result(result, invite_id, user)

    def mark_told(self, uint64_t now_ms, str invite_id not None, str invitee not None):
        """Note that some session of a pending invitee was told of the opening (SPEC section 3)."""
        cdef uint32_t user = self.users.find(invitee)
        cdef invite_id_t name
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, user)
        self.settle_result(
            core_mark(&self.core, now_ms, name, user, MARK_TOLD), invite_id, user,
        )

    def is_told(self, str invite_id not None, str invitee not None):
        """Whether `mark_told` was called for this invitee of a remembered invitation."""
        cdef invite_id_t name
        cdef uint32_t slot, ref
        if not id_parse(invite_id, &name):
            return False
        slot = core_find(&self.core, name)
        if slot == NONE:
            return False
        ref = core_entry(&self.core, slot, self.users.find(invitee))
        if ref == NONE:
            return False
        if ref & ENTRY:
            return entry_at(&self.core.pages, ref & ~<uint32_t>ENTRY).marks & MARK_TOLD != 0
        return invitation_at(&self.core, slot).flags & MARK_TOLD != 0

    def leave(
        self, uint64_t now_ms, str user not None, str group_id not None, int64_t budget=1 << 62,
    ):
        """End a user's part in every open invitation of a group, in the order of opening.

        Returns:
            Whether there is more to end than `budget` steps: call again before anything else.
        """
        cdef uint32_t number = self.users.find(user), group = self.groups.find(group_id)
        if number == NONE or group == NONE:
            return False
        self.settle_result(
            core_leave(&self.core, now_ms, number, group, &budget), None, NONE,
        )
        return budget <= 0

    def dismiss(self, uint64_t now_ms, str group_id not None, int64_t budget=1 << 62):
        """Cancel every open invitation of a group, in the order of opening.

        Returns:
            Whether there is more to end than `budget` steps: call again before anything else.
        """
        cdef uint32_t group = self.groups.find(group_id)
        if group == NONE:
            return False
        self.settle_result(core_dismiss(&self.core, now_ms, group, &budget), None, NONE)
        return budget <= 0

    def advance(self, uint64_t now_ms, int64_t budget=1 << 62):
        """Move time on and end what is due, in the order of deadlines.

        Args:
            now_ms: engine time; earlier than now changes nothing.
            budget: steps at most; a step is an invitee that ends or a timer that moves.

        Returns:
            Whether more is due: call again before any other operation.
        """
        self.settle_result(core_advance(&self.core, now_ms, &budget), None, NONE)
        return budget <= 0

    def hold(self, str user not None):
        """Count a login: the user's number stays the same until `unhold`. Returns the number."""
        self.users.forget_idle(&self.core.users, 2)
        cdef uint32_t number = self.users.intern(&self.core.users, user)
        if number == NONE:
            raise Refused("table_full")
        users_acquire(&self.core.users, number)
        return number

    def unhold(self, str user not None):
        """Count a login less."""
        users_release(&self.core.users, self.users.find(user))
        self.users.forget_idle(&self.core.users, 2)

    cdef int settle_result(self, int result, str invite_id, uint32_t user) except -1:
        """Raise what is not DONE."""
        cdef invite_id_t name
        cdef uint32_t slot
        if result == DONE:
            return 0
        if result == NO_MEMORY:
            raise MemoryError("the engine is out of memory; nothing was changed")
        info = None
        if (result == ENDED or result == ANSWERED) and id_parse(invite_id, &name):
            slot = core_find(&self.core, name)
            if slot != NONE and (
                invitation_at(&self.core, slot).inviter == user
                or core_entry(&self.core, slot, user) != NONE
            ):
                info = self.info_of(slot)
        raise Refused(RESULTS[result], info)

    # -- reading facts -----------------------------------------------------------------------------

    def records(self):
        """The records of all facts that were not recorded yet, in commit order.

        Only where the machine is `journaled`; otherwise facts are forgotten by `take` alone.
        """
        cdef uint32_t waiting = facts_waiting(&self.core.facts)
        cdef list out = []
        while self.recorded < waiting:
            out.append(encode_record(
                &self.core, &self.core.facts.items[self.core.facts.head + self.recorded],
                self.users, self.groups,
            ))
            self.recorded += 1
        return out

    def take(self, unsigned long long up_to=0xFFFFFFFFFFFFFFFF):
        """The events of all facts up to a commit position, in commit order; forgets the facts.

        Args:
            up_to: commit position; with a journal, the last one that is durable.
        """
        cdef uint32_t waiting = facts_waiting(&self.core.facts), count = 0
        cdef list out = []
        cdef fact_t *fact
        if self.journaled:
            waiting = self.recorded
        while count < waiting:
            fact = &self.core.facts.items[self.core.facts.head + count]
            if fact.position > up_to:
                break
            count += 1
            if fact.kind != FACT_MARKED:
                out.append(self.event_of(fact))
            if FACT_ACCEPTED <= fact.kind <= FACT_CANCELLED:
                release(fact.data)
            if fact.flags & RELEASES:
                release(fact.held)
        if self.journaled:
            self.recorded -= count
        core_take(&self.core, count)
        self.drop_rolls()
        return out

    cdef int drop_rolls(self) except -1:
        """Forget the rolls of lists that were given back; the latest stand first in their list."""
        cdef uint32_t index = self.core.list_free
        while index != NONE and index < <uint32_t>len(self.rolls):
            if self.rolls[index] is None:
                return 0
            self.rolls[index] = None
            index = list_at(&self.core, index).slot
        return 0

    cdef Event event_of(self, const fact_t *fact):
        cdef const invitation_t *one = invitation_at(&self.core, fact.slot)
        cdef const list_t *asked
        cdef Event event = event_new()
        cdef Roll roll
        event.position = fact.position
        event.time = <long long>fact.time_ms
        event.expires = -1 if one.flags & NO_DEADLINE else <long long>(
            whole_opened(self, one)
            + <uint32_t>(timer_at(&self.core.wheel, fact.slot).deadline - one.opened_ms)
        )
        event.seq = fact.seq
        event.data_version = fact.data_version
        event.code = fact.kind
        event.kind = <str>KIND_OF[fact.kind]
        event.reason = <str>REASON_OF[fact.reason]
        event.invite_id = id_text(fact.id)
        event.inviter_number = one.inviter
        event.inviter = self.users.name(one.inviter)
        event.actor_number = fact.actor
        event.actor = "" if fact.actor == NONE else self.users.name(fact.actor)
        event.device_number = fact.device
        event.device = ""
        event.data = "" if fact.kind == FACT_TIMED_OUT else text_of(fact.data)
        event.invitation_data = text_of(
            fact.data if fact.kind == FACT_MODIFIED or fact.kind == FACT_OPENED else fact.held
        )
        event.ends = fact.flags & ENDS
        event.online_only = one.flags & ONLINE_ONLY
        event.parties_only = one.flags & PARTIES_ONLY
        event.no_deadline = one.flags & NO_DEADLINE
        event.group_id = ""
        if not one.flags & LISTED:
            event.invitee_number = one.invitee
            event.invitee_one = self.users.name(one.invitee)
            event.changed = () if fact.kind == FACT_MODIFIED else None
            return event
        asked = list_at(&self.core, one.invitee)
        event.invitee_number = NONE
        if asked.group != NONE:
            event.group_id = self.groups.name(asked.group)
        roll = self.roll_of(one.invitee, fact.position)
        event.roll = roll
        if fact.kind == FACT_MODIFIED:
            event.changed = ()
        elif fact.kind == FACT_ACCEPTED or fact.kind == FACT_REJECTED:
            event.changed = (self.users.name(fact.subject),)
            roll.ended.append(event.changed[0])
        elif fact.kind != FACT_OPENED:
            event.changed = self.ended_at(one, fact.position)
            roll.ended.extend(event.changed)
        event.ended_count = len(roll.ended)
        return event

    cdef Roll roll_of(self, uint32_t index, uint64_t position):
        """The roll of a list, made when the first of its events is."""
        cdef const list_t *asked
        cdef const entry_t *entry
        cdef uint32_t ref = NONE, at = NONE
        cdef list users = [], ended = []
        cdef Roll roll
        while <uint32_t>len(self.rolls) <= index:
            self.rolls.append(None)
        if self.rolls[index] is not None:
            return <Roll>self.rolls[index]
        asked = list_at(&self.core, index)
        while True:
            ref = roster_next(&self.core.pages, &asked.roster, ref, at)
            if ref == NONE:
                break
            at += 1
            entry = entry_at(&self.core.pages, ref)
            users.append(self.users.name(entry.user))
            if entry.status >= ACCEPTED and entry_ended(entry) < position:
                ended.append((entry_ended(entry), users[at]))
        roll = Roll(tuple(users))
        ended.sort(key=FIRST)
        roll.ended = [user for _, user in ended]
        self.rolls[index] = roll
        return roll

    cdef tuple ended_at(self, const invitation_t *one, uint64_t position):
        """Who of a list ended at a commit position, in invited order."""
        cdef const list_t *asked = list_at(&self.core, one.invitee)
        cdef const entry_t *entry
        cdef uint32_t ref = NONE, index = NONE
        cdef list users = []
        while True:
            ref = roster_next(&self.core.pages, &asked.roster, ref, index)
            if ref == NONE:
                return tuple(users)
            index += 1
            entry = entry_at(&self.core.pages, ref)
            if entry.status >= ACCEPTED and entry_ended(entry) == position:
                users.append(self.users.name(entry.user))

    # -- queries -----------------------------------------------------------------------------------

    def info(self, str invite_id not None):
        """An open or remembered invitation, whole; None for any other ID."""
        cdef invite_id_t name
        cdef uint32_t slot
        if not id_parse(invite_id, &name):
            return None
        slot = core_find(&self.core, name)
        return None if slot == NONE else self.info_of(slot)

    def pending_of(self, str user not None):
        """The open invitations in which a user is a pending invitee, oldest first."""
        cdef uint32_t number = self.users.find(user), ref
        cdef list out = []
        if number == NONE:
            return out
        ref = users_pending(&self.core.users, number)
        while ref != NONE:
            out.append(self.info_of(
                list_at(&self.core, page_at(
                    &self.core.pages, (ref & ~<uint32_t>ENTRY) >> PAGE_SHIFT,
                ).list).slot if ref & ENTRY else ref
            ))
            ref = links_at(&self.core, ref).next
        return out

    def opened_by(self, str user not None):
        """The open invitations that a user sent, oldest first."""
        cdef uint32_t number = self.users.find(user), slot
        cdef list out = []
        if number == NONE:
            return out
        slot = users_open(&self.core.users, number)
        while slot != NONE:
            out.append(self.info_of(slot))
            slot = invitation_at(&self.core, slot).open.next
        out.reverse()
        return out

    def open_in(self, str group_id not None):
        """The open invitations of a group, oldest first."""
        cdef uint32_t number = self.groups.find(group_id), index
        cdef list out = []
        if number == NONE:
            return out
        index = users_pending(&self.core.groups, number)
        while index != NONE:
            out.append(self.info_of(list_at(&self.core, index).slot))
            index = list_at(&self.core, index).in_group.next
        return out

    cdef InvitationInfo info_of(self, uint32_t slot):
        cdef const invitation_t *one = invitation_at(&self.core, slot)
        cdef const list_t *asked
        cdef const entry_t *entry
        cdef uint32_t ref = NONE, index = NONE
        cdef bint is_open = one.state == OPEN
        cdef InvitationInfo info = info_new()
        info.invite_id = id_text(core_id(&self.core, slot))
        info.inviter = self.users.name(one.inviter)
        info.group_id = ""
        info.data = text_of(one.data) if is_open else ""
        info.state = <str>STATE_OF[one.state]
        info.reason = <str>REASON_OF[one.reason]
        info.opened_at = <long long>whole_opened(self, one)
        info.expires_at = None
        if is_open and not one.flags & NO_DEADLINE:
            info.expires_at = wheel_deadline(&self.core.wheel, slot)
        info.ended_at = None if is_open else <long long>(
            self.core.wheel.now - <uint32_t>(<uint32_t>self.core.wheel.now - ended_ms(one))
        )
        info.seq = core_seq(&self.core, slot)
        info.data_version = one.data_version
        info.position = one.position
        info.ended_position = 0 if is_open else ended_position(one)
        info.online_only = one.flags & ONLINE_ONLY
        info.parties_only = one.flags & PARTIES_ONLY
        info.no_deadline = one.flags & NO_DEADLINE
        info.ended_by = 0 if is_open else ended_by(one)
        info.statuses = {}
        if not one.flags & LISTED:
            info.statuses[self.users.name(one.invitee)] = STATUS_OF[one.status]
            return info
        asked = list_at(&self.core, one.invitee)
        if asked.group != NONE:
            info.group_id = self.groups.name(asked.group)
        while True:
            ref = roster_next(&self.core.pages, &asked.roster, ref, index)
            if ref == NONE:
                return info
            index += 1
            entry = entry_at(&self.core.pages, ref)
            info.statuses[self.users.name(entry.user)] = STATUS_OF[entry.status]

    @property
    def now_ms(self):
        """Engine time: all that was due before it has ended."""
        return self.core.wheel.now

    @property
    def next_ms(self):
        """The earliest time at which `advance` may have something to do; None for never."""
        cdef uint64_t due = wheel_next(&self.core.wheel)
        return None if due == <uint64_t>-1 else due

    @property
    def position(self):
        """Commit position of the last change, counted from 1."""
        return self.core.position

    @property
    def waiting(self):
        """Facts that were not taken yet."""
        return facts_waiting(&self.core.facts)

    def stats(self):
        """Counts of what there is and what there was, by name."""
        cdef dict out = {
            "open": self.core.open_count,
            "ended_remembered": self.core.ended_count,
            "free": self.core.free_count,
            "slots": self.core.invitations.top,
            "timers": self.core.wheel.armed,
            "users": self.core.users.used,
            "groups": self.core.groups.used,
            "facts_waiting": facts_waiting(&self.core.facts),
            "memory_bytes": core_bytes(&self.core),
            "position": self.core.position,
            "invitations": self.core.counts.invitations,
        }
        cdef int status
        for status in range(len(STATUS_OF)):
            out["invitees_" + STATUS_OF[status]] = self.core.counts.invitees[status]
        return out

    def check(self):
        """Verify every internal link and count; AssertionError names the first that is wrong."""
        cdef const char *broken = core_audit(&self.core)
        if broken != NULL:
            raise AssertionError(broken.decode())

    def state_hash(self):
        """A hash of everything that is open or remembered, with names and texts, 32 hex digits.

        Equal for two machines with the same invitations under the same IDs at the same time,
        however they came to be so.
        """
        cdef uint32_t slot
        cdef bytearray image = bytearray()
        cdef invite_id_t name
        digest = blake2b(digest_size=16)
        for slot in range(self.core.invitations.top):
            name = core_id(&self.core, slot)
            if core_find(&self.core, name) != slot:
                continue
            image.clear()
            encode_image(image, &self.core, slot, self.users, self.groups)
            digest.update(image)
        digest.update(self.core.position.to_bytes(8, "little"))
        digest.update(self.core.wheel.now.to_bytes(8, "little"))
        for status in range(len(STATUS_OF)):
            digest.update((<object>self.core.counts.invitees[<int>status]).to_bytes(8, "little"))
        return digest.hexdigest()

    @property
    def id_key(self):
        """The 16 bytes that hide slots in IDs: a journal keeps them before the first record."""
        return self.key


cdef inline uint64_t whole_opened(Machine machine, const invitation_t *one) noexcept:
    """The time of an opening from its low 32 bits."""
    cdef uint64_t now = machine.core.wheel.now
    return now - <uint32_t>(<uint32_t>now - one.opened_ms)
