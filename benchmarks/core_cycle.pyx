# cython: language_level=3, boundscheck=False, initializedcheck=False, wraparound=False
# cython: cdivision=True
"""The core driven through its C face, as an extension of somebody else would drive it.

The benchmarks build this file in a temporary folder against the installed package. What is timed
here is what a server owes for an operation: random bits from the source beside the machine, the
operation, its fact (which is event and record in one), and facts given back a thousand cycles at a
time. The operands are made in Python beforehand: arrays of uint32 as `bytes`.
"""

from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

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
from pysignal.engine.slab cimport NONE, slab_free, slab_reserve
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


cdef class Invitations:
    """As many open invitations as operands, one invitee each.

    Args:
        inviters: user numbers, as many as invitations and as users.
        invitees: likewise; the pairs are what is opened, and opened again when it was accepted.
    """

    cdef core_t core
    cdef bytes inviters
    cdef bytes invitees
    cdef invite_id_t *ids
    cdef readonly uint32_t count
    cdef Entropy entropy
    cdef readonly uint64_t facts    # taken so far

    def __cinit__(self, bytes inviters not None, bytes invitees not None):
        self.count = <uint32_t>(len(inviters) // sizeof(uint32_t))
        self.inviters = inviters
        self.invitees = invitees
        self.entropy = Entropy()
        init_core(&self.core, self.count)
        self.ids = <invite_id_t *>malloc(self.count * sizeof(invite_id_t))
        if self.ids == NULL:
            raise MemoryError("ids: no memory")

    def __dealloc__(self):
        core_free(&self.core)
        free(self.ids)

    cdef int open(self, uint32_t k, uint32_t timeout_ms) except -1:
        cdef opening_t o
        o.now_ms = self.core.wheel.now
        o.timeout_ms = timeout_ms
        o.data = k + 1
        o.random = self.entropy.next()
        o.invitees = numbers_in(self.invitees) + k
        o.count = 1
        o.inviter = numbers_in(self.inviters)[k]
        o.group = NONE
        o.device = 0
        o.flags = 0
        if core_open(&self.core, &o, &self.ids[k]) != DONE:
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
            self.open(k, numbers_in(timeouts_ms)[k])
            if k % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                self.take()
        self.take()

    def cycle(self, bytes order not None, bytes timeouts_ms not None):
        """Accept the ones that `order` names, one after another, and open each again."""
        cdef uint32_t i, k
        cdef int64_t budget
        cdef uint32_t cycles = <uint32_t>(len(order) // sizeof(uint32_t))
        cdef const uint32_t *invitees = numbers_in(self.invitees)
        cdef const uint32_t *picked = numbers_in(order)
        cdef const uint32_t *timeouts = numbers_in(timeouts_ms)
        for i in range(cycles):
            k = picked[i]
            if core_answer(
                &self.core, self.core.wheel.now, self.ids[k], invitees[k], ACCEPTED, 0, 0,
            ) != DONE:
                raise AssertionError(f"invitation {k} was not accepted")
            self.open(k, timeouts[i])
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
    """One invitation to many, each of whom accepts.

    Args:
        count: invitees, users 1 to count; user 0 invites.
    """

    cdef core_t core
    cdef bytes invitees
    cdef invite_id_t invite_id
    cdef Entropy entropy
    cdef readonly uint32_t count

    def __cinit__(self, bytes invitees not None):
        self.invitees = invitees
        self.count = <uint32_t>(len(invitees) // sizeof(uint32_t))
        self.entropy = Entropy()
        init_core(&self.core, self.count + 1)

    def __dealloc__(self):
        core_free(&self.core)

    def open(self):
        """Invite everybody."""
        cdef opening_t o
        o.now_ms = 0
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
        core_take(&self.core, facts_waiting(&self.core.facts))

    def answer(self, bytes order not None):
        """Accept as each user of `order`."""
        cdef uint32_t i
        for i in range(<uint32_t>(len(order) // sizeof(uint32_t))):
            if core_answer(
                &self.core, 0, self.invite_id, numbers_in(order)[i], ACCEPTED, 0, 0,
            ) != DONE:
                raise AssertionError(f"user {numbers_in(order)[i]} could not accept")
            if i % CYCLES_PER_TICK == CYCLES_PER_TICK - 1:
                core_take(&self.core, facts_waiting(&self.core.facts))
        core_take(&self.core, facts_waiting(&self.core.facts))

    @property
    def counts(self):
        """(open now, accepted so far)."""
        return self.core.open_count, self.core.counts.invitees[2]

    def check(self):
        """Verify every link and count of the core."""
        audit(&self.core)


cdef class Timers:
    """A timer wheel alone, with timers 0 to count - 1."""

    cdef wheel_t wheel
    cdef readonly uint32_t count

    def __cinit__(self, uint32_t count):
        cdef uint32_t i
        self.count = count
        wheel_init(&self.wheel, 0, count)
        if not slab_reserve(&self.wheel.timers, count):
            raise MemoryError("timers: no memory")
        self.wheel.timers.top = count
        for i in range(count):
            timer_at(&self.wheel, i).kind = 0

    def __dealloc__(self):
        slab_free(&self.wheel.timers)

    def __len__(self):
        return self.wheel.armed

    def arm_all(self, bytes delays_ms not None):
        """Arm them all, each with its delay."""
        cdef uint32_t i
        for i in range(self.count):
            wheel_arm(&self.wheel, i, self.wheel.now + numbers_in(delays_ms)[i], 1)

    def rearm(self, bytes order not None, bytes delays_ms not None):
        """Disarm the ones that `order` names, one after another, and arm each again."""
        cdef uint32_t i, k
        for i in range(<uint32_t>(len(order) // sizeof(uint32_t))):
            k = numbers_in(order)[i]
            wheel_disarm(&self.wheel, k)
            wheel_arm(&self.wheel, k, self.wheel.now + numbers_in(delays_ms)[i], 1)

    def expire(self, uint64_t ms):
        """Move time on by `ms`; returns how many expired."""
        cdef uint64_t until = self.wheel.now + ms
        cdef int64_t budget = 1 << 62
        cdef uint32_t kind = 0, expired = 0
        while wheel_step(&self.wheel, until, &budget, &kind) != NONE:
            expired += 1
        return expired
