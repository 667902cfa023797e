"""A hierarchical timer wheel: 1 ms ticks, four rings of 256 slots, O(1) arm and disarm.

A timer lies in the ring of the highest byte in which its deadline differs from now, in the slot
which that byte of the deadline names (Varghese and Lauck, scheme 7, with rings aligned to the
clock). So a timer on a higher ring comes down at most three times before it expires, and ring 0 is
exact: timers come out in the order of their deadlines.

Deadlines are 64-bit milliseconds. A timer keeps the low 32 bits: all armed deadlines lie at most
`WHEEL_SPAN_DAYS` after now, so the high bits follow from now, across any multiple of 2**32.

Moving time is a loop of small steps, so that a caller can stop at any budget: coming down a ring
counts as a step just as expiring does. `wheel_next` is the earliest tick at which there is
something to do; until then time can jump.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from pysignal.engine.slab cimport (
    NONE,
    pysignal_clz32,
    pysignal_ctz64,
    pysignal_prefetch,
    slab_at,
    slab_free,
    slab_init,
    slab_reserve,
    slab_t,
)

cdef enum:
    RINGS = 4
    RING_SLOTS = 256
    RING_MASK = 255
    WHEEL_HEADS = 1024      # RINGS * RING_SLOTS
    WHEEL_WORDS = 16        # WHEEL_HEADS / 64

# The furthest that a deadline may lie after now.
cdef enum: WHEEL_SPAN_DAYS = 34

ctypedef struct timer_t:
    uint32_t next           # timer, or NONE; of a disarmed timer its owner may use it
    uint32_t prev           # timer, or a head with its top bit set
    uint32_t deadline       # low 32 bits of the deadline in ms
    uint32_t kind           # 0 when disarmed, else what the owner armed it for

ctypedef struct wheel_t:
    slab_t timers           # timer_t by the owner's index
    uint64_t now            # ms; everything before it has expired
    uint64_t next           # ms; nothing to do before it (a lower bound)
    uint32_t armed          # timers armed
    uint64_t[16] bits       # one bit a head: the slot is not empty
    uint32_t[1024] heads    # first timer of each slot, or NONE

cdef enum: HEAD = 0x80000000


cdef inline timer_t *timer_at(const wheel_t *w, uint32_t index) noexcept nogil:
    return <timer_t *>slab_at(&w.timers, index, sizeof(timer_t))


cdef inline void wheel_init(wheel_t *w, uint64_t now, uint32_t limit) noexcept nogil:
    cdef int i
    slab_init(&w.timers, sizeof(timer_t), limit)
    w.now = now
    w.next = <uint64_t>-1
    w.armed = 0
    for i in range(WHEEL_WORDS):
        w.bits[i] = 0
    for i in range(WHEEL_HEADS):
        w.heads[i] = NONE


cdef inline uint64_t wheel_deadline(const wheel_t *w, uint32_t index) noexcept nogil:
    """The deadline of an armed timer, in ms."""
    return w.now + <uint32_t>(timer_at(w, index).deadline - <uint32_t>w.now)


cdef inline void wheel_place(wheel_t *w, uint32_t index, timer_t *t) noexcept nogil:
    """Chain a timer into the slot where its deadline belongs."""
    cdef uint32_t differs = t.deadline ^ <uint32_t>w.now
    cdef uint32_t ring = (31 - pysignal_clz32(differs | 1)) >> 3
    cdef uint32_t shift = ring << 3
    cdef uint32_t head = (ring << 8) | ((t.deadline >> shift) & RING_MASK)
    cdef uint64_t due
    t.next = w.heads[head]
    t.prev = head | HEAD
    if t.next != NONE:
        timer_at(w, t.next).prev = index
    w.heads[head] = index
    w.bits[head >> 6] |= <uint64_t>1 << (head & 63)
    due = w.now + <uint32_t>(((t.deadline >> shift) << shift) - <uint32_t>w.now)
    if due < w.next:
        w.next = due


cdef inline void wheel_arm(
    wheel_t *w, uint32_t index, uint64_t deadline, uint32_t kind,
) noexcept nogil:
    """Arm a disarmed timer. A deadline that is not after now expires at the next step."""
    cdef timer_t *t = timer_at(w, index)
    t.deadline = <uint32_t>(deadline if deadline > w.now else w.now)
    t.kind = kind
    w.armed += 1
    wheel_place(w, index, t)


cdef inline void wheel_unchain(wheel_t *w, timer_t *t) noexcept nogil:
    cdef uint32_t head
    if t.next != NONE:
        timer_at(w, t.next).prev = t.prev
    if t.prev & HEAD:
        head = t.prev & (WHEEL_HEADS - 1)
        w.heads[head] = t.next
        if t.next == NONE:
            w.bits[head >> 6] &= ~(<uint64_t>1 << (head & 63))
    else:
        timer_at(w, t.prev).next = t.next


cdef inline void wheel_disarm(wheel_t *w, uint32_t index) noexcept nogil:
    """Disarm an armed timer. Its deadline stays readable until it is armed again."""
    cdef timer_t *t = timer_at(w, index)
    wheel_unchain(w, t)
    t.kind = 0
    w.armed -= 1


cdef inline uint32_t wheel_slot_from(const wheel_t *w, uint32_t ring, uint32_t at) noexcept nogil:
    """The first slot of a ring, from `at` on, that is not empty; RING_SLOTS when all are."""
    cdef uint32_t word
    cdef uint64_t found
    if at >= RING_SLOTS:
        return RING_SLOTS
    word = at >> 6
    found = (w.bits[ring * 4 + word] >> (at & 63)) << (at & 63)
    while found == 0:
        word += 1
        if word == 4:
            return RING_SLOTS
        found = w.bits[ring * 4 + word]
    return (word << 6) + pysignal_ctz64(found)


cdef inline uint64_t wheel_next(const wheel_t *w) noexcept nogil:
    """The earliest tick, in ms and not before now, with something to do; 2**64 - 1 for never."""
    cdef uint32_t ring, here, slot
    cdef uint64_t base
    for ring in range(1, <uint32_t>RINGS):
        here = <uint32_t>(w.now >> (ring << 3)) & RING_MASK
        if w.bits[ring * 4 + (here >> 6)] >> (here & 63) & 1:
            return w.now
    slot = wheel_slot_from(w, 0, <uint32_t>w.now & RING_MASK)
    if slot < RING_SLOTS:
        return (w.now & ~<uint64_t>RING_MASK) + slot
    for ring in range(1, <uint32_t>RINGS):
        here = <uint32_t>(w.now >> (ring << 3)) & RING_MASK
        base = (w.now >> ((ring + 1) << 3)) << ((ring + 1) << 3)
        slot = wheel_slot_from(w, ring, here + 1)
        if slot < RING_SLOTS:
            return base + (<uint64_t>slot << (ring << 3))
    slot = wheel_slot_from(w, RINGS - 1, 0)     # the highest ring goes round
    if slot < RING_SLOTS:
        return base + (<uint64_t>(slot + RING_SLOTS) << 24)
    return <uint64_t>-1


cdef inline bint wheel_enter(wheel_t *w, uint64_t now) noexcept nogil:
    """Move time to now if nothing is to do up to then; False when something is."""
    if now >= w.next and w.armed:
        w.next = wheel_next(w)
        if now >= w.next:
            return False
    if now > w.now:
        w.now = now
    return True


cdef inline uint32_t wheel_due(const wheel_t *w) noexcept nogil:
    """Which slot of now has something to do, from the highest ring down; NONE for none of them."""
    cdef uint32_t head
    cdef int ring
    for ring in range(RINGS - 1, -1, -1):
        head = <uint32_t>(ring << 8) | (<uint32_t>(w.now >> (ring << 3)) & RING_MASK)
        if w.heads[head] != NONE:
            return head
    return NONE


cdef inline uint32_t wheel_pop(wheel_t *w, uint32_t head) noexcept nogil:
    """Unchain the first timer of a slot that is not empty."""
    cdef uint32_t index = w.heads[head], following = timer_at(w, index).next
    w.heads[head] = following
    if following == NONE:
        w.bits[head >> 6] &= ~(<uint64_t>1 << (head & 63))
    else:
        timer_at(w, following).prev = head | HEAD
        # Timers of one slot lie anywhere: the one after the next is on its way in good time.
        if timer_at(w, following).next != NONE:
            pysignal_prefetch(timer_at(w, timer_at(w, following).next))
    return index


cdef inline uint32_t wheel_step(
    wheel_t *w, uint64_t until, int64_t *budget, uint32_t *kind,
) noexcept nogil:
    """Move time on to the next expiry, and return its timer, disarmed, and its kind.

    NONE when nothing more is due: time is at `until` then. NONE with `budget` used up: call again.
    """
    cdef uint32_t head, index
    cdef timer_t *t
    while budget[0] > 0:
        head = wheel_due(w)
        if head == NONE or w.now > until:
            w.next = wheel_next(w)
            if w.next > until or w.armed == 0:
                if until > w.now:
                    w.now = until
                return NONE
            w.now = w.next
            head = wheel_due(w)
        budget[0] -= 1
        index = wheel_pop(w, head)
        t = timer_at(w, index)
        if head < RING_SLOTS:
            kind[0] = t.kind
            t.kind = 0
            w.armed -= 1
            return index
        wheel_place(w, index, t)
    return NONE


cdef inline uint32_t wheel_upcoming(const wheel_t *w) noexcept nogil:
    """The timer that expires next, if it expires at the tick of now, or NONE."""
    return w.heads[<uint32_t>w.now & RING_MASK]


cdef inline bint wheel_follow(wheel_t *w, uint64_t until) noexcept nogil:
    """Move time to `until` where somebody else has ended what was due before.

    False when a timer that is due before `until` is still armed.
    """
    cdef int ring
    cdef uint32_t head, index
    cdef uint64_t due
    while True:
        due = wheel_next(w)
        if due >= until:
            if until > w.now:
                w.now = until
            w.next = due
            return True
        w.now = due
        for ring in range(RINGS - 1, 0, -1):
            head = <uint32_t>(ring << 8) | (<uint32_t>(w.now >> (ring << 3)) & RING_MASK)
            while w.heads[head] != NONE:
                index = w.heads[head]
                wheel_unchain(w, timer_at(w, index))
                wheel_place(w, index, timer_at(w, index))
        if w.heads[<uint32_t>w.now & RING_MASK] != NONE:
            return False


@cython.final
cdef class Wheel:
    """A timer wheel of its own."""

    cdef wheel_t wheel
