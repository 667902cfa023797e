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

Encoding asks for memory for the writer and for the bytes alone, and runs no other code: what fails
in the middle has changed nothing. Decoding makes no objects: a `record_t` or an `image_t` refers to
texts inside the bytes it was read from. It is all or nothing: what comes back has been read to its
end and has a sound form. Who is who is the reader's business, as that needs the names.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from pysignal.engine.binary cimport reader_t, span_t, writer_t
from pysignal.engine.core cimport core_t, invitation_t, opening_t
from pysignal.engine.facts cimport fact_t
from pysignal.engine.users cimport Names

cdef enum:
    FORMAT_VERSION = 1
    IMAGE_FREE = 9          # bytes of a free slot: no image is shorter

ctypedef struct record_t:
    fact_t fact             # numbers, handles and the slot are still to be filled in
    opening_t opening       # of an opening: flags and count
    uint64_t deadline_ms    # likewise
    span_t actor            # empty for none
    span_t subject          # likewise
    span_t group            # likewise
    span_t data
    reader_t invitees       # of an opening: names

ctypedef struct image_t:
    invitation_t one        # numbers and data are still to be filled in
    uint64_t deadline_ms
    span_t inviter
    span_t invitee          # unless LISTED
    span_t group            # LISTED: empty for none
    span_t data
    uint32_t answers        # LISTED
    uint32_t accept_limit   # likewise
    uint32_t count          # likewise, of invitees
    reader_t entries        # likewise, for `get_entry`

ctypedef struct entry_image_t:
    span_t user
    uint64_t ended_position
    uint16_t device
    uint8_t status
    uint8_t marks

cdef list records_of(const core_t *c, uint32_t first, writer_t *w, Names users, Names groups)
cdef int encode_image(
    writer_t *w, const core_t *c, uint32_t slot, Names users, Names groups,
) except -1
cdef int foresee_image(const core_t *c, uint32_t slot, Names users) except -1
cdef str hash_state(const core_t *c, Names users, Names groups)
cdef int decode_record(bytes source, record_t *record) except -1
cdef int decode_image(reader_t *r, uint32_t slot, image_t *image) except -1
cdef int get_entry(reader_t *r, entry_image_t *entry) except -1
