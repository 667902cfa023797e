"""Invitee-status tables: who is asked by one invitation, and how each stands.

An invitation to one user keeps that user in its own record. Every other invitation has a roster:
entries of 16 bytes in the order of invitation, in pages of eight, chained. An entry has a number of
its own across all rosters (its *reference*), so that the list of what a user has pending runs
through entries of many invitations, and a page names the list it belongs to.

Up to `SCAN_MAX` entries are found by scanning. A longer roster has a table of references (open
addressing, linear probing, at most 80 % full) so that an answer finds its entry in O(1).

While an entry is pending its links chain it into its user's list. When it ends they hold the
commit position of the end instead, and `device` holds who ended it.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from pysignal.engine.slab cimport NONE, slab_at, slab_free, slab_init, slab_reserve, slab_t

cdef enum:
    PAGE_SHIFT = 3
    PAGE_ENTRIES = 8
    PAGE_MASK = 7
    SCAN_MAX = 16           # entries

# Where an invitee stands. WAITING is invited but not rung yet.
cdef enum:  # Status
    WAITING = 0
    PENDING = 1
    ACCEPTED = 2
    REJECTED = 3
    CANCELLED = 4
    TIMED_OUT = 5
    STATUSES = 6

ctypedef struct links_t:
    uint32_t next           # reference of a record or an entry, or NONE
    uint32_t prev           # likewise

ctypedef struct entry_t:
    uint32_t user           # number
    links_t pending         # in the user's list; ended: the commit position of the end
    uint8_t status          # Status
    uint8_t marks           # MARK_... bits
    uint16_t device         # ended: low bits of the number of the device that answered

ctypedef struct page_t:
    uint32_t list           # index of the list that owns the page; free: the next free page
    uint32_t next           # page, or NONE
    entry_t[8] entries

ctypedef struct pages_t:
    slab_t table            # page_t by page number
    uint32_t free_first     # page, or NONE
    uint32_t used           # pages in rosters
    uint64_t table_bytes    # memory of the tables of long rosters

ctypedef struct roster_t:
    uint32_t *table         # references by hash of the user, NONE where empty; NULL when short
    uint32_t table_size
    uint32_t first          # page, or NONE
    uint32_t last           # page, or NONE
    uint32_t count          # invitees
    uint32_t pending        # of them PENDING or WAITING


cdef inline page_t *page_at(const pages_t *p, uint32_t page) noexcept nogil:
    return <page_t *>slab_at(&p.table, page, sizeof(page_t))


cdef inline entry_t *entry_at(const pages_t *p, uint32_t ref) noexcept nogil:
    return &page_at(p, ref >> PAGE_SHIFT).entries[ref & PAGE_MASK]


cdef inline void pages_init(pages_t *p, uint32_t limit) noexcept nogil:
    slab_init(&p.table, sizeof(page_t), limit)
    p.free_first = NONE
    p.used = 0
    p.table_bytes = 0


cdef inline uint64_t entry_ended(const entry_t *entry) noexcept nogil:
    """The commit position at which an ended entry ended."""
    return <uint64_t>entry.pending.prev << 32 | entry.pending.next


cdef inline void entry_set_ended(entry_t *entry, uint64_t position) noexcept nogil:
    entry.pending.next = <uint32_t>position
    entry.pending.prev = <uint32_t>(position >> 32)


cdef inline uint32_t roster_hash(uint32_t user, uint32_t size) noexcept nogil:
    """A place in a table of any size: Fibonacci hashing, then a multiply in place of a modulo."""
    return <uint32_t>((<uint64_t>(user * <uint32_t>2654435769u) * size) >> 32)


cdef inline bint roster_init(
    pages_t *p, roster_t *r, uint32_t list, uint32_t count,
) noexcept nogil:
    """Give a roster room for count entries. False when memory is out; then nothing changed."""
    cdef uint32_t pages = (count + PAGE_ENTRIES - 1) >> PAGE_SHIFT
    cdef uint32_t spare = p.table.top - p.used
    cdef uint32_t fresh, page, i, _
    r.table = NULL
    r.table_size = 0
    r.first = NONE
    r.last = NONE
    r.count = 0
    r.pending = 0
    fresh = p.table.top + (pages - spare if pages > spare else 0)
    if fresh > p.table.limit or not slab_reserve(&p.table, fresh):
        return False
    if count > SCAN_MAX:
        r.table_size = count + (count >> 2)
        r.table = <uint32_t *>calloc(r.table_size, sizeof(uint32_t))
        if r.table == NULL:
            r.table_size = 0
            return False
        for i in range(r.table_size):
            r.table[i] = NONE
        p.table_bytes += <uint64_t>r.table_size * sizeof(uint32_t)
    for _ in range(pages):
        page = p.free_first
        if page != NONE:
            p.free_first = page_at(p, page).list
        else:
            page = p.table.top
            p.table.top += 1
        page_at(p, page).list = list
        page_at(p, page).next = NONE
        if r.first == NONE:
            r.first = page
        else:
            page_at(p, r.last).next = page
        r.last = page
    p.used += pages
    r.last = r.first        # from now on the page that is being filled
    return True


cdef inline void roster_free(pages_t *p, roster_t *r) noexcept nogil:
    """Give back the pages and the table of a roster."""
    cdef uint32_t page = r.first, next
    while page != NONE:
        next = page_at(p, page).next
        page_at(p, page).list = p.free_first
        p.free_first = page
        p.used -= 1
        page = next
    p.table_bytes -= <uint64_t>r.table_size * sizeof(uint32_t)
    free(r.table)
    r.table = NULL
    r.table_size = 0
    r.first = NONE
    r.last = NONE


cdef inline uint32_t roster_find(
    const pages_t *p, const roster_t *r, uint32_t user,
) noexcept nogil:
    """The reference of a user's entry, or NONE."""
    cdef uint32_t place, ref, i, left, page
    if r.table != NULL:
        place = roster_hash(user, r.table_size)
        while True:
            ref = r.table[place]
            if ref == NONE or entry_at(p, ref).user == user:
                return ref
            place += 1
            if place == r.table_size:
                place = 0
    page = r.first
    left = r.count
    while left:
        for i in range(PAGE_ENTRIES if left > PAGE_ENTRIES else left):
            if page_at(p, page).entries[i].user == user:
                return (page << PAGE_SHIFT) | i
        left -= PAGE_ENTRIES if left > PAGE_ENTRIES else left
        page = page_at(p, page).next
    return NONE


