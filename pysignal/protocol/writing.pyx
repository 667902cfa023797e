"""The messages of the server that are many, written straight into bytes.

An event is told to everybody who hears it, and each operation is answered: making dictionaries for
an encoder would cost more than all that the engine does. So the fields go from the event into a
buffer of C, which is kept from one message to the next, and from there into `bytes` of their size.
What a message says twice, as the opening of a long list does, is escaped once and copied.

All other messages are few; they are encoded from dictionaries.
"""

from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset, strlen

from pysignal.engine.facts cimport FACT_KINDS, FACT_OPENED, REASONS, Event

from pysignal.engine import facts

from pysignal.protocol import numbers

cdef extern from "Python.h":
    # As macros: these ask nothing and cannot fail for an exact text.
    bint PyUnicode_IS_COMPACT_ASCII(object text)
    int PyUnicode_KIND(object text)
    void *PyUnicode_DATA(object text)
    Py_ssize_t PyUnicode_GET_LENGTH(object text)
    uint32_t PyUnicode_READ(int kind, void *data, Py_ssize_t index) noexcept nogil

# A buffer that has grown beyond this is given back after its message.
cdef enum: ROOM_KEPT = 1 << 18

# Room for all of a message but its texts: names of fields, numbers, words.
cdef enum: FIXED_BYTES = 1024

# What a character may take: six bytes, as \u001f.
cdef enum: WIDEST = 6

cdef enum: SURROGATES = 0xD800
cdef enum: SURROGATES_END = 0xE000

cdef uint64_t EACH_BYTE = 0x0101010101010101
cdef uint64_t HIGH_BITS = 0x8080808080808080

ctypedef struct out_t:
    char *start
    char *at            # where the next byte goes
    char *end           # one past the room

# Written by whoever holds the GIL; nothing in between runs any code of Python's.
cdef out_t out
memset(&out, 0, sizeof(out))

cdef Py_ssize_t inline_max = numbers.INVITEES_INLINE_MAX

# What stands for a byte in a text in quotes: itself (0), the byte behind a backslash, or "u".
cdef uint8_t[256] ESCAPES
memset(ESCAPES, 0, sizeof(ESCAPES))
memset(ESCAPES, c"u", 32)
for _byte, _escape in zip(b'"\\\b\f\n\r\t', b'"\\bfnrt'):
    ESCAPES[<uint8_t>_byte] = _escape

cdef tuple KIND_OF = facts.KINDS
cdef tuple REASON_OF = facts.REASON_NAMES
assert len(KIND_OF) == FACT_KINDS and len(REASON_OF) == REASONS


def event_message(Event event not None, str cursor not None, int64_t now):
    """Return the notification `event` of an event.

    Args:
        event: what is told.
        cursor: where the session stands once it has taken this.
        now: engine time, ms since the epoch.

    Raises:
        UnicodeError: a text has no UTF-8 form; the hub lets none in.
        LookupError: who was invited is not known; see `Event.invitees`.
    """
    return event_told(event, cursor, now)


def event_fields(Event event not None):
    """Return an event as the object `EventFields`; errors are those of `event_message`."""
    return fields_of(event)


def invite_answer(int64_t number, str invite_id not None):
    """Return the answer to an invite.

    Args:
        number: of the request.
        invite_id: of the new invitation.
    """
    return invited(number, invite_id)


def null_answer(int64_t number):
    """Return the answer to an operation that gives nothing.

    Args:
        number: of the request.
    """
    return done(number)


def joined(list messages not None):
    """Return messages as one frame: one as it is, several as an array, in order.

    Args:
        messages: one or more, each of them JSON.

    Raises:
        ValueError: there are none.
        TypeError: one is not `bytes`.
    """
    cdef Py_ssize_t size = len(messages) + 1
    cdef bytes frame
    cdef char *at
    if len(messages) == 1 and PyBytes_CheckExact(messages[0]):
        return messages[0]
    if not messages:
        raise ValueError("a frame holds a message at least")
    for message in messages:
        if not PyBytes_CheckExact(message):
            raise TypeError(f"a message is bytes, not {type(message).__name__}")
        size += PyBytes_GET_SIZE(message)
    frame = PyBytes_FromStringAndSize(NULL, size)
    at = PyBytes_AS_STRING(frame)
    for message in messages:
        at[0] = c","
        memcpy(at + 1, PyBytes_AS_STRING(message), PyBytes_GET_SIZE(message))
        at += 1 + PyBytes_GET_SIZE(message)
    at[0] = c"]"
    PyBytes_AS_STRING(frame)[0] = c"["
    return frame


cdef bytes event_told(Event event, str cursor, int64_t now):
    """The notification of an event."""
    cdef tuple pending = pending_of(event)
    begin()
    put(b'{"jsonrpc":"2.0","method":"event","params":{')
    put_fields(event, pending)
    put(b',"cursor":')
    put_text(cursor)
    put(b',"now":')
    put_number(now)
    put(b"}}")
    return finished()


cdef bytes fields_of(Event event):
    """An event alone."""
    cdef tuple pending = pending_of(event)
    begin()
    put(b"{")
    put_fields(event, pending)
    put(b"}")
    return finished()


