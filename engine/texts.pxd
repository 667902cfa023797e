"""Texts as handles: a reference to the `str` itself, 0 for the empty one."""

from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t


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
