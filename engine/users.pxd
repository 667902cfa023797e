"""Users as dense numbers, counted: what the machine knows of a user, in 16 bytes.

A number stands for a user (or, in a second table, for a group). It is counted by everything that
names it: an invitation's inviter and invitees, ended invitations that are still remembered, a
login. A number that nothing counts any more is *idle*: it waits in a list until `users_sweep` takes
it, so that the owner of the names can forget the name before the number goes to somebody else.

The two lists of a user are chained through the records themselves: `pending`, oldest first, and
`open`, the invitations that the user sent, newest first. A group keeps its open invitations in
`pending`. Here are only their ends; the core links and unlinks.

The states of a number: free (count is FREE), idle (count is 0), in use.
"""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from pysignal.engine.slab cimport NONE, slab_at, slab_free, slab_init, slab_reserve, slab_t

# The count of a number that is on the free list.
cdef enum:
    FREE = 0xFFFFFFFF
    NAME_BYTES_MAX = 255    # a record holds a name's length in a byte

ctypedef struct user_t:
    uint32_t count          # how often the number is named; FREE on the free list
    uint32_t pending_first  # reference of a record or an entry; idle: the idle number before
    uint32_t pending_last   # likewise; free: the next free number
    uint32_t open_first     # slot of an invitation; idle: the idle number after

ctypedef struct users_t:
    slab_t table            # user_t by number
    uint32_t free_first     # number, or NONE
    uint32_t idle_first     # number, or NONE
    uint32_t used           # numbers in use or idle


cdef inline user_t *user_at(const users_t *u, uint32_t number) noexcept nogil:
    return <user_t *>slab_at(&u.table, number, sizeof(user_t))


cdef inline void users_init(users_t *u, uint32_t limit) noexcept nogil:
    slab_init(&u.table, sizeof(user_t), limit)
    u.free_first = NONE
    u.idle_first = NONE
    u.used = 0


cdef inline void users_idle(users_t *u, uint32_t number) noexcept nogil:
    """Put a number whose count has come to 0 on the idle list."""
    cdef user_t *user = user_at(u, number)
    user.pending_first = NONE
    user.open_first = u.idle_first
    if u.idle_first != NONE:
        user_at(u, u.idle_first).pending_first = number
    u.idle_first = number


cdef inline void users_unidle(users_t *u, uint32_t number) noexcept nogil:
    """Take a number off the idle list and make its own lists empty."""
    cdef user_t *user = user_at(u, number)
    if user.pending_first != NONE:
        user_at(u, user.pending_first).open_first = user.open_first
    else:
        u.idle_first = user.open_first
    if user.open_first != NONE:
        user_at(u, user.open_first).pending_first = user.pending_first
    user.pending_first = NONE
    user.pending_last = NONE
    user.open_first = NONE


cdef inline uint32_t users_new(users_t *u) noexcept nogil:
    """A fresh number, idle until something counts it; NONE when the table or memory is full."""
    cdef uint32_t number = u.free_first
    if number != NONE:
        u.free_first = user_at(u, number).pending_last
    else:
        number = u.table.top
        if number >= u.table.limit or not slab_reserve(&u.table, number + 1):
            return NONE
        u.table.top += 1
    user_at(u, number).count = 0
    user_at(u, number).pending_last = NONE
    users_idle(u, number)
    u.used += 1
    return number


cdef inline bint users_known(const users_t *u, uint32_t number) noexcept nogil:
    return number < u.table.top and user_at(u, number).count != FREE


cdef inline user_t *users_acquire(users_t *u, uint32_t number) noexcept nogil:
    """Count one more mention of a number, and return its record."""
    cdef user_t *user = user_at(u, number)
    if user.count == 0:
        users_unidle(u, number)
    user.count += 1
    return user


cdef inline void users_release(users_t *u, uint32_t number) noexcept nogil:
    """Count one mention less; a number nobody names becomes idle."""
    cdef user_t *user = user_at(u, number)
    user.count -= 1
    if user.count == 0:
        users_idle(u, number)


cdef inline uint32_t users_sweep(users_t *u) noexcept nogil:
    """Take one idle number out of use and return it; NONE when none is idle."""
    cdef uint32_t number = u.idle_first
    if number == NONE:
        return NONE
    users_unidle(u, number)
    user_at(u, number).count = FREE
    user_at(u, number).pending_last = u.free_first
    u.free_first = number
    u.used -= 1
    return number


cdef inline uint32_t users_pending(const users_t *u, uint32_t number) noexcept nogil:
    """The first of a number's pending list, or NONE; an idle number has empty lists."""
    cdef user_t *user = user_at(u, number)
    return user.pending_first if user.count else NONE


cdef inline uint32_t users_open(const users_t *u, uint32_t number) noexcept nogil:
    """The first of a number's open list, or NONE; an idle number has empty lists."""
    cdef user_t *user = user_at(u, number)
    return user.open_first if user.count else NONE


ctypedef struct name_slot_t:
    PyObject *name          # as in `names`, which holds it; NULL where free
    uint32_t number
    uint32_t tag            # high half of the hash; the low half says where the name belongs


@cython.final
cdef class Names:
    """Names of users (or of groups) and their numbers, both ways."""

    cdef list names         # by number; None where free
    cdef name_slot_t *slots     # numbers by the hash of their names, in the first free place
    cdef uint32_t mask      # how many slots there are, less 1: a power of two
    cdef uint32_t count     # slots in use, at most half of them

    cdef uint32_t find(self, str name) except? 0xFFFFFFFF
    cdef uint32_t find_near(self, str name, uint32_t hint) except? 0xFFFFFFFF
    cdef uint32_t intern(self, users_t *u, str name) except? 0xFFFFFFFF
    cdef uint32_t number(self, users_t *u, str name, str what) except? 0xFFFFFFFF
    cdef str name(self, uint32_t number)
    cdef int foresee(self, uint32_t number) except -1
    cdef int reserve(self, uint32_t count) except -1
    cdef uint32_t place_of(self, str name) noexcept
    cdef void put(self, PyObject *name, uint32_t number) noexcept
    cdef void remove(self, uint32_t at) noexcept
    cdef int forget_idle(self, users_t *u, int count) except -1


@cython.final
cdef class Users:
    """A counted table of users on its own, by name."""

    cdef users_t table
    cdef Names names