cdef bytes invited(int64_t number, str invite_id):
    """The answer to an invite."""
    begin()
    put(b'{"jsonrpc":"2.0","id":')
    put_number(number)
    put(b',"result":{"invite_id":')
    put_text(invite_id)
    put(b"}}")
    return finished()


cdef bytes done(int64_t number):
    """The answer to what gives nothing."""
    begin()
    put(b'{"jsonrpc":"2.0","id":')
    put_number(number)
    put(b',"result":null}')
    return finished()


cdef int put_fields(Event event, tuple pending) except -1:
    """Write the fields of an event, in the order of `EventFields`."""
    cdef Py_ssize_t at, size
    put(b'"kind":"')
    put_word(<str>KIND_OF[event.code])
    put(b'","reason":"')
    put_word(<str>REASON_OF[event.reason_code])
    put(b'","invite_id":')
    put_text(event.invite_id)
    put(b',"group_id":')
    put_text(event.group_id)
    put(b',"inviter":')
    put_text(event.inviter)
    put(b',"data":')
    at = out.at - out.start
    put_text(event.invitation_data if event.answer is None else event.answer)
    size = out.at - out.start - at
    put(b',"invitation_data":')
    if event.answer is None:
        put_again(at, size)
    else:
        put_text(event.invitation_data)
    put(b',"actor":')
    if event.other_actor is not None:
        put_text(event.other_actor)
    elif event.actor_number == event.inviter_number:
        put_text(event.inviter)
    else:
        put_text(event.invitee_one)
    put(b',"device":')
    put_text(event.device)
    put(b',"seq":')
    put_number(event.seq)
    put(b',"data_version":')
    put_number(event.data_version)
    put(b',"position":')
    put_number(<int64_t>event.position)
    put(b',"time":')
    put_number(event.time)
    put(b',"expires_at":')
    if event.expires < 0:
        put(b"null")
    else:
        put_number(event.expires)
    put_flag(b',"ends":', event.ends)
    put_flag(b',"replayed":', event.replayed)
    put_flag(b',"online_only":', event.online_only)
    put_flag(b',"parties_only":', event.parties_only)
    put(b',"pending_count":')
    put_number(pending_count(event))
    return put_people(event, pending)


cdef inline bint is_whole(Event event) noexcept:
    """Whether all who were invited are told of."""
    return (
        event.code == FACT_OPENED or event.roll is None or len(event.roll.invitees) <= inline_max
    )


cdef inline tuple pending_of(Event event):
    """Who is to be told as pending, where they must be looked for.

    They are before a message is begun: a new set may have the garbage collector run, and that
    anything, another message too.
    """
    if event.roll is None:
        return None
    if event.roll.invitees is None:
        return event.invitees
    if event.ended_count < 0 or (event.ended_count and is_whole(event)):
        return event.pending
    return None


cdef inline Py_ssize_t pending_count(Event event) noexcept:
    """How many of those invited were still pending after an event."""
    if event.ends:
        return 0
    return 1 if event.roll is None else len(event.roll.invitees) - event.ended_count


cdef int put_people(Event event, tuple pending) except -1:
    """Write whose status changed; and who was invited and is pending, where that has its place."""
    cdef Py_ssize_t at, size
    put(b',"invitee_list":')
    at = out.at - out.start
    if event.changed is None:
        put_invitees(event)
    else:
        put_names(event.changed)
    if not is_whole(event):
        return 0
    size = out.at - out.start - at
    put(b',"invitees":')
    if event.changed is None:
        put_again(at, size)
    else:
        at = out.at - out.start
        put_invitees(event)
        size = out.at - out.start - at
    put(b',"pending":')
    if event.ends:
        put(b"[]")
    elif pending is None:
        put_again(at, size)
    else:
        put_names(pending)
    return 0


# -- the buffer ------------------------------------------------------------------------------------


cdef int begin() except -1:
    """Begin a message; there is room for all of it but its texts."""
    out.at = out.start
    return reserve(FIXED_BYTES)


cdef bytes finished():
    """The message."""
    cdef bytes message = PyBytes_FromStringAndSize(out.start, out.at - out.start)
    if out.end - out.start > ROOM_KEPT:
        free(out.start)
        memset(&out, 0, sizeof(out))
    return message


cdef int reserve(Py_ssize_t more) except -1:
    """Make room for so many bytes."""
    cdef Py_ssize_t size, room
    cdef void *start
    if out.end - out.at >= more:
        return 0
    size = out.at - out.start
    room = 2 * (size + more)
    start = realloc(out.start, room)
    if start == NULL:
        raise MemoryError
    out.start = <char *>start
    out.at = out.start + size
    out.end = out.start + room
    return 0


cdef inline void put(const char *literal) noexcept:
    """Write what is of a known, small size: FIXED_BYTES has room for all of these."""
    cdef size_t size = strlen(literal)
    memcpy(out.at, literal, size)
    out.at += size


cdef inline void put_flag(const char *name, bint flag) noexcept:
    """Write a field that is true or false."""
    put(name)
    if flag:
        put(b"true")
    else:
        put(b"false")


