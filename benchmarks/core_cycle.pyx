# cython: language_level=3, boundscheck=False, initializedcheck=False, wraparound=False
# cython: cdivision=True
"""The core driven through its C face, as an extension of somebody else would drive it.

The benchmarks build this file in a temporary folder against the installed package. What is timed
here is what a server owes for an operation: random bits from the source beside the machine, the
operation, its fact (which is event and record in one), and facts given back a thousand cycles at a
time. The operands are made in Python beforehand: arrays of uint32 as `bytes`.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc

from pysignal.engine.audit cimport core_audit
from pysignal.engine.core cimport (
    DONE,
    ENGINE_ABI,
    core_advance,
    core_answer,
    core_bytes,
    core_free,
    core_init,
    core_open,
    core_t,
    core_take,
    limits_t,
    opening_t,
)
from pysignal.engine.entropy cimport Entropy
from pysignal.engine.facts cimport facts_waiting
from pysignal.engine.ids cimport id_key, invite_id_t
from pysignal.engine.roster cimport ACCEPTED
from pysignal.engine.slab cimport NONE, pysignal_prefetch, slab_free, slab_reserve
from pysignal.engine.users cimport users_new
from pysignal.engine.wheel cimport (
    timer_at,
    wheel_arm,
    wheel_disarm,
    wheel_init,
    wheel_step,
    wheel_t,
)

from pysignal.engine.core import require_abi

require_abi(ENGINE_ABI)

cdef extern from *:
    """
    #include <stdlib.h>
    #include <string.h>
    #ifdef __linux__
    #include <sys/mman.h>
    #endif
    static void *zeroed_large_pages(size_t bytes) {
        void *memory;
        if (posix_memalign(&memory, 1 << 21, bytes)) return NULL;
    #ifdef MADV_HUGEPAGE
        madvise(memory, bytes, MADV_HUGEPAGE);
    #endif
        return memset(memory, 0, bytes);
    }
    """
    void *zeroed_large_pages(size_t)

cdef enum:
    CYCLES_PER_TICK = 1000
    SLICE = 4096            # steps of one advance
    ENDED_MAX = 100_000     # what the loaded floor keeps, however old
    KEEP_MS = 86_400_000


cdef inline const uint32_t *numbers_in(bytes array):
    return <const uint32_t *><const char *>array


cdef void init_core(core_t *core, uint32_t users) except *:
    """Make a core in which users 0 to users - 1 exist."""
    cdef limits_t limits
    cdef uint32_t i
    limits.capacity = 1 << 26
    limits.users = 1 << 26
    limits.groups = 1
    limits.invitees = 1 << 28
    limits.ended_max = ENDED_MAX
    limits.keep_ms = KEEP_MS
    limits.lifetime_ms = 86_400_000
    core_init(core, &limits, id_key(b"0123456789abcdef"), 0, 0)
    for i in range(users):
        if users_new(&core.users) != i:
            raise MemoryError("users: no memory")


cdef void audit(core_t *core) except *:
    cdef const char *broken = core_audit(core)
    if broken != NULL:
        raise AssertionError(broken.decode())


ctypedef struct operand_t:
    invite_id_t id
    uint32_t inviter
    uint32_t invitee
    uint64_t unused         # so that no operand lies across two lines


cdef class Invitations:
    """As many open invitations as operands, one invitee each.

    What an operation is called with, its ID and its users, lies in one line of memory.

    Args:
        inviters: user numbers, as many as invitations and as users.
        invitees: likewise; the pairs are what is opened, and opened again when it was accepted.
    """

    cdef core_t core
    cdef operand_t *operands
    cdef readonly uint32_t count
    cdef Entropy entropy
    cdef readonly uint64_t facts    # taken so far

    def __cinit__(self, bytes inviters not None, bytes invitees not None):
        cdef uint32_t k
        self.count = <uint32_t>(len(inviters) // sizeof(uint32_t))
        self.entropy = Entropy()
        init_core(&self.core, self.count)
        self.operands = <operand_t *>malloc(self.count * sizeof(operand_t))
        if self.operands == NULL:
            raise MemoryError("operands: no memory")
        for k in range(self.count):
            self.operands[k].inviter = numbers_in(inviters)[k]
            self.operands[k].invitee = numbers_in(invitees)[k]

    def __dealloc__(self):
        core_free(&self.core)
        free(self.operands)

    cdef inline int open(self, operand_t *one, uint32_t k, uint32_t timeout_ms) except -1:
        cdef opening_t o
        o.now_ms = self.core.wheel.now
        o.timeout_ms = timeout_ms
        o.data = k + 1
        o.random = self.entropy.next()
        o.invitees = &one.invitee
        o.count = 1
        o.inviter = one.inviter
        o.group = NONE
        o.device = 0
        o.flags = 0
        if core_open(&self.core, &o, &one.id) != DONE:
            raise AssertionError(f"invitation {k} was not opened")
        return 0

    cdef void take(self) noexcept:
        cdef uint32_t waiting = facts_waiting(&self.core.facts)
        self.facts += waiting
        core_take(&self.core, waiting)

    def open_all(self, bytes timeouts_ms not None):
        """Open them all, each with its timeout."""
        cdef uint32_t k
        for k in range(self.count):
            self.open(&self.operands[k], k, numbers_in(timeouts_ms)[k])
            if k % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                self.take()
        self.take()

    def cycle(self, bytes order not None, bytes timeouts_ms not None, uint32_t early):
        """Accept the ones that `order` names, one after another, and open each again.

        What each is called with is fetched `early` cycles before: a server has it in its cache, as
        it has just read it from a message. Nothing of the core is fetched. With 0 it is waited for.
        """
        cdef uint32_t i, k
        cdef int64_t budget
        cdef uint32_t cycles = <uint32_t>(len(order) // sizeof(uint32_t))
        cdef const uint32_t *picked = numbers_in(order)
        cdef const uint32_t *timeouts = numbers_in(timeouts_ms)
        cdef operand_t *operands = self.operands
        cdef operand_t *one
        for i in range(cycles):
            k = picked[i]
            one = operands + k
            if early and i + early < cycles:
                pysignal_prefetch(operands + picked[i + early])
            if core_answer(
                &self.core, self.core.wheel.now, one.id, one.invitee, ACCEPTED, 0, 0,
            ) != DONE:
                raise AssertionError(f"invitation {k} was not accepted")
            self.open(one, k, timeouts[i])
            if i % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                budget = 1 << 62
                core_advance(&self.core, self.core.wheel.now + 1, &budget)
                self.take()
        self.take()

    def expire(self, uint64_t ms):
        """Move time on by `ms`, a slice at a time, and end what is due."""
        cdef uint64_t until = self.core.wheel.now + ms
        cdef int64_t budget = 0
        while budget <= 0:
            budget = SLICE
            core_advance(&self.core, until, &budget)
            self.take()

    def check(self):
        """Verify every link and count of the core."""
        audit(&self.core)

    @property
    def bytes_used(self):
        """Memory of the core's tables by its own counter."""
        return core_bytes(&self.core)

    @property
    def counts(self):
        """(open now, opened so far, accepted so far, timed out so far)."""
        return (
            self.core.open_count, self.core.counts.invitations, self.core.counts.invitees[2],
            self.core.counts.invitees[5],
        )


