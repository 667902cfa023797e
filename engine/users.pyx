"""Names and numbers: the Python face of the counted table of users."""

from cpython.list cimport PyList_GET_ITEM
from libc.stdint cimport uint32_t

from pysignal.engine.slab cimport prefetch


cdef int check_name(str name, str what) except -1:
    """Refuse a name that no record could hold."""
    if name is None:
        raise TypeError(f"{what}: a name is a str, not None")
    if not name:
        raise ValueError(f"{what}: a name is needed, not an empty text")
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES_MAX:
        raise ValueError(f"{what}: a name has at most {NAME_BYTES_MAX} bytes")
    return 0


cdef class Names:
    """Names of users (or of groups) and their numbers, both ways.

    The table of counts belongs to a core; here are only the names. A name is forgotten when its
    number is swept from the idle ones: before an operation, never while one holds idle numbers.
    """

    def __cinit__(self):
        self.numbers = {}
        self.names = []

    def __len__(self):
        return len(self.numbers)

    def __contains__(self, name):
        return name in self.numbers

    cdef uint32_t find(self, str name) except? 0xFFFFFFFF:
        """The number of a name, or NONE."""
        found = self.numbers.get(name)
        return NONE if found is None else <uint32_t>found

    cdef uint32_t find_near(self, str name, uint32_t hint) except? 0xFFFFFFFF:
        """As `find`, of a name that had the number `hint` when it was last looked up, if any."""
        if hint < <uint32_t>len(self.names):
            known = self.names[hint]
            if known is name or (known is not None and <str>known == name):
                return hint
        return self.find(name)

    cdef uint32_t intern(self, users_t *u, str name) except? 0xFFFFFFFF:
        """The number of a name, a new idle one if need be; NONE when the table is full."""
        found = self.numbers.get(name)
        if found is not None:
            return <uint32_t>found
        cdef uint32_t number = users_new(u)
        if number == NONE:
            return NONE
        while <uint32_t>len(self.names) <= number:
            self.names.append(None)
        self.names[number] = name
        self.numbers[name] = number
        return number

    cdef uint32_t number(self, users_t *u, str name, str what) except? 0xFFFFFFFF:
        """As `intern`, of a name that is fit for records; `what` names it in errors."""
        cdef uint32_t number = self.find(name)
        if number == NONE:
            check_name(name, what)
            number = self.intern(u, name)
            if number == NONE and u.table.top < u.table.limit:
                raise MemoryError(f"{what}: the engine is out of memory; nothing was changed")
        return number

    cdef str name(self, uint32_t number):
        return <str>self.names[number]

    cdef int foresee(self, uint32_t number) except -1:
        """Have a name brought into the cache that will be asked for soon."""
        prefetch(<const void *>PyList_GET_ITEM(self.names, number))
        return 0

    cdef int forget_idle(self, users_t *u, int count) except -1:
        """Take up to `count` idle numbers out of use."""
        cdef uint32_t number
        while count > 0:
            number = users_sweep(u)
            if number == NONE:
                return 0
            # A number whose name could not be entered, for want of memory, has none here.
            if number < <uint32_t>len(self.names):
                # Nothing here needs memory: the number is out of use already.
                name = self.names[number]
                found = self.numbers.get(name)
                if found is not None and <uint32_t>found == number:
                    del self.numbers[name]
                self.names[number] = None
            count -= 1
        return 0


cdef class Users:
    """A counted table of users on its own, by name.

    Args:
        limit: users at most.
    """

    def __cinit__(self, uint32_t limit=1 << 24):
        users_init(&self.table, limit)
        self.names = Names()

    def __dealloc__(self):
        slab_free(&self.table.table)

    def __len__(self):
        return self.table.used

    def acquire(self, str name not None):
        """Count one mention of a name and return its number."""
        self.names.forget_idle(&self.table, 2)
        cdef uint32_t number = self.names.intern(&self.table, name)
        if number == NONE:
            raise MemoryError(f"users: the table is full at {self.table.table.limit}")
        users_acquire(&self.table, number)
        return number

    def release(self, str name not None):
        """Count one mention less. A name nobody mentions is forgotten at the next sweep."""
        cdef uint32_t number = self.names.find(name)
        if number == NONE or user_at(&self.table, number).count == 0:
            raise KeyError(name)
        users_release(&self.table, number)

    def sweep(self, int count):
        """Forget up to `count` names that nobody mentions."""
        self.names.forget_idle(&self.table, count)

    def number(self, str name not None):
        """The number of a name, or None."""
        cdef uint32_t number = self.names.find(name)
        return None if number == NONE else number

    def name_of(self, uint32_t number):
        """The name of a number, or None."""
        if number >= len(self.names.names):
            return None
        return self.names.names[number]

    def count(self, str name not None):
        """How often a name is mentioned."""
        cdef uint32_t number = self.names.find(name)
        return 0 if number == NONE else user_at(&self.table, number).count