cdef inline uint32_t roster_add(pages_t *p, roster_t *r, uint32_t user) noexcept nogil:
    """Add an entry in the room made by `roster_init`. The user must not be in it yet."""
    cdef uint32_t place, ref
    cdef entry_t *entry
    if r.count and r.count & PAGE_MASK == 0:
        r.last = page_at(p, r.last).next
    ref = (r.last << PAGE_SHIFT) | (r.count & PAGE_MASK)
    entry = entry_at(p, ref)
    entry.user = user
    entry.pending.next = NONE
    entry.pending.prev = NONE
    entry.status = PENDING
    entry.marks = 0
    entry.device = 0
    if r.table != NULL:
        place = roster_hash(user, r.table_size)
        while r.table[place] != NONE:
            place += 1
            if place == r.table_size:
                place = 0
        r.table[place] = ref
    r.count += 1
    r.pending += 1
    return ref


cdef inline uint32_t roster_next(
    const pages_t *p, const roster_t *r, uint32_t ref, uint32_t index,
) noexcept nogil:
    """Walk a roster in the order of invitation: the entry after `ref`, which has this index.

    Begin with `roster_next(p, r, NONE, NONE)`; NONE after the last.
    """
    index += 1
    if index >= r.count:
        return NONE
    if index == 0:
        return r.first << PAGE_SHIFT
    if index & PAGE_MASK:
        return ref + 1
    return page_at(p, ref >> PAGE_SHIFT).next << PAGE_SHIFT


@cython.final
cdef class Roster:
    """One list of invitees, by user number."""

    cdef pages_t pages
    cdef roster_t roster