cdef inline void put_word(str word) noexcept:
    """Write a word of the engine's own: short, and nothing in it needs an escape."""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(word)
    memcpy(out.at, PyUnicode_DATA(word), size)
    out.at += size


cdef inline void put_number(int64_t number) noexcept:
    """Write a whole number: at most 20 bytes."""
    cdef char[20] digits
    cdef int left = 20
    cdef uint64_t rest = <uint64_t>number
    if number < 0:
        out.at[0] = c"-"
        out.at += 1
        rest = 0 - rest
    while True:
        left -= 1
        digits[left] = <char>(c"0" + rest % 10)
        rest //= 10
        if not rest:
            break
    memcpy(out.at, digits + left, 20 - left)
    out.at += 20 - left


cdef int put_again(Py_ssize_t start, Py_ssize_t size) except -1:
    """Write again what stands in the buffer."""
    reserve(size + FIXED_BYTES)
    memcpy(out.at, out.start + start, size)
    out.at += size
    return 0


cdef int put_invitees(Event event) except -1:
    """Write the list of all who were invited."""
    if event.roll is not None:
        return put_names(event.roll.invitees)
    put(b"[")
    put_text(event.invitee_one)
    put(b"]")
    return 0


cdef int put_names(tuple names) except -1:
    """Write a list of texts."""
    cdef bint is_first = True
    put(b"[")
    for name in names:
        if not is_first:
            put(b",")
        is_first = False
        put_text(<str>name)
    put(b"]")
    return 0


cdef int put_text(str text) except -1:
    """Write a text in quotes, and keep the room for what is not text."""
    if text is None:
        text = ""
    cdef Py_ssize_t size = PyUnicode_GET_LENGTH(text)
    reserve(size * WIDEST + FIXED_BYTES)
    out.at[0] = c'"'
    if PyUnicode_IS_COMPACT_ASCII(text):
        out.at = escaped(out.at + 1, <const char *>PyUnicode_DATA(text), size)
    else:
        out.at = encoded(out.at + 1, PyUnicode_KIND(text), PyUnicode_DATA(text), size)
        if out.at == NULL:
            out.at = out.start
            text.encode()
            raise AssertionError("a text without a UTF-8 form was encoded")
    out.at[0] = c'"'
    out.at += 1
    return 0


cdef char *escaped(char *to, const char *text, Py_ssize_t size) noexcept nogil:
    """Write ASCII, eight bytes at once as long as none needs an escape. Returns where it ends."""
    cdef Py_ssize_t at = 0
    cdef uint64_t eight, quote, backslash
    cdef int k
    while at + 8 <= size:
        memcpy(&eight, text + at, 8)
        memcpy(to, &eight, 8)
        quote = eight ^ EACH_BYTE * c'"'
        backslash = eight ^ EACH_BYTE * c"\\"
        # A byte's high bit is set where the byte is below 32, or the difference is zero. A borrow
        # may set another beside it: then eight bytes are looked at for nothing.
        if (
            (eight - EACH_BYTE * 32) | (quote - EACH_BYTE) | (backslash - EACH_BYTE)
        ) & HIGH_BITS == 0:
            to += 8
        else:
            for k in range(8):
                to = put_ascii(to, <uint8_t>text[at + k])
        at += 8
    while at < size:
        to = put_ascii(to, <uint8_t>text[at])
        at += 1
    return to


cdef inline char *put_ascii(char *to, uint8_t byte) noexcept nogil:
    """Write a character of ASCII, escaped where JSON wants it."""
    cdef const char *digits = b"0123456789abcdef"
    if not ESCAPES[byte]:
        to[0] = <char>byte
        return to + 1
    to[0] = c"\\"
    to[1] = <char>ESCAPES[byte]
    if ESCAPES[byte] != c"u":
        return to + 2
    to[2] = to[3] = c"0"
    to[4] = digits[byte >> 4]
    to[5] = digits[byte & 15]
    return to + WIDEST


cdef char *encoded(char *to, int kind, void *text, Py_ssize_t size) noexcept nogil:
    """Write any text as UTF-8; NULL where it has a lone surrogate.

    Asking Python for it would leave a second copy in the text for as long as it lives.
    """
    cdef Py_ssize_t at
    cdef uint32_t character
    for at in range(size):
        character = PyUnicode_READ(kind, text, at)
        if character < 0x80:
            to = put_ascii(to, <uint8_t>character)
        elif character < 0x800:
            to[0] = <char>(0xC0 | character >> 6)
            to[1] = <char>(0x80 | character & 63)
            to += 2
        elif character < 0x10000:
            if SURROGATES <= character < SURROGATES_END:
                return NULL
            to[0] = <char>(0xE0 | character >> 12)
            to[1] = <char>(0x80 | character >> 6 & 63)
            to[2] = <char>(0x80 | character & 63)
            to += 3
        else:
            to[0] = <char>(0xF0 | character >> 18)
            to[1] = <char>(0x80 | character >> 12 & 63)
            to[2] = <char>(0x80 | character >> 6 & 63)
            to[3] = <char>(0x80 | character & 63)
            to += 4
    return to
