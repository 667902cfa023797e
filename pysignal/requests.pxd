"""Request IDs: a retry returns the first result and rings nobody twice (see `requests.pyx`)."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint64_t


@cython.final
cdef class Request:
    """A request and what it gave."""

    cdef readonly str user
    cdef readonly str name
    cdef readonly object result
    cdef readonly object error
    cdef readonly long long at_ms
    cdef readonly uint64_t arguments
    cdef readonly bint is_kept
    # Its neighbours, of all by age and of its user's, NULL at the ends; whose it is, NULL for none.
    cdef PyObject *older
    cdef PyObject *newer
    cdef PyObject *own_older
    cdef PyObject *own_newer
    cdef PyObject *owner


ctypedef struct slot_t:
    PyObject *request           # NULL where it is free
    uint64_t hashed             # its name, by which it belongs here or into the next free place


cdef Request new_request(str user, str name, long long at_ms, uint64_t arguments)


@cython.final
cdef class OfUser:
    """The requests of one user: by name, and in the order in which they came."""

    cdef slot_t *slots          # NULL while there are none
    cdef uint64_t mask          # their number less one
    cdef Py_ssize_t count       # of the requests; it is known to `Requests` while there are any
    cdef PyObject *oldest
    cdef PyObject *newest
    cdef str user

    cdef slot_t *slot_of(self, str name, uint64_t hashed) noexcept
    cdef Request find(self, str name)
    cdef int make_room(self) except -1
    cdef void place(self, PyObject *request, uint64_t hashed) noexcept
    cdef void clear(self, slot_t *slot) noexcept


@cython.final
cdef class Requests:
    """The results of recent request IDs, by user."""

    cdef object now_ms
    cdef long long keep_ms
    cdef Py_ssize_t count_max
    cdef Py_ssize_t count       # of all
    cdef bint journaled
    cdef dict by_user           # an OfUser each, who has some
    cdef PyObject *oldest
    cdef PyObject *newest
    cdef list unrecorded        # what is to be recorded once it is kept; only the last may not be

    cdef Request find(self, str user, str name, long long now_ms)
    cdef OfUser of(self, str user, OfUser last, long long now_ms)
    cdef Request begin(self, OfUser own, str name, long long now_ms, uint64_t arguments)
    cdef int keep(self, Request request, result) except -1
    cdef int take_out(self, Request request) except -1
    cdef void enter(self, OfUser own, Request request, uint64_t hashed) noexcept
    cdef void link_last(self, Request request) noexcept
    cdef int remove(self, Request request) except -1
    cdef OfUser owner_of(self, Request request)
    cdef int drop_empty(self, OfUser own) except -1
    cdef int forget(self, long long now_ms) except -1
    cdef int recorded(self) except -1


@cython.final
cdef class Once:
    """A command that is carried out once, however often its request comes."""

    cdef Requests requests
    cdef str user
    cdef str name
    cdef uint64_t arguments
    cdef object command
