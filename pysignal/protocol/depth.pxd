"""How deep a JSON text nests, found before anything is made of it."""


cdef bint is_deeper(const char *text, Py_ssize_t size, Py_ssize_t levels) noexcept nogil
