"""The wire that is a socket (`socket_wire.pyx`)."""

cimport cython


@cython.final
cdef class SocketWire:
    """One WebSocket, after its handshake."""

    cdef public object peer
    cdef readonly object ended
    cdef object transport
    cdef object http
    cdef object loop
    cdef object messages
    cdef object parser
    cdef object patience        # a timer that runs while a close is not answered, or None
    cdef double close_s
    cdef int code
    cdef Py_ssize_t bytes_left  # that may come before the login; below 0 for any number
    cdef int silent_looks
    cdef bint is_closing
    cdef bint is_full
    cdef bytes ping             # that waits for its answer while the buffer is full, or None

    cdef int closed_by_client(self, int code) except -1
    cdef int write(self, int opcode, bytes payload) except -1
