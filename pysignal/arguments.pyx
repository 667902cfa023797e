"""Arguments of a request as a number that differs where they do.

A request ID that comes again with other arguments is refused, so a hub keeps for each request what
they were: not themselves, which may have many kilobytes, but 64 bits of them. Only two are ever
compared, the first call's and a retry's, so that others are taken for the same once in 2**64 times.
Who makes up two sets of arguments that have one number is given the first result instead of a
refusal, and deceives nobody but himself; a number that nobody could make up would cost more than
the rest of a request.

A journal keeps the numbers, and a retry after a restart is compared with them. So they depend on
the values alone, and neither on the process nor on where a text lies: how they come about is a part
of the form of a journal's entries.
"""

from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint64_t

import orjson

cdef extern from *:
    """
    #include <string.h>

    /* The halves of a product of 128 bits, as in wyhash by Wang Yi (public domain). */
    static inline uint64_t pysignal_fold(uint64_t one, uint64_t other) {
        __uint128_t product = (__uint128_t)one * other;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }

    static inline uint64_t pysignal_word(const uint8_t *at) {
        uint64_t word;
        memcpy(&word, at, 8);
        return word;
    }

    #define PYSIGNAL_ODD UINT64_C(0xa0761d6478bd642f)
    #define PYSIGNAL_EVEN UINT64_C(0xe7037ed1a0b428db)

    static uint64_t pysignal_with_word(uint64_t number, uint64_t kind, uint64_t word) {
        return pysignal_fold(number ^ PYSIGNAL_ODD, word ^ PYSIGNAL_EVEN) + kind;
    }

    static uint64_t pysignal_with_bytes(
        uint64_t number, uint64_t kind, const uint8_t *at, size_t size
    ) {
        uint64_t first = 0, second = 0;
        number = pysignal_with_word(number, kind, size);
        for (; size > 16; at += 16, size -= 16)
            number = pysignal_fold(
                pysignal_word(at) ^ PYSIGNAL_ODD, pysignal_word(at + 8) ^ number);
        if (size >= 8) {
            first = pysignal_word(at);
            second = pysignal_word(at + size - 8);
        } else {
            while (size--)
                first = first << 8 | *at++;
        }
        return pysignal_fold(first ^ PYSIGNAL_ODD, second ^ number);
    }

    /* A text is kept in the narrowest form that it fits into, so that its bytes tell it. */
    static uint64_t pysignal_with_text(uint64_t number, PyObject *text) {
        int width = PyUnicode_KIND(text);
        return pysignal_with_bytes(
            number, (uint64_t)width, (const uint8_t *)PyUnicode_DATA(text),
            (size_t)PyUnicode_GET_LENGTH(text) * (size_t)width);
    }
    """
    uint64_t pysignal_with_word(uint64_t number, uint64_t kind, uint64_t word) noexcept
    uint64_t pysignal_with_bytes(
        uint64_t number, uint64_t kind, const uint8_t *at, size_t size
    ) noexcept
    uint64_t pysignal_with_text(uint64_t number, PyObject *text) noexcept

cdef extern from "Python.h":
    int64_t PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

cdef enum:      # what a word or some bytes are; 1, 2 and 4 are texts, by the width of a character
    NOTHING = 8
    TRUTH = 9
    WHOLE = 10
    SEVERAL = 11
    WRITTEN = 12

# Lists within lists beyond which they are written down as a whole.
cdef enum: DEPTH_MAX = 4


cdef uint64_t with_text(uint64_t number, str text) noexcept:
    """The number of what came before, and of a text."""
    return pysignal_with_text(number, <PyObject *>text)


cdef uint64_t with_whole(uint64_t number, int64_t whole) noexcept:
    """The number of what came before, and of an `int`."""
    return pysignal_with_word(number, WHOLE, <uint64_t>whole)


cdef uint64_t with_truth(uint64_t number, bint truth) noexcept:
    """The number of what came before, and of a `bool`."""
    return pysignal_with_word(number, TRUTH, truth)


cdef uint64_t with_value(uint64_t number, value, int depth) except? 0:
    """The number of what came before, and of any value."""
    cdef int overflow = 0
    cdef int64_t whole
    cdef bytes written
    if value is None:
        return pysignal_with_word(number, NOTHING, 0)
    if value is True or value is False:
        return with_truth(number, value is True)
    if isinstance(value, str):
        return with_text(number, <str>value)
    if isinstance(value, int):
        whole = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            return with_whole(number, whole)
    elif isinstance(value, (list, tuple)) and depth < DEPTH_MAX:
        number = pysignal_with_word(number, SEVERAL, len(value))
        for item in value:
            number = with_value(number, item, depth + 1)
        return number
    try:
        written = orjson.dumps(value)
    except TypeError:  # a text that is none, say: the command will refuse it
        written = repr(value).encode(errors="surrogatepass")
    return pysignal_with_bytes(number, WRITTEN, <const uint8_t *><char *>written, len(written))


def number_of(arguments):
    """Return a number of 64 bits that differs where arguments do.

    Args:
        arguments: the operation's name, and its arguments. A list and a tuple of the same items are
            the same.
    """
    cdef uint64_t number = 0
    for value in arguments:
        number = with_value(number, value, 0)
    return number
