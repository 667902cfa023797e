"""The machine: commands in, events and records out. The Python face of the core.

It owns what the core does not know: the names behind the numbers, the texts behind the handles, the
random bits. It judges nothing itself. Every operation takes the time in ms and the actor's name;
what the core refuses is raised as `Refused`, and has changed nothing.

A handle is a reference to the `str` itself, 0 for the empty one. The reference belongs to the
invitation until the fact that releases it has been taken.

Facts wait until they are read: `records()` first where a journal is kept, then `take()`. What ended
is not forgotten, and no number given to somebody else, before its facts have been taken.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc

from pysignal.engine.audit cimport NO_MEMORY_TO_AUDIT, core_audit
from pysignal.engine.binary cimport writer_free
from pysignal.engine.core cimport (
    ANSWERED,
    BAD_NUMBER,
    CONFLICT,
    DAY_MS,
    DONE,
    ENDED,
    MARK_TOLD,
    NO_MEMORY,
    ONLINE_ONLY,
    OPEN,
    PARTIES_ONLY,
    RESULTS,
    TIMEOUT_DAYS_MAX,
    UNKNOWN,
    core_advance,
    core_answer,
    core_answered_on,
    core_cancel,
    core_dismiss,
    core_entry,
    core_find,
    core_free,
    core_invitee,
    core_init,
    core_leave,
    core_mark,
    core_marks,
    core_modify,
    core_open,
    core_take,
    invitation_at,
    limits_t,
    opening_t,
)
from pysignal.engine.events cimport drop_rolls, events_of
from pysignal.engine.facts cimport FACT_ACCEPTED, FACT_CANCELLED, RELEASES, fact_t, facts_waiting
from pysignal.engine.ids cimport SHARD_BITS, id_blank, id_fill, id_key, id_parse, invite_id_t
from pysignal.engine.records cimport hash_state, records_of
from pysignal.engine.roster cimport ACCEPTED, PENDING, REJECTED
from pysignal.engine.slab cimport NONE
from pysignal.engine.store cimport tombstone_due
from pysignal.engine.texts cimport handle_of, release, spelled_add, spelled_free
from pysignal.engine.users cimport users_acquire, users_release
from pysignal.engine.views cimport (
    ids_in_group,
    ids_of_party,
    info_of,
    infos_of_lists,
    infos_pending,
    infos_sent,
    stats_of,
)
from pysignal.engine.wheel cimport wheel_next

from pysignal.engine.refused import Refused

cdef tuple RESULT_OF = (
    "done", "due", "unknown", "ended", "answered", "not_party", "not_modifiable", "conflict",
    "table_full", "no_memory", "bad_number", "restoring",
)
assert len(RESULT_OF) == RESULTS

# A number that is nobody's: neither a user nor the server.
cdef enum: STRANGER = 0xFFFFFFFE

# Numbers without an owner that an operation takes out of use, beside as many as it names.
cdef enum: IDLE_PER_OPERATION = 4

# And those that an advance sweeps, which has forgotten many invitations at once perhaps.
cdef enum: IDLE_PER_ADVANCE = 1024

TIMEOUT_MS_MAX = <uint64_t>TIMEOUT_DAYS_MAX * DAY_MS


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
        if users_max > 1 << 30 or groups_max > 1 << 30:
            raise ValueError("users_max, groups_max: at most 2**30")
        if not 0 < lifetime_ms <= TIMEOUT_MS_MAX:
            raise ValueError(f"lifetime_ms: above 0, at most {TIMEOUT_MS_MAX} ms (30 days)")
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
        if core_init(&self.core, &limits, id_key(key), shard, now_ms) != DONE:
            raise ValueError("a limit is out of its range")
        self.users = Names()
        self.groups = Names()
        self.rolls = []
        self.logins = {}
        self.invitees_max = invitees_max
        self.journaled = journaled

    def __dealloc__(self):
        cdef uint32_t slot
        self.release_data(facts_waiting(&self.core.facts))
        for slot in range(self.core.invitations.top):
            if invitation_at(&self.core, slot).state == OPEN:
                release(invitation_at(&self.core, slot).data)
        core_free(&self.core)
        spelled_free(&self.spelled)
        writer_free(&self.scratch)
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
        cdef str invite_id
        if timeout_ms > <uint64_t>TIMEOUT_MS_MAX:
            raise ValueError(f"timeout_ms: at most {TIMEOUT_MS_MAX} ms (30 days)")
        self.forget_idle(1 if type(invitees) is str else len(invitees))
        o.inviter = self.number_of(inviter, "inviter")
        if type(invitees) is str:
            one = self.number_of(<str>invitees, "invitees")
            o.invitees = &one
            o.count = 1
        else:
            one = o.count = self.intern_all(invitees)
            o.invitees = self.numbers
        if o.count == 0 and not group_id:
            raise ValueError("invitees: nobody, and no group to tell it to")
        o.now_ms = now_ms
        o.timeout_ms = timeout_ms
        o.group = NONE
        o.device = device
        o.flags = (ONLINE_ONLY if online_only else 0) | (PARTIES_ONLY if parties_only else 0)
        if group_id:
            o.group = self.number_of_group(group_id)
        if o.inviter == NONE or one == NONE or (group_id and o.group == NONE):
            raise Refused("table_full")
        o.random = self.entropy.next()
        invite_id = id_blank()      # what could run out is taken before anything is changed
        o.data = handle_of(data)
        result = core_open(&self.core, &o, &name)
        if result == BAD_NUMBER:
            release(o.data)
            raise ValueError("invitees: the inviter is among them")
        self.settle_result(result, "", NONE, o.data)
        id_fill(invite_id, name)
        spelled_add(&self.spelled, self.core.position, invite_id)
        return invite_id

    cdef int forget_idle(self, Py_ssize_t count) except -1:
        """Let go of names that nothing mentions, somewhat faster than an operation names new ones.

        Only at the beginning of an operation: later its own new numbers are idle too.
        """
        if self.core.users.idle_first != NONE:
            self.users.forget_idle(&self.core.users, IDLE_PER_OPERATION + <int>count)
        if self.core.groups.idle_first != NONE:
            self.groups.forget_idle(&self.core.groups, IDLE_PER_OPERATION)
        return 0

    cdef uint32_t number_of(self, str user, str what) except? 0xFFFFFFFF:
        """The number of a user, a new idle one if need be; NONE when the table is full."""
        return self.users.number(&self.core.users, user, what)

    cdef uint32_t number_of_group(self, str group) except? 0xFFFFFFFF:
        """Likewise, of a group."""
        return self.groups.number(&self.core.groups, group, "group_id")

    cdef uint32_t intern_all(self, list users) except? 0xFFFFFFFF:
        """Put the numbers of a list of users into the scratch; how many, or NONE: table full."""
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
            self.numbers[i] = self.number_of(<str?>users[i], "invitees")
            if self.numbers[i] == NONE:
                return NONE
        return count

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
        cdef invite_id_t name
        cdef uint64_t handle
        cdef uint32_t user
        cdef int result
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, NONE)
        user = self.users.find_near(invitee, core_invitee(&self.core, name))
        handle = handle_of(data)
        result = core_answer(&self.core, now_ms, name, user, status, handle, device)
        if result == DONE:
            spelled_add(&self.spelled, self.core.position, invite_id)
            return 0
        return self.settle_result(result, invite_id, user, handle)

    def cancel(
        self, uint64_t now_ms, str invite_id not None, str inviter, str data="", *,
        uint32_t device=0,
    ):
        """Cancel as the inviter, or as the server where `inviter` is None."""
        cdef uint32_t user = NONE
        cdef invite_id_t name
        cdef uint64_t handle
        if inviter is not None:
            user = self.users.find(inviter)
            if user == NONE:
                user = STRANGER
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, user)
        handle = handle_of(data)
        self.settle_result(
            core_cancel(&self.core, now_ms, name, user, handle, device), invite_id, user, handle,
        )

    def modify(
        self, uint64_t now_ms, str invite_id not None, str inviter not None, str data="", *,
        uint32_t expected_version=0, uint32_t device=0,
    ):
        """Replace the data of an open invitation; an `expected_version` of 0 is not compared."""
        cdef uint32_t user = self.users.find(inviter)
        cdef invite_id_t name
        cdef uint64_t handle
        if not id_parse(invite_id, &name):
            return self.settle_result(UNKNOWN, invite_id, user)
        handle = handle_of(data)
        self.settle_result(
            core_modify(&self.core, now_ms, name, user, handle, expected_version, device),
            invite_id, user, handle,
        )

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
        return ref != NONE and core_marks(&self.core, slot, ref)[0] & MARK_TOLD != 0

    def leave(
        self, uint64_t now_ms, str user not None, str group_id not None, int64_t budget=1 << 62,
    ):
        """End a user's part in every open invitation of a group, in the order of opening.

        Returns:
            Whether the budget was used up, so that there may be more: call again before anything
            else.
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
            Whether the budget was used up, so that there may be more: call again before anything
            else.
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
            Whether the budget was used up, so that more may be due: call again before any other
            operation.
        """
        self.settle_result(core_advance(&self.core, now_ms, &budget), None, NONE)
        self.forget_idle(IDLE_PER_ADVANCE)
        return budget <= 0

    def hold(self, str user not None):
        """Count a login: the user's number stays the same until `unhold`. Returns the number."""
        cdef uint32_t number
        self.forget_idle(1)
        number = self.number_of(user, "user")
        if number == NONE:
            raise Refused("table_full")
        held = <object>number       # made before the login is counted, as memory may run out
        self.logins[user] = self.logins.get(user, 0) + 1
        users_acquire(&self.core.users, number)
        return held

    def unhold(self, str user not None):
        """Count a login less.

        Raises:
            KeyError: no login of this user is counted.
        """
        count = self.logins[user]
        if count > 1:
            self.logins[user] = count - 1
        else:
            del self.logins[user]
        users_release(&self.core.users, self.users.find(user))
        self.forget_idle(1)

    cdef int settle_result(
        self, int result, str invite_id, uint32_t user, uint64_t handle=0,
    ) except -1:
        """Raise what is not DONE, and give back the text that was not taken."""
        cdef invite_id_t name
        cdef uint32_t slot, device = 0
        if result == DONE:
            return 0
        release(handle)
        if result == NO_MEMORY:
            raise MemoryError("the engine is out of memory; nothing was changed")
        info = None
        if result in (ENDED, ANSWERED, CONFLICT) and id_parse(invite_id, &name):
            slot = core_find(&self.core, name)
            if slot != NONE and (
                invitation_at(&self.core, slot).inviter == user
                or core_entry(&self.core, slot, user) != NONE
            ):
                info = info_of(&self.core, slot, self.users, self.groups)
                device = core_answered_on(&self.core, slot, user)
        raise Refused(RESULT_OF[result], info, device)

    # -- reading facts -----------------------------------------------------------------------------

    def records(self):
        """The records of all facts that were not recorded yet, in commit order.

        Only where the machine is `journaled`; otherwise facts are forgotten by `take` alone.
        """
        cdef list out
        if not self.journaled:
            raise ValueError("records: this machine was made without `journaled`")
        out = records_of(&self.core, self.recorded, &self.scratch, self.users, self.groups)
        self.recorded = facts_waiting(&self.core.facts)
        return out

    def take(self, unsigned long long up_to=0xFFFFFFFFFFFFFFFF):
        """The events of all facts up to a commit position, in commit order; forgets the facts.

        Args:
            up_to: commit position; with a journal, the last one that is durable. A fact that was
                not recorded yet is never taken there.
        """
        cdef uint32_t count = self.recorded if self.journaled else facts_waiting(&self.core.facts)
        cdef list out = events_of(
            &self.core, &count, up_to, &self.spelled, self.users, self.groups, self.rolls,
        )
        self.release_data(count)
        if self.journaled:
            self.recorded -= count
        core_take(&self.core, count)
        drop_rolls(&self.core, self.rolls)
        return out

    cdef void release_data(self, uint32_t count) noexcept:
        """Give back the references that the oldest `count` facts release."""
        cdef const fact_t *fact
        cdef uint32_t at
        for at in range(count):
            fact = &self.core.facts.items[self.core.facts.head + at]
            if FACT_ACCEPTED <= fact.kind <= FACT_CANCELLED:
                release(fact.data)
            if fact.flags & RELEASES:
                release(fact.held)

    # -- queries -----------------------------------------------------------------------------------

    def info(self, str invite_id not None):
        """An open or remembered invitation, whole; None for any other ID."""
        cdef invite_id_t name
        cdef uint32_t slot
        if not id_parse(invite_id, &name):
            return None
        slot = core_find(&self.core, name)
        return None if slot == NONE else info_of(&self.core, slot, self.users, self.groups)

    def pending_of(self, str user not None):
        """The open invitations in which a user is a pending invitee, oldest first."""
        return infos_pending(&self.core, self.users.find(user), self.users, self.groups)

    def opened_by(self, str user not None):
        """The open invitations that a user sent, oldest first."""
        return infos_sent(&self.core, self.users.find(user), self.users, self.groups)

    def open_ids_of(self, str user not None):
        """The IDs of the open invitations that wait for a user or that a user sent, in no order."""
        return ids_of_party(&self.core, self.users.find(user))

    def open_in(self, str group_id not None):
        """The open invitations of a group, oldest first."""
        cdef list out = []
        for name in self.open_ids_in(group_id):
            out.append(self.info(name))
        return out

    def open_ids_in(self, str group_id not None):
        """The IDs of the open invitations of a group, oldest first."""
        return ids_in_group(&self.core, self.groups.find(group_id))

    def open_lists(self):
        """The open invitations that have a list of invitees or a group, in no order."""
        return infos_of_lists(&self.core, self.users, self.groups)

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
    def forget_ms(self):
        """When the oldest invitation that has ended need not be remembered any more, or None.

        An `advance` to this time gives its memory back; nobody hears of it.
        """
        cdef uint64_t due = tombstone_due(&self.core)
        return None if due == <uint64_t>-1 else due

    @property
    def position(self):
        """Commit position of the last change, counted from 1."""
        return self.core.position

    @property
    def waiting(self):
        """Facts that were not taken yet."""
        return facts_waiting(&self.core.facts)

    @property
    def pending_count(self):
        """Invitees of all open invitations who have not answered."""
        return self.core.counts.invitees[PENDING]

    def stats(self):
        """Counts of what there is and what there was, by name."""
        return stats_of(&self.core)

    def check(self):
        """Verify every internal link and count; AssertionError names the first that is wrong."""
        cdef const char *broken = core_audit(&self.core)
        if broken == NO_MEMORY_TO_AUDIT:
            raise MemoryError(broken.decode())
        if broken != NULL:
            raise AssertionError(broken.decode())

    def state_hash(self):
        """A hash of everything that is open or remembered, with names and texts, 32 hex digits.

        Equal for two machines with the same invitations under the same IDs at the same time,
        however they came to be so.
        """
        return hash_state(&self.core, self.users, self.groups)

    @property
    def id_key(self):
        """The 16 bytes that hide slots in IDs: a journal keeps them before the first record."""
        return self.key
