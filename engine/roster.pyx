"""The Python face of the invitee-status tables."""

from libc.stdint cimport uint32_t


cdef class Roster:
    """One list of invitees, by user number.

    Args:
        users: the invitees, user numbers, none twice, in the order of invitation.
    """

    def __cinit__(self, users):
        pages_init(&self.pages, 1 << 24)
        # Empty from the start: what follows may fail, and then this is what is freed.
        roster_init(&self.pages, &self.roster, 0, 0)
        cdef list numbers = list(users)
        if len(set(numbers)) != len(numbers):
            raise ValueError("users: a user is in the list twice")
        if not roster_init(&self.pages, &self.roster, 0, <uint32_t>len(numbers)):
            raise MemoryError("users: no memory for another page")
        for number in numbers:
            roster_add(&self.pages, &self.roster, <uint32_t>number)

    def __dealloc__(self):
        roster_free(&self.pages, &self.roster)
        slab_free(&self.pages.table)

    def __len__(self):
        return self.roster.count

    def __iter__(self):
        cdef uint32_t ref = NONE, index = NONE
        cdef list users = []
        while True:
            ref = roster_next(&self.pages, &self.roster, ref, index)
            if ref == NONE:
                return iter(users)
            index += 1
            users.append(entry_at(&self.pages, ref).user)

    def status(self, uint32_t user):
        """Where a user stands, a number of `Status`; None for who is not in the list."""
        cdef uint32_t ref = roster_find(&self.pages, &self.roster, user)
        return None if ref == NONE else entry_at(&self.pages, ref).status

    def set_status(self, uint32_t user, uint8_t status):
        """Set where a user stands; False for who is not in the list."""
        cdef uint32_t ref = roster_find(&self.pages, &self.roster, user)
        if status >= STATUSES:
            raise ValueError(f"status: 0 to {STATUSES - 1}, not {status}")
        if ref == NONE:
            return False
        entry_at(&self.pages, ref).status = status
        return True

    @property
    def memory_bytes(self):
        """Memory of the entries and of the table."""
        return self.pages.used * sizeof(page_t) + self.pages.table_bytes
