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
    slice    version u8, position u64, now_ms u64, first slot u64, end slot u64, slots in all u64,
             invitations u64, six counts of invitees u64, images

An absent name is empty: no user has an empty name. Texts are UTF-8; a lone surrogate passes as
three bytes, so that whatever the machine took can be recorded.

Decoding is all or nothing: a `Record` or an `Image` has been read to its end and has a sound form.
"""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pysignal.engine.core cimport core_t, invitation_t, opening_t
from pysignal.engine.facts cimport fact_t
from pysignal.engine.users cimport Names

cdef enum: FORMAT_VERSION = 1

cdef bytes encode_record(const core_t *c, const fact_t *fact, Names users, Names groups)
cdef int encode_image(
    bytearray out, const core_t *c, uint32_t slot, Names users, Names groups,
) except -1
cdef str hash_state(const core_t *c, Names users, Names groups)
cdef Record decode_record(bytes source)
cdef Image decode_image(Reader reader, uint32_t slot)


@cython.final
cdef class Reader:
    """A cursor over encoded bytes; reading past the end is a ValueError."""

    cdef const uint8_t *at
    cdef Py_ssize_t left
    cdef object owner

    cdef const uint8_t *skip(self, Py_ssize_t count) except NULL
    cdef uint8_t u8(self) except? 255
    cdef uint16_t u16(self) except? 65535
    cdef uint32_t u32(self) except? 0xFFFFFFFF
    cdef uint64_t u64(self) except? 0xFFFFFFFFFFFFFFFF
    cdef str text(self, Py_ssize_t size)
    cdef str name(self)
    cdef str user(self)
    cdef str data(self)


@cython.final
cdef class Record:
    """One record, read: a fact whose numbers, handles and slot are still to be filled in."""

    cdef fact_t fact
    cdef opening_t opening      # of an opening: flags and count
    cdef uint64_t deadline_ms   # likewise
    cdef str actor              # "" for none
    cdef str subject            # likewise
    cdef str group              # likewise
    cdef str data
    cdef list invitees


@cython.final
cdef class Image:
    """One slot of a snapshot, read: an invitation whose numbers are still to be filled in."""

    cdef uint32_t slot
    cdef invitation_t one
    cdef uint64_t deadline_ms
    cdef str inviter
    cdef str invitee            # LISTED: ""
    cdef str group              # "" for none
    cdef str data
    cdef uint32_t answers
    cdef uint32_t accept_limit
    cdef list invitees          # LISTED: names
    cdef list entries           # (status, marks, device, ended position) of each of them
