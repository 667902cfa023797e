"""What an operation awaits until it is durable (see `acknowledgement.pyx`)."""

cimport cython


@cython.final
cdef class Acknowledgement:
    """Awaited by one task; done when what it stands for is durable, or never will be."""

    cdef object loop
    cdef object wakeup          # called with this one when it is done
    cdef object context         # in which; both None while nobody waits
    cdef object error
    cdef bint is_done
    cdef public bint _asyncio_future_blocking

    cdef int finish(self, bint at_once) except -1
