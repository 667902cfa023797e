"""Bytes written and read through a pointer: what records and images are made of.

A writer is one block that is kept and written again and again, so that a record costs no more than
its bytes. Room is made first, for as much as may follow; the steps that write then cannot fail. A
text is written as UTF-8 straight from the `str`; a lone surrogate passes as three bytes.

A reader is two pointers into bytes that somebody else holds. What is read as a text is looked at
first: a span of it is sound UTF-8, or it is a ValueError. Integers are little-endian, as memory is
on every machine that this is built for.
"""

from cpython.object cimport PyObject
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef extern from *:
    """
    static inline Py_ssize_t pysignal_utf8_size(PyObject *text) {
        Py_ssize_t count = PyUnicode_GET_LENGTH(text), size = count, i;
        if (PyUnicode_IS_ASCII(text))
            return count;
        for (i = 0; i < count; i++) {
            Py_UCS4 c = PyUnicode_READ_CHAR(text, i);
            size += (c > 0x7F) + (c > 0x7FF) + (c > 0xFFFF);
        }
        return size;
    }

    /* Also of a lone surrogate, which has three bytes as its neighbours have. */
    static inline uint8_t *pysignal_utf8_put(uint8_t *at, PyObject *text) {
        Py_ssize_t count = PyUnicode_GET_LENGTH(text), i;
        if (PyUnicode_IS_ASCII(text)) {
            memcpy(at, PyUnicode_DATA(text), (size_t)count);
            return at + count;
        }
        for (i = 0; i < count; i++) {
            Py_UCS4 c = PyUnicode_READ_CHAR(text, i);
            if (c <= 0x7F) {
                *at++ = (uint8_t)c;
                continue;
            }
            if (c <= 0x7FF) {
                *at++ = (uint8_t)(0xC0 | c >> 6);
            } else {
                if (c <= 0xFFFF) {
                    *at++ = (uint8_t)(0xE0 | c >> 12);
                } else {
                    *at++ = (uint8_t)(0xF0 | c >> 18);
                    *at++ = (uint8_t)(0x80 | (c >> 12 & 0x3F));
                }
                *at++ = (uint8_t)(0x80 | (c >> 6 & 0x3F));
            }
            *at++ = (uint8_t)(0x80 | (c & 0x3F));
        }
        return at;
    }

    static inline int pysignal_bytes_are_ascii(const uint8_t *at, size_t size) {
        uint64_t seen = 0, word;
        for (; size >= 8; at += 8, size -= 8) {
            memcpy(&word, at, 8);
            seen |= word;
        }
        while (size--)
            seen |= *at++;
        return (seen & 0x8080808080808080u) == 0;
    }
    """
    # Bytes that a text takes as UTF-8, and the writing of them.
    Py_ssize_t utf8_size "pysignal_utf8_size"(PyObject *text) noexcept
    uint8_t *put_utf8 "pysignal_utf8_put"(uint8_t *at, PyObject *text) noexcept
    bint is_ascii "pysignal_bytes_are_ascii"(const uint8_t *at, size_t size) noexcept nogil

# What a writer keeps when nothing is written: a larger block is given back.
cdef enum: WRITER_KEPT = 1 << 16

ctypedef struct writer_t:
    uint8_t *start
    size_t used             # bytes written
    size_t room             # bytes allocated

ctypedef struct reader_t:
    const uint8_t *at
    const uint8_t *end

ctypedef struct span_t:     # a text, as UTF-8
    const uint8_t *at
    uint32_t size
    bint is_ascii


# -- writing ---------------------------------------------------------------------------------------

cdef inline uint8_t *writer_reserve(writer_t *w, size_t size) except NULL:
    """Make room for so many more bytes, and return where they go."""
    cdef size_t room
    cdef void *more
    if w.room - w.used < size:
        room = w.room * 2 if w.room else 2048
        while room - w.used < size:
            room *= 2
        more = realloc(w.start, room)
        if more == NULL:
            raise MemoryError("the engine is out of memory; nothing was changed")
        w.start = <uint8_t *>more
        w.room = room
    return w.start + w.used


cdef inline void writer_wrote(writer_t *w, const uint8_t *at) noexcept:
    """Note that everything up to here has been written."""
    w.used = at - w.start


cdef inline void writer_free(writer_t *w) noexcept:
    free(w.start)
    w.start = NULL
    w.used = w.room = 0


cdef inline void writer_clear(writer_t *w) noexcept:
    """Begin anew, in the same block unless that is a large one."""
    w.used = 0
    if w.room > WRITER_KEPT:
        writer_free(w)


cdef inline uint8_t *put_u8(uint8_t *at, uint8_t value) noexcept:
    at[0] = value
    return at + 1


cdef inline uint8_t *put_u16(uint8_t *at, uint16_t value) noexcept:
    memcpy(at, &value, 2)
    return at + 2


cdef inline uint8_t *put_u32(uint8_t *at, uint32_t value) noexcept:
    memcpy(at, &value, 4)
    return at + 4


cdef inline uint8_t *put_u64(uint8_t *at, uint64_t value) noexcept:
    memcpy(at, &value, 8)
    return at + 8


# -- reading ---------------------------------------------------------------------------------------

cdef inline size_t left(const reader_t *r) noexcept:
    return r.end - r.at


cdef inline int need(const reader_t *r, size_t size) except -1:
    """See to it that so many bytes are left."""
    if left(r) < size:
        raise ValueError("the record is cut short")
    return 0


cdef inline uint8_t get_u8(reader_t *r) noexcept:
    cdef uint8_t value = r.at[0]
    r.at += 1
    return value


cdef inline uint16_t get_u16(reader_t *r) noexcept:
    cdef uint16_t value
    memcpy(&value, r.at, 2)
    r.at += 2
    return value


cdef inline uint32_t get_u32(reader_t *r) noexcept:
    cdef uint32_t value
    memcpy(&value, r.at, 4)
    r.at += 4
    return value


cdef inline uint64_t get_u64(reader_t *r) noexcept:
    cdef uint64_t value
    memcpy(&value, r.at, 8)
    r.at += 8
    return value


cdef inline str text_in(const span_t *s):
    """The text of a span."""
    if not s.size:
        return ""
    return PyUnicode_DecodeUTF8(<const char *>s.at, s.size, "surrogatepass")


cdef inline int get_text(reader_t *r, size_t size, span_t *out) except -1:
    need(r, size)
    out.at = r.at
    out.size = <uint32_t>size
    out.is_ascii = is_ascii(r.at, size)
    r.at += size
    if not out.is_ascii:
        text_in(out)        # a ValueError where it is no UTF-8
    return 0


cdef inline int get_name(reader_t *r, span_t *out) except -1:
    """A name, which may be empty."""
    need(r, 1)
    return get_text(r, get_u8(r), out)


cdef inline int get_user(reader_t *r, span_t *out) except -1:
    """A name that must be there."""
    get_name(r, out)
    if out.size == 0:
        raise ValueError("a user has an empty name")
    return 0


cdef inline int get_data(reader_t *r, span_t *out) except -1:
    need(r, 4)
    return get_text(r, get_u32(r), out)
