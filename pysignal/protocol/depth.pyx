"""How deep a JSON text nests, found before anything is made of it.

A decoder goes down a level of its own stack, or of Python objects, for each bracket that it meets,
so a text of brackets alone costs it far more than its sender. Here a bracket costs a nanosecond.
Texts in quotes are passed over by the C library's search for the next quote.
"""

from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.string cimport memchr


def nests_deeper(str text not None, Py_ssize_t levels):
    """Return whether objects and lists nest deeper than so many levels.

    Of a text that is no JSON it tells what a decoder could meet before it notices.

    Args:
        text: any text that has a UTF-8 form.
        levels: at least 0.

    Raises:
        UnicodeEncodeError: a lone surrogate has none.
    """
    cdef Py_ssize_t size
    cdef const char *start = PyUnicode_AsUTF8AndSize(text, &size)
    return is_deeper(start, size, levels)


cdef bint is_deeper(const char *text, Py_ssize_t size, Py_ssize_t levels) noexcept nogil:
    """Whether a text of so many bytes nests deeper than so many levels."""
    cdef const char *at = text
    cdef const char *end = text + size
    cdef Py_ssize_t level = 0
    cdef char byte
    while at < end:
        byte = at[0]
        at += 1
        if byte == c'"':
            at = behind_quoted(at, end)
        elif byte == c"{" or byte == c"[":
            level += 1
            if level > levels:
                return True
        elif byte == c"}" or byte == c"]":
            level -= 1
    return False


cdef inline const char *behind_quoted(const char *start, const char *end) noexcept nogil:
    """Where a text in quotes that starts here is over: a backslash takes the meaning of a quote."""
    cdef const char *quote = start
    cdef const char *first
    while quote < end:
        quote = <const char *>memchr(quote, c'"', end - quote)
        if quote == NULL:
            break
        first = quote
        while first > start and first[-1] == c"\\":
            first -= 1
        if (quote - first) & 1 == 0:
            return quote + 1
        quote += 1
    return end
