"""A folder whose files are written by threads of the system's (see `native_disk.pyx`)."""

cimport cython

from pysignal.journal.lanes cimport Job, Lanes


@cython.final
cdef class NativeDisk:
    """One folder, of which the process is the only writer."""

    cdef object __weakref__
    cdef readonly str path
    cdef object _loop
    cdef Lanes *lanes           # NULL while it is not open
    cdef Job *done              # carried out, and to be called back for
    cdef int folder             # file descriptors, -1 for none
    cdef int lock
    cdef int wake
    cdef int woken

    cdef int require_open(self) except -1
    cdef int watch(self) except -1
    cdef int call_back(self) except -1
    cdef void end(self) noexcept
    cdef void close_all(self) noexcept