cdef class Answers:
    """Invitations to many, each of whom accepts.

    Args:
        invitees: user numbers 1 and up, as many as there are; user 0 invites.
    """

    cdef core_t core
    cdef bytes invitees
    cdef invite_id_t invite_id      # of the last one
    cdef Entropy entropy
    cdef readonly uint32_t count
    cdef readonly uint64_t facts    # taken so far

    def __cinit__(self, bytes invitees not None):
        self.invitees = invitees
        self.count = <uint32_t>(len(invitees) // sizeof(uint32_t))
        self.entropy = Entropy()
        init_core(&self.core, self.count + 1)

    def __dealloc__(self):
        core_free(&self.core)

    cdef void take(self) noexcept:
        cdef uint32_t waiting = facts_waiting(&self.core.facts)
        self.facts += waiting
        core_take(&self.core, waiting)

    def open(self):
        """Invite everybody, once more."""
        cdef opening_t o
        o.now_ms = self.core.wheel.now
        o.timeout_ms = 30_000
        o.data = 1
        o.random = self.entropy.next()
        o.invitees = numbers_in(self.invitees)
        o.count = self.count
        o.inviter = 0
        o.group = NONE
        o.device = 0
        o.flags = 0
        if core_open(&self.core, &o, &self.invite_id) != DONE:
            raise AssertionError("the invitation was not opened")
        self.take()

    def answer(self, bytes order not None):
        """Accept the last one as each user of `order`."""
        cdef uint32_t i
        cdef int64_t budget
        for i in range(<uint32_t>(len(order) // sizeof(uint32_t))):
            if core_answer(
                &self.core, self.core.wheel.now, self.invite_id, numbers_in(order)[i], ACCEPTED,
                0, 0,
            ) != DONE:
                raise AssertionError(f"user {numbers_in(order)[i]} could not accept")
            if i % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                budget = 1 << 62
                core_advance(&self.core, self.core.wheel.now + 1, &budget)
                self.take()
        self.take()

    @property
    def bytes_used(self):
        """Memory of the core's tables by its own counter."""
        return core_bytes(&self.core)

    @property
    def counts(self):
        """(open now, accepted so far)."""
        return self.core.open_count, self.core.counts.invitees[2]

    def check(self):
        """Verify every link and count of the core."""
        audit(&self.core)


ctypedef struct owner_t:
    uint8_t[64] bytes       # a line; the first byte tells whether the timer may be armed


cdef class Timers:
    """A timer wheel with timers 0 to count - 1.

    Whoever cancels a timer has looked it up before: by an ID from a table of them, and in the
    record that the timer belongs to. The floor does so for each, and so does this, with records in
    large pages as there.
    """

    cdef wheel_t wheel
    cdef invite_id_t *ids
    cdef owner_t *owners
    cdef readonly uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.count = count
        wheel_init(&self.wheel, 0, count)
        self.ids = <invite_id_t *>calloc(count, sizeof(invite_id_t))
        self.owners = <owner_t *>zeroed_large_pages(count * sizeof(owner_t))
        if self.ids == NULL or self.owners == NULL or not slab_reserve(&self.wheel.timers, count):
            raise MemoryError("timers: no memory")
        self.wheel.timers.top = count
        for i in range(count):
            timer_at(&self.wheel, i).kind = 0
            self.ids[i].high = <uint64_t>i << 32
            self.owners[i].bytes[0] = 1

    def __dealloc__(self):
        slab_free(&self.wheel.timers)
        free(self.ids)
        free(self.owners)

    def __len__(self):
        return self.wheel.armed

    def arm_all(self, bytes delays_ms not None):
        """Arm them all, each with its delay."""
        cdef uint32_t i
        for i in range(self.count):
            wheel_arm(&self.wheel, i, self.wheel.now + numbers_in(delays_ms)[i], 1)

    def rearm(self, bytes order not None, bytes delays_ms not None):
        """Disarm the ones that `order` names, one after another, and arm each again.

        Time moves one tick every CYCLES_PER_TICK of them, and nothing may be due.
        """
        cdef uint32_t i, k
        cdef uint32_t kind = 0
        cdef int64_t budget
        cdef const uint32_t *picked = numbers_in(order)
        cdef const uint32_t *delays = numbers_in(delays_ms)
        for i in range(<uint32_t>(len(order) // sizeof(uint32_t))):
            k = <uint32_t>(self.ids[picked[i]].high >> 32)
            if not self.owners[k].bytes[0]:
                raise AssertionError(f"timer {k} has no owner")
            wheel_disarm(&self.wheel, k)
            wheel_arm(&self.wheel, k, self.wheel.now + delays[i], 1)
            if i % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                budget = 1 << 62
                if wheel_step(&self.wheel, self.wheel.now + 1, &budget, &kind) != NONE:
                    raise AssertionError("a timer expired early")

    def expire(self, uint64_t ms):
        """Move time on by `ms`; returns when each expired, by timer: an array of uint32."""
        cdef uint64_t until = self.wheel.now + ms
        cdef int64_t budget = 1 << 62
        cdef uint32_t kind = 0
        cdef uint32_t timer
        cdef bytearray expired = bytearray(self.count * sizeof(uint32_t))
        cdef uint32_t *at_ms = <uint32_t *><char *>expired
        timer = wheel_step(&self.wheel, until, &budget, &kind)
        while timer != NONE:
            if at_ms[timer] != 0:
                raise AssertionError(f"timer {timer} expired twice")
            at_ms[timer] = <uint32_t>self.wheel.now
            timer = wheel_step(&self.wheel, until, &budget, &kind)
        return bytes(expired)
