"""Texts as handles: a reference to the `str` itself, 0 for the empty one.

The text of an invite ID is at hand when an operation names it, and is wanted again when the event
of the operation is made. A `spelled_t` keeps it meanwhile, by commit position. It may leave out any
of them, as where memory is short: an ID can always be spelled again.
"""

from cpython.ref cimport PyObject, Py_DECREF, Py_INCREF
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, realloc

# Texts for which room is kept when none waits.
cdef enum: SPELLED_KEPT = 16384

ctypedef struct spelling_t:
    uint64_t position
    PyObject *text

ctypedef struct spelled_t:
    spelling_t *items       # in the order of their positions
    uint32_t room
    uint32_t head           # first that waits
    uint32_t tail           # one past the last


cdef inline uint64_t handle_of(str text) except? 0:
    """Take a reference to a text."""
    if not text:
        return 0
    Py_INCREF(text)
    return <uint64_t><void *>text


cdef inline str text_of(uint64_t handle):
    """The text of a handle; the reference stays where it is."""
    return <str><void *>handle if handle else ""


cdef inline void release(uint64_t handle) noexcept:
    """Give back a reference to a text."""
    if handle:
        Py_DECREF(<object><void *>handle)


cdef inline void spelled_add(spelled_t *s, uint64_t position, object text) noexcept:
    """Keep the text of the ID that the fact of a position names, if it is an exact `str`."""
    cdef uint32_t room
    cdef void *more
    if type(text) is not str:
        return
    if s.tail == s.room:
        room = s.room * 2 if s.room else 64
        more = realloc(s.items, <size_t>room * sizeof(spelling_t))
        if more == NULL or room < s.room:
            return
        s.items = <spelling_t *>more
        s.room = room
    Py_INCREF(text)
    s.items[s.tail].position = position
    s.items[s.tail].text = <PyObject *>text
    s.tail += 1


cdef inline str spelled_at(spelled_t *s, uint64_t position):
    """The text kept for a position, or None; the texts for those before it are given back."""
    cdef str found = None
    while s.head < s.tail and s.items[s.head].position <= position:
        text = <object>s.items[s.head].text
        if s.items[s.head].position == position:
            found = <str>text
        s.head += 1
        Py_DECREF(text)
    if s.head == s.tail:
        s.head = 0
        s.tail = 0
        if s.room > SPELLED_KEPT:
            free(s.items)
            s.items = NULL
            s.room = 0
    return found


cdef inline void spelled_free(spelled_t *s) noexcept:
    """Give everything back."""
    while s.head < s.tail:
        s.head += 1
        Py_DECREF(<object>s.items[s.head - 1].text)
    free(s.items)
    s.items = NULL
    s.room = s.head = s.tail = 0
