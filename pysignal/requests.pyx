"""Request IDs: a retry returns the first result and rings nobody twice (SPEC §2).

A client that lost the answer of a call sends it again with the same request ID. What the first call
gave is kept for a while: its result, or the error that refused it. Errors that say "try again" are
not kept.

With a journal a result is a record too, written with the records of what the request did, so that a
retry after a restart finds it.

A request is looked up and kept by the command itself, at its place in the order. So a retry that
overtakes its caller still comes behind the first call, a caller that stops waiting leaves its
result behind, and no answer waits a turn longer for having a request ID.

Every operation of a client over the network has a request ID, and millions of them may be kept. So
one is a single object, found by one look into what its user's are: it stands in the list of all, by
age, and in that of its user's, by links that own nothing. What owns it is the table of its user's.
"""

cimport cython

from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t

from pysignal import text
from pysignal.arguments import number_of
from pysignal.errors import InvalidParameter, Remedy, SignalingError
from pysignal.shard import MORE

cdef extern from *:
    """
    /* Of an exact str, which keeps it; it can't fail. */
    static inline uint64_t pysignal_name_hash(PyObject *name) {
        Py_hash_t known = ((PyASCIIObject *)name)->hash;
        return (uint64_t)(known != -1 ? known : PyUnicode_Type.tp_hash(name));
    }

    static inline int pysignal_same_name(PyObject *one, PyObject *other) {
        return PyUnicode_GET_LENGTH(one) == PyUnicode_GET_LENGTH(other)
            && PyUnicode_KIND(one) == PyUnicode_KIND(other)
            && memcmp(PyUnicode_DATA(one), PyUnicode_DATA(other),
                      (size_t)PyUnicode_GET_LENGTH(one) * PyUnicode_KIND(one)) == 0;
    }
    """
    uint64_t hash_of "pysignal_name_hash"(PyObject *name) noexcept
    bint is_same "pysignal_same_name"(PyObject *one, PyObject *other) noexcept

# Engine time before anything is too old.
cdef enum: NEVER_MS = 0

# Places in the table of a user who has just begun: a power of two.
cdef enum: SLOTS_MIN = 8

# Results that are forgotten by each request at most: many more than it adds, in well under 1 ms.
cdef enum: FORGET_PER_REQUEST = 256


@cython.no_gc
@cython.freelist(256)
cdef class Request:
    """A request and what it gave.

    Attributes:
        user: the actor.
        name: the request ID.
        at_ms: engine time of its arrival.
        arguments: the number of the operation's name and arguments.
        result: what was returned.
        error: what was raised instead, or None.
        is_kept: whether it has come to its end, and the same request gives the same again.
    """


cdef Request new_request(str user, str name, long long at_ms, uint64_t arguments):
    """A request that has given nothing yet."""
    cdef Request request = Request.__new__(Request)
    request.user = user
    request.name = name
    request.at_ms = at_ms
    request.arguments = arguments
    return request


@cython.no_gc
cdef class OfUser:
    """The requests of one user.

    They are found by a hash table with open addressing, of which most often one line of memory is
    looked at: a dict takes three, and looks into what stands in the way. It owns them.
    """

    def __dealloc__(self):
        cdef PyObject *at = self.oldest
        cdef PyObject *newer
        while at != NULL:
            newer = (<Request>at).own_newer
            Py_DECREF(<object>at)
            at = newer
        PyMem_Free(self.slots)

    cdef slot_t *slot_of(self, str name, uint64_t hashed) noexcept:
        """Where the request of a name stands, or NULL."""
        cdef uint64_t at = hashed & self.mask
        if self.slots == NULL:
            return NULL
        while self.slots[at].request != NULL:
            if self.slots[at].hashed == hashed and is_same(
                <PyObject *>name, <PyObject *>(<Request>self.slots[at].request).name
            ):
                return &self.slots[at]
            at = (at + 1) & self.mask
        return NULL

    cdef Request find(self, str name):
        """The request of a name, or None."""
        cdef slot_t *slot = self.slot_of(name, hash_of(<PyObject *>name))
        return None if slot == NULL else <Request>slot.request

    cdef int make_room(self) except -1:
        """Make room for one more, before anything is changed."""
        cdef uint64_t size = 0 if self.slots == NULL else self.mask + 1
        cdef uint64_t room = size * 2 if size else SLOTS_MIN
        cdef slot_t *before = self.slots
        cdef slot_t *slots
        cdef uint64_t at
        if <uint64_t>(self.count + 1) * 4 <= size * 3:
            return 0
        slots = <slot_t *>PyMem_Calloc(room, sizeof(slot_t))
        if slots == NULL:
            raise MemoryError("there is no memory for one more request; nothing was changed")
        self.slots, self.mask = slots, room - 1
        for at in range(size):
            if before[at].request != NULL:
                self.place(before[at].request, before[at].hashed)
        PyMem_Free(before)
        return 0

    cdef void place(self, PyObject *request, uint64_t hashed) noexcept:
        """Put a request into the first free place; the reference is the table's."""
        cdef uint64_t at = hashed & self.mask
        while self.slots[at].request != NULL:
            at = (at + 1) & self.mask
        self.slots[at].request = request
        self.slots[at].hashed = hashed

    cdef void clear(self, slot_t *slot) noexcept:
        """Empty a place; those behind it that are not at home move up."""
        cdef uint64_t hole = slot - self.slots
        cdef uint64_t at = (hole + 1) & self.mask
        while self.slots[at].request != NULL:
            if ((at - self.slots[at].hashed) & self.mask) >= ((at - hole) & self.mask):
                self.slots[hole] = self.slots[at]
                hole = at
            at = (at + 1) & self.mask
        self.slots[hole].request = NULL


