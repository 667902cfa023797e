"""Results of requests as entries of a journal: one for each request ID, so small and quick.

    R · u8 version of the form · u8 what it gave · u64 at_ms · u64 number of the arguments
    u8 size and text of the user · u8 size and text of the request ID · what it gave, to the end

Integers are little-endian, texts UTF-8. What it gave is nothing, a text (the ID of an invitation),
a record of the groups as JSON, or an error as JSON: its code, and what it was made of.
"""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from pysignal.engine.binary cimport (
    get_text,
    get_u8,
    get_u64,
    get_user,
    left,
    need,
    put_u8,
    put_u64,
    put_utf8,
    reader_t,
    span_t,
    text_in,
    utf8_size,
)
from pysignal.requests cimport Request, new_request

import orjson

from pysignal import errors
from pysignal.groups.records import GroupRecord
from pysignal.journal.contract import UnknownVersion

cdef enum:
    KIND = 82               # R
    VERSION = 1
    HEAD = 19               # bytes before the first text

cdef enum:  # what a request gave
    NOTHING = 0
    TEXT = 1
    GROUP = 2
    ERROR = 3

cdef extern from "Python.h":
    char *start_of "PyBytes_AS_STRING"(object written) noexcept


cdef bytes entry_of(Request request):
    """The entry of a request that is kept."""
    cdef str name = request.name, user = request.user
    cdef Py_ssize_t user_size = utf8_size(<PyObject *>user), name_size = utf8_size(<PyObject *>name)
    cdef Py_ssize_t size = HEAD + 2 + user_size + name_size, given_size = 0
    cdef uint8_t given = NOTHING
    cdef object what = request.result
    cdef bytes written = None
    cdef uint8_t *at
    if request.error is not None:
        given = ERROR
        made_of, details = request.error._given
        written = orjson.dumps([request.error.code, made_of, details], default=str)
    elif isinstance(what, str):
        given = TEXT
        given_size = utf8_size(<PyObject *>what)
    elif what is not None:
        given = GROUP
        written = orjson.dumps(what.to_builtins(), default=str)
    if written is not None:
        given_size = len(written)
    if user_size > 255 or name_size > 255:
        raise ValueError("a user and a request ID have at most 255 bytes")
    cdef bytes entry = PyBytes_FromStringAndSize(NULL, size + given_size)
    at = <uint8_t *>start_of(entry)
    at = put_u8(at, KIND)
    at = put_u8(at, VERSION)
    at = put_u8(at, given)
    at = put_u64(at, <uint64_t>request.at_ms)
    at = put_u64(at, request.arguments)
    at = put_utf8(put_u8(at, <uint8_t>user_size), <PyObject *>user)
    at = put_utf8(put_u8(at, <uint8_t>name_size), <PyObject *>name)
    if given == TEXT:
        put_utf8(at, <PyObject *>what)
    elif written is not None:
        memcpy(at, start_of(written), given_size)
    return entry


cdef list entries_of(list requests):
    """The entries of those that are kept."""
    cdef list written = []
    cdef Request request
    for request in requests:
        if request.is_kept:
            written.append(entry_of(request))
    return written


def of_request(Request request not None):
    """Return the entry of a request that is kept."""
    return entry_of(request)


def request_of(bytes entry not None):
    """Return the request of such an entry.

    Raises:
        UnknownVersion: another program wrote it.
        ValueError: it is none.
    """
    cdef reader_t r
    cdef span_t user, name, what
    cdef uint64_t at_ms, arguments
    cdef uint8_t given
    cdef Request request
    r.at = <const uint8_t *>start_of(entry)
    r.end = r.at + len(entry)
    need(&r, 2)
    get_u8(&r)
    version = get_u8(&r)
    if version != VERSION:
        raise UnknownVersion(
            f"journal: a result of a request of version {version}; this program reads version "
            f"{VERSION}, so open it with the program that wrote it"
        )
    need(&r, HEAD - 2)
    given = get_u8(&r)
    at_ms = get_u64(&r)
    arguments = get_u64(&r)
    get_user(&r, &user)
    get_user(&r, &name)
    get_text(&r, left(&r), &what)
    request = new_request(text_in(&user), text_in(&name), at_ms, arguments)
    if given == TEXT:
        request.result = text_in(&what)
    elif given == GROUP:
        request.result = GroupRecord.from_builtins(orjson.loads(text_in(&what)))
    elif given == ERROR:
        code, made_of, details = orjson.loads(text_in(&what))
        request.error = errors.BY_CODE[code](*made_of, **details)
    elif given != NOTHING or what.size:
        raise ValueError(f"a request has given {given}, which is nothing that a hub knows")
    return request
