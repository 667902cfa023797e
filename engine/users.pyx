"""Names and numbers: the Python face of the counted table of users."""

from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from pysignal.engine.slab cimport pysignal_prefetch

cdef extern from *:
    """
    /* Of a str, which keeps it; its own method, whatever a subclass has in its place. */
    static inline uint64_t pysignal_hash_of(PyObject *text) {
        Py_hash_t known = ((PyASCIIObject *)text)->hash;
        return (uint64_t)(known != -1 ? known : PyUnicode_Type.tp_hash(text));
    }

    static inline int pysignal_is_same(PyObject *one, PyObject *other) {
        return PyUnicode_GET_LENGTH(one) == PyUnicode_GET_LENGTH(other)
            && PyUnicode_KIND(one) == PyUnicode_KIND(other)
            && memcmp(PyUnicode_DATA(one), PyUnicode_DATA(other),
                      (size_t)PyUnicode_GET_LENGTH(one) * PyUnicode_KIND(one)) == 0;
    }
    """
    uint64_t hash_of "pysignal_hash_of"(PyObject *text) noexcept
    bint is_same "pysignal_is_same"(PyObject *one, PyObject *other) noexcept


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

    A name is looked up in a hash table with open addressing: most often one line of memory tells
    which number it has, where the very object is asked for that is known. A dict would take three,
    and a number of Python's for each user.
    """

    def __cinit__(self):
        self.names = []

    def __dealloc__(self):
        free(self.slots)

    def __len__(self):
        return self.count

    def __contains__(self, name):
        return isinstance(name, str) and self.find(name) != NONE

    cdef int reserve(self, uint32_t count) except -1:
        """See to it that there is a free slot for each of `count` names, and as many again."""
        cdef uint32_t size = self.mask + 1 if self.slots != NULL else 0, at
        cdef name_slot_t *fresh
        cdef name_slot_t *old = self.slots
        if 2 * <uint64_t>count <= size:
            return 0
        fresh = <name_slot_t *>malloc(2 * <size_t>max(size, 8) * sizeof(name_slot_t))
        if fresh == NULL:
            raise MemoryError("the engine is out of memory; nothing was changed")
        self.slots = fresh
        self.mask = 2 * max(size, 8) - 1
        for at in range(self.mask + 1):
            fresh[at].name = NULL
        for at in range(size):
            if old[at].name != NULL:
                self.put(old[at].name, old[at].number)
        free(old)
        return 0

    cdef void put(self, PyObject *name, uint32_t number) noexcept:
        """Enter a name that is not in the table, which has room."""
        cdef uint64_t hashed = hash_of(name)
        cdef uint32_t at = <uint32_t>hashed & self.mask
        while self.slots[at].name != NULL:
            at = (at + 1) & self.mask
        self.slots[at].name = name
        self.slots[at].tag = <uint32_t>(hashed >> 32)
        self.slots[at].number = number

    cdef uint32_t place_of(self, str name) noexcept:
        """The slot of a name, or NONE."""
        cdef uint64_t hashed
        cdef uint32_t at
        if self.slots == NULL or name is None:
            return NONE
        hashed = hash_of(<PyObject *>name)
        at = <uint32_t>hashed & self.mask
        while self.slots[at].name != NULL:
            if self.slots[at].name == <PyObject *>name:
                return at
            if self.slots[at].tag == <uint32_t>(hashed >> 32):
                if is_same(self.slots[at].name, <PyObject *>name):
                    return at
            at = (at + 1) & self.mask
        return NONE

    cdef void remove(self, uint32_t at) noexcept:
        """Free a slot, and move up those behind it that would not be found any more."""
        cdef uint32_t next = at, home
        while True:
            next = (next + 1) & self.mask
            if self.slots[next].name == NULL:
                break
            home = <uint32_t>hash_of(self.slots[next].name) & self.mask
            # It may stand at `at` unless it belongs behind that.
            if ((next - home) & self.mask) >= ((next - at) & self.mask):
                self.slots[at] = self.slots[next]
                at = next
        self.slots[at].name = NULL
        self.count -= 1

    cdef uint32_t find(self, str name) except? 0xFFFFFFFF:
        """The number of a name, or NONE."""
        cdef uint32_t at = self.place_of(name)
        return NONE if at == NONE else self.slots[at].number

    cdef uint32_t find_near(self, str name, uint32_t hint) except? 0xFFFFFFFF:
        """As `find`, of a name that had the number `hint` when it was last looked up, if any."""
        if hint < <uint32_t>len(self.names):
            known = self.names[hint]
            if known is name or (known is not None and <str>known == name):
                return hint
        return self.find(name)

    cdef uint32_t intern(self, users_t *u, str name) except? 0xFFFFFFFF:
        """The number of a name, a new idle one if need be; NONE when the table is full."""
        cdef uint32_t number = self.find(name)
        if number != NONE:
            return number
        self.reserve(self.count + 1)
        number = users_new(u)
        if number == NONE:
            return NONE
        while <uint32_t>len(self.names) <= number:
            self.names.append(None)
        self.names[number] = name
        self.put(<PyObject *>name, number)
        self.count += 1
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
        pysignal_prefetch(<const void *>PyList_GET_ITEM(self.names, number))
        return 0

    cdef int forget_idle(self, users_t *u, int count) except -1:
        """Take up to `count` idle numbers out of use."""
        cdef uint32_t number
        while count > 0:
            number = users_sweep(u)
            if number == NONE:
                return 0
            # A number whose name could not be entered, for want of memory, has none here.
            if number < <uint32_t>len(self.names) and self.names[number] is not None:
                # Nothing here needs memory: the number is out of use already.
                self.remove(self.place_of(<str>self.names[number]))
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