cdef class Requests:
    """The results of recent request IDs, by user.

    Args:
        now_ms: tells engine time.
        keep_ms: how long a result is kept.
        count_max: results kept for one user; the oldest go first.
        journaled: whether what is kept is to be recorded.
    """

    def __init__(self, now_ms, long long keep_ms, Py_ssize_t count_max, bint journaled=False):
        self.now_ms = now_ms
        self.keep_ms = keep_ms
        self.count_max = count_max
        self.journaled = journaled
        self.by_user = {}
        self.unrecorded = []

    def __len__(self):
        return self.count

    def once(self, str user not None, request_id, arguments, command):
        """Return a command that is carried out only if this request was not yet.

        Args:
            user: the actor; other users' request IDs are other requests.
            request_id: 1 to 128 bytes of UTF-8 without control characters.
            arguments: the operation's name and arguments; a list is compared as it is now.
            command: what to carry out, as `Hub.perform` takes it. The command that is returned
                gives or raises the same, or what it gave or raised the first time, or raises
                InvalidParameter where the request ID was used with other arguments.

        Raises:
            InvalidParameter: the request ID is none.
        """
        return Once(self, user, text.user_id(request_id, "request_id"), arguments, command)

    cdef OfUser of(self, str user, OfUser last, long long now_ms):
        """What is known of a user, who may be new, once what is too old is forgotten.

        Args:
            user: the actor.
            last: what it was when it was last asked for, or None.
            now_ms: engine time.
        """
        cdef OfUser own
        self.forget(now_ms)
        if last is not None and last.count:     # else it is no longer his
            return last
        own = self.by_user.get(user)
        if own is None:
            own = OfUser.__new__(OfUser)
            own.user = user
            self.by_user[user] = own
        return own

    cdef Request find(self, str user, str name, long long now_ms):
        """A request that was made and is not too old, or None."""
        cdef OfUser own
        cdef Request request
        self.forget(now_ms)
        own = self.by_user.get(user)
        request = None if own is None else own.find(name)
        if request is not None and request.at_ms + self.keep_ms <= now_ms:
            self.remove(request)    # another may have its name, and a place of its own
            return None
        return request

    cdef Request begin(self, OfUser own, str name, long long now_ms, uint64_t arguments):
        """Give a new request its place; None where there is one, be it too old, of that name.

        Nothing may come between `of` and this. The caller fills in what it gives, by `keep`, or
        takes it out again. Neither needs memory.
        """
        cdef Request request = None
        cdef uint64_t hashed = hash_of(<PyObject *>name)
        try:
            if own.slot_of(name, hashed) == NULL:
                own.make_room()
                request = new_request(own.user, name, now_ms, arguments)
                if self.journaled:
                    self.unrecorded.append(request)
                self.enter(own, request, hashed)
        finally:
            self.drop_empty(own)
        return request

    cdef int keep(self, Request request, result) except -1:
        """Keep what a request gave, and forget the oldest of a user who has one too many."""
        cdef OfUser own = self.owner_of(request)
        request.result = result
        request.is_kept = True
        if own.count > self.count_max:
            self.remove(<Request>own.oldest)
        return 0

    cdef int take_out(self, Request request) except -1:
        """Forget a request that has changed nothing, or has not come to its end: the last one."""
        if self.journaled and self.unrecorded.pop() is not request:
            raise AssertionError("the last request to be recorded was another one")
        return self.remove(request)

    # -- their order -------------------------------------------------------------------------------

    cdef void enter(self, OfUser own, Request request, uint64_t hashed) noexcept:
        """Enter a request as the newest, of all and of its user's, who have room for it."""
        Py_INCREF(request)
        own.place(<PyObject *>request, hashed)
        own.count += 1
        self.link_last(request)
        request.owner = <PyObject *>own
        request.own_older = own.newest
        request.own_newer = NULL
        if own.newest == NULL:
            own.oldest = <PyObject *>request
        else:
            (<Request>own.newest).own_newer = <PyObject *>request
        own.newest = <PyObject *>request
        self.count += 1

    cdef void link_last(self, Request request) noexcept:
        request.older = self.newest
        request.newer = NULL
        if self.newest == NULL:
            self.oldest = <PyObject *>request
        else:
            (<Request>self.newest).newer = <PyObject *>request
        self.newest = <PyObject *>request

    cdef int remove(self, Request request) except -1:
        """Forget a request, and its user who has no other."""
        cdef OfUser own = self.owner_of(request)
        if request.older == NULL:
            self.oldest = request.newer
        else:
            (<Request>request.older).newer = request.newer
        if request.newer == NULL:
            self.newest = request.older
        else:
            (<Request>request.newer).older = request.older
        if request.own_older == NULL:
            own.oldest = request.own_newer
        else:
            (<Request>request.own_older).own_newer = request.own_newer
        if request.own_newer == NULL:
            own.newest = request.own_older
        else:
            (<Request>request.own_newer).own_older = request.own_older
        request.owner = NULL
        self.count -= 1
        own.count -= 1
        own.clear(own.slot_of(request.name, hash_of(<PyObject *>request.name)))
        Py_DECREF(request)
        return self.drop_empty(own)

    cdef OfUser owner_of(self, Request request):
        if request.owner == NULL:
            raise AssertionError("the request was forgotten before its end")
        return <OfUser>request.owner

    cdef int drop_empty(self, OfUser own) except -1:
        if not own.count:
            del self.by_user[own.user]
        return 0

    cdef int forget(self, long long now_ms) except -1:
        """Forget some of what is too old; how many it were."""
        cdef long long until_ms = now_ms - self.keep_ms
        cdef int count = 0
        while count < FORGET_PER_REQUEST and self.oldest != NULL:
            if (<Request>self.oldest).at_ms > until_ms:
                break
            self.remove(<Request>self.oldest)
            count += 1
        return count

    # -- what a journal keeps ----------------------------------------------------------------------

    def users(self):
        """Return the users of whom something is kept."""
        return list(self.by_user)

    def of_user(self, str user not None):
        """Return what is kept of a user, the oldest first."""
        cdef OfUser own = self.by_user.get(user)
        cdef PyObject *at = NULL if own is None else own.oldest
        cdef list found = []
        while at != NULL:
            if (<Request>at).is_kept:
                found.append(<Request>at)
            at = (<Request>at).own_newer
        return found

    def bring_back(self, Request request not None):
        """Keep what a journal has kept; it is the last word on a request of this name."""
        cdef OfUser own = self.by_user.get(request.user)
        cdef Request found = None if own is None else own.find(request.name)
        if found is not None:
            self.remove(found)
        own = self.of(request.user, None, NEVER_MS)
        try:
            own.make_room()
            self.enter(own, request, hash_of(<PyObject *>request.name))
        finally:
            self.drop_empty(own)
        self.keep(request, request.result)

    def settle(self):
        """Put what a journal has kept in order, and forget what is too old."""
        cdef list found = []
        cdef PyObject *at = self.oldest
        cdef Request request
        while at != NULL:
            found.append(<Request>at)
            at = (<Request>at).newer
        found.sort(key=_at_ms)
        self.oldest = self.newest = NULL
        for request in found:
            self.link_last(request)
        while self.forget(self.now_ms()):
            pass

    cdef int recorded(self) except -1:
        """Note that what was to be recorded has been; one that has not come to its end remains."""
        cdef Py_ssize_t last = len(self.unrecorded) - 1
        if last < 0 or (<Request>self.unrecorded[last]).is_kept:
            self.unrecorded.clear()
        else:
            del self.unrecorded[:last]
        return 0


