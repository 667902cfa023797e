"""Records and snapshots in their binary form, version 1.

A record is one fact with names instead of numbers and text instead of handles: what a journal keeps
and another machine applies. An image is one invitation whole, as a snapshot keeps it. Integers are
little-endian. A name has one byte of length before it, data has four.

    record   version u8, kind u8, reason u8, flags u8, position u64, time_ms u64, id 2 x u64,
             seq u32, data_version u32, affected u32, device u32, marks u8,
             actor name, subject name, data
             opened: invitation flags u8, deadline_ms u64, group name, count u32, names
    image    slot u32, generation u32, state u8; unless free:
             status u8, flags u8, reason u8, secret u64, position u64, opened_ms u64,
             deadline_ms u64, ended position u64, ended_ms u64, device u32, data_version u32,
             inviter name, data; one invitee name; or
             group name, answers u32, accept_limit u32, count u32,
             count x (name, status u8, marks u8, device u16, ended position u64)

An absent name is empty: no user has an empty name.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from pysignal.engine.core cimport core_t
from pysignal.engine.facts cimport fact_t
from pysignal.engine.users cimport Names

cdef enum: FORMAT_VERSION = 1

cdef bytes encode_record(const core_t *c, const fact_t *fact, Names users, Names groups)
cdef int encode_image(
    bytearray out, const core_t *c, uint32_t slot, Names users, Names groups,
) except -1


@cython.final
cdef class Reader:
    """A cursor over encoded bytes; reading past the end is a ValueError."""

    cdef const uint8_t *at
    cdef Py_ssize_t left
    cdef object owner

    cdef const uint8_t *skip(self, Py_ssize_t count) except NULL
    cdef uint8_t u8(self) except? 255
    cdef uint32_t u16(self) except? 0xFFFFFFFF
    cdef uint32_t u32(self) except? 0xFFFFFFFF
    cdef uint64_t u64(self) except? 0xFFFFFFFFFFFFFFFF
    cdef str name(self)
    cdef str data(self)