@cython.final
cdef class Once:
    """A command that is carried out once, however often its request comes.

    Args:
        requests: where it is kept.
        user: the actor.
        name: the request ID.
        arguments: the operation's name and arguments.
        command: what to carry out.
    """

    def __init__(self, Requests requests not None, str user, str name, arguments, command):
        self.requests = requests
        self.user = user
        self.name = name
        self.arguments = number_of(arguments)
        self.command = command

    def __call__(self, now_ms, *args):
        """Carry the command out, or give what it gave."""
        cdef Requests requests = self.requests
        cdef long long at_ms = requests.now_ms()
        cdef Request request = requests.find(self.user, self.name, at_ms)
        if request is not None:
            return repeat(request, self.arguments)
        # It has its place before anything is done: memory may run out for that.
        request = requests.begin(
            requests.of(self.user, None, at_ms), self.name, at_ms, self.arguments
        )
        try:
            result = self.command(now_ms, *args)
        except BaseException as error:
            if isinstance(error, SignalingError) and error.remedy is not Remedy.RETRY:
                request.error = again(error)
            if request.error is None:
                requests.take_out(request)
            else:
                requests.keep(request, None)
            raise
        if result is MORE:
            requests.take_out(request)
        else:
            requests.keep(request, result)
        return result


cdef object again(error):
    """An error to be raised again; None where there is no memory for one."""
    try:
        return error.again()
    except MemoryError:
        return None


cdef object repeat(Request request, uint64_t arguments):
    """Give what a request gave the first time."""
    if request.arguments != arguments:
        raise InvalidParameter(
            "request_id", "it was used before with other arguments; use a new one"
        )
    if request.error is not None:
        raise request.error.again()
    return request.result


def _at_ms(Request request not None):
    return request.at_ms
