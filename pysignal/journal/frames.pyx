"""Encoding and reading of frames (see `frames.pxd` for the format). Compiled, as each byte counts.

Checksums are made by the processor where it has an instruction for them (SSE 4.2), and else from
tables, eight bytes at a time.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_GET_ITEM
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    #include <string.h>

    static uint32_t pysignal_crc_tables[8][256];

    __attribute__((constructor)) static void pysignal_crc_fill(void) {
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t crc = i;
            for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
            pysignal_crc_tables[0][i] = crc;
        }
        for (int t = 1; t < 8; t++)
            for (int i = 0; i < 256; i++) {
                uint32_t before = pysignal_crc_tables[t - 1][i];
                pysignal_crc_tables[t][i] = before >> 8 ^ pysignal_crc_tables[0][before & 255];
            }
    }

    static uint32_t pysignal_crc_by_table(uint32_t crc, const uint8_t *at, size_t size) {
        #define PYSIGNAL_T pysignal_crc_tables
        crc = ~crc;
        for (; size >= 8; size -= 8, at += 8) {
            uint32_t low = crc ^ ((uint32_t)at[0] | (uint32_t)at[1] << 8
                                  | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
            crc = PYSIGNAL_T[7][low & 255] ^ PYSIGNAL_T[6][low >> 8 & 255]
                ^ PYSIGNAL_T[5][low >> 16 & 255] ^ PYSIGNAL_T[4][low >> 24]
                ^ PYSIGNAL_T[3][at[4]] ^ PYSIGNAL_T[2][at[5]]
                ^ PYSIGNAL_T[1][at[6]] ^ PYSIGNAL_T[0][at[7]];
        }
        while (size--) crc = crc >> 8 ^ PYSIGNAL_T[0][(crc ^ *at++) & 255];
        #undef PYSIGNAL_T
        return ~crc;
    }

    #if defined(__x86_64__) && defined(__GNUC__)
    __attribute__((target("sse4.2")))
    static uint32_t pysignal_crc_by_machine(uint32_t crc, const uint8_t *at, size_t size) {
        uint64_t all = (uint32_t)~crc, word;
        for (; size >= 8; size -= 8, at += 8) {
            memcpy(&word, at, 8);
            all = __builtin_ia32_crc32di(all, word);
        }
        crc = (uint32_t)all;
        while (size--) crc = __builtin_ia32_crc32qi(crc, *at++);
        return ~crc;
    }

    static uint32_t (*pysignal_crc)(uint32_t, const uint8_t *, size_t) = pysignal_crc_by_table;

    __attribute__((constructor)) static void pysignal_crc_choose(void) {
        __builtin_cpu_init();
        if (__builtin_cpu_supports("sse4.2")) pysignal_crc = pysignal_crc_by_machine;
    }
    #else
    #define pysignal_crc pysignal_crc_by_table
    #endif

    #pragma pack(push, 1)
    typedef struct {
        uint32_t magic;
        uint16_t version;
        uint8_t kind;
        uint8_t zero;
        uint32_t size;
        uint32_t count;
        uint64_t position;
        uint32_t previous;
        uint32_t checksum;
    } pysignal_frame_head;
    #pragma pack(pop)
    _Static_assert(sizeof(pysignal_frame_head) == 32, "the head has no gaps");
    """
    uint32_t crc_by_table "pysignal_crc_by_table"(
        uint32_t seed, const uint8_t *at, size_t size,
    ) noexcept nogil
    uint32_t crc "pysignal_crc"(uint32_t seed, const uint8_t *at, size_t size) noexcept nogil

    ctypedef struct head_t "pysignal_frame_head":
        uint32_t magic
        uint16_t version
        uint8_t kind
        uint8_t zero
        uint32_t size
        uint32_t count
        uint64_t position
        uint32_t previous
        uint32_t checksum

# Kinds of frames.
SEGMENT = 1     # begins a segment; its record is the log's identity
COMMIT = 2
SNAPSHOT = 3    # begins a snapshot; its record is the log's identity
PIECES = 4
END = 5         # ends a snapshot; its record says how much there is

# Why a run of frames ends.
MORE = 0            # `needs` bytes must be there from the last frame's end
BROKEN = 1          # what follows is no sound frame
MISPLACED = 2       # a sound frame follows that does not belong here
OTHER_VERSION = 3   # a sound frame follows that is of another version
OTHER_KIND = 4      # a sound frame follows that is of another kind
MALFORMED = 5       # a sound frame follows whose records do not fill it

FORMAT = FORMAT_VERSION
HEAD_SIZE = HEAD_BYTES

# What a frame may hold, so that its size fits its head.
cdef enum: PAYLOAD_MAX = 0xFFFF_FF00


cdef inline uint64_t whole(uint64_t size) noexcept nogil:
    """The bytes of a frame of so much payload."""
    return HEAD_BYTES + ((size + 7) & ~<uint64_t>7)


cdef inline uint32_t sum_of(const uint8_t *at, const head_t *head) noexcept nogil:
    return crc(
        crc(head.previous, at, HEAD_BYTES - 4), at + HEAD_BYTES, whole(head.size) - HEAD_BYTES
    )


cdef int judge(const uint8_t *at, Py_ssize_t left, head_t *head, Py_ssize_t *needs) noexcept nogil:
    """Read a head, and say whether a sound frame begins here: 1; 0 = not enough is there; -1."""
    needs[0] = HEAD_BYTES
    if left < HEAD_BYTES:
        return 0
    memcpy(head, at, HEAD_BYTES)
    if head.magic != FRAME_MAGIC:
        return -1
    needs[0] = whole(head.size)
    if left < needs[0]:
        return 0
    return 1 if sum_of(at, head) == head.checksum else -1


cdef bint fills(const uint8_t *payload, const head_t *head) noexcept nogil:
    """Whether the records are as many as they should be, and fill the payload."""
    cdef uint64_t at = 0
    cdef uint32_t left = head.count, size
    while left:
        if at + 4 > head.size:
            return False
        memcpy(&size, payload + at, 4)
        at += 4 + <uint64_t>size
        left -= 1
    return at == head.size


cdef inline bytes slice_of(const uint8_t *at, uint32_t size):
    return PyBytes_FromStringAndSize(<const char *>at, size)


def checksum(const uint8_t[::1] data not None, uint32_t seed=0, bint portable=False):
    """The CRC-32C of bytes, going on from that of the bytes before; `portable`: from tables."""
    if data.shape[0] == 0:
        return seed
    if portable:
        return crc_by_table(seed, &data[0], data.shape[0])
    return crc(seed, &data[0], data.shape[0])


def encode(uint32_t kind, uint64_t position, uint32_t previous, records):
    """Return a frame, and its checksum.

    Args:
        kind: one of the kinds above.
        position: of its first record.
        previous: the checksum of the frame before.
        records: a list or tuple of bytes, at least one.
    """
    cdef list items = records if type(records) is list else list(records)
    cdef Py_ssize_t i, count = len(items)
    cdef uint64_t size = 4 * <uint64_t>count
    cdef uint32_t length
    cdef head_t head
    for i in range(count):
        record = items[i]
        if not isinstance(record, bytes):
            raise TypeError(f"a record is bytes, not {type(record).__name__}")
        size += PyBytes_GET_SIZE(record)
    if count == 0:
        raise ValueError("a commit holds at least one record")
    if size > PAYLOAD_MAX:
        raise ValueError(f"{size} bytes of records in one commit: at most {PAYLOAD_MAX} fit")
    cdef bytes frame = PyBytes_FromStringAndSize(NULL, whole(size))
    cdef uint8_t *start = <uint8_t *>PyBytes_AS_STRING(frame)
    cdef uint8_t *at = start + HEAD_BYTES
    cdef PyObject *item
    for i in range(count):
        item = PyList_GET_ITEM(items, i)
        length = <uint32_t>PyBytes_GET_SIZE(<bytes>item)
        memcpy(at, &length, 4)
        memcpy(at + 4, PyBytes_AS_STRING(<bytes>item), length)
        at += 4 + length
    memset(at, 0, start + whole(size) - at)
    head.magic = FRAME_MAGIC
    head.version = FORMAT_VERSION
    head.kind = <uint8_t>kind
    head.zero = 0
    head.size = <uint32_t>size
    head.count = <uint32_t>count
    head.position = position
    head.previous = previous
    memcpy(start, &head, HEAD_BYTES)
    head.checksum = sum_of(start, &head)
    memcpy(start + HEAD_BYTES - 4, &head.checksum, 4)
    return frame, head.checksum


def decode(bytes data not None, Py_ssize_t at=0):
    """Return the sound frame at a place: (kind, version, position, previous, checksum, size,
    records), where size is of the whole frame; None where there is none.
    """
    cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef head_t head
    cdef Py_ssize_t needs
    if judge(start + at, len(data) - at, &head, &needs) != 1:
        return None
    start += at + HEAD_BYTES
    if not fills(start, &head):
        return None
    cdef list records = []
    split_into(records, start, &head, 0, <uint64_t>-1)
    return (
        head.kind, head.version, head.position, head.previous, head.checksum, needs, records
    )


def version_of(bytes data not None):
    """The version of the frame with which a file begins, sound or not; None without the magic."""
    cdef uint32_t magic
    cdef uint16_t version
    if len(data) < 6:
        return None
    memcpy(&magic, PyBytes_AS_STRING(data), 4)
    memcpy(&version, PyBytes_AS_STRING(data) + 4, 2)
    return version if magic == FRAME_MAGIC else None


def find_sound(const uint8_t[::1] data not None, Py_ssize_t start, Py_ssize_t stop):
    """Where the first sound frame begins, from start on and before stop; -1 for none.

    Args:
        data: what is left of a file, from a frame's place on.
        start: a multiple of eight, as frames begin at such places.
        stop: no frame is looked for from here on; one may reach beyond it.
    """
    cdef head_t head
    cdef Py_ssize_t needs, at = start
    with nogil:
        while at < stop and at + HEAD_BYTES <= data.shape[0]:
            if judge(&data[at], data.shape[0] - at, &head, &needs) == 1:
                break
            at += 8
        else:
            at = -1
    return at


def find_nonzero(bytes data not None):
    """Where the first byte is that is not zero; -1 for none."""
    cdef const uint8_t *at = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef Py_ssize_t i = 0, size = len(data)
    cdef uint64_t[8] words
    with nogil:
        while i + 64 <= size:
            memcpy(words, at + i, 64)
            if (words[0] | words[1] | words[2] | words[3]
                    | words[4] | words[5] | words[6] | words[7]):
                break
            i += 64
        while i < size and at[i] == 0:
            i += 1
    return i if i < size else -1


cdef int split_into(
    list into, const uint8_t *at, const head_t *head, uint64_t first, uint64_t until,
) except -1:
    """Append the records of a frame that fills() from position first on and before until."""
    cdef uint64_t position = head.position, end = position + head.count
    cdef uint32_t size
    while position < end:
        memcpy(&size, at, 4)
        if first <= position < until:
            into.append(slice_of(at + 4, size))
        at += 4 + size
        position += 1
    return 0


cdef class Run:
    """Reads frames of one kind that follow each other, from one piece of a file to the next.

    Args:
        kind: of the frames.
        position: of the first record of the next one.
        chain: the checksum of the frame before it.

    Attributes:
        position: of the first record after the last frame that was read.
        chain: the checksum of that frame.
        stop: why the run ended, one of the reasons above.
        needs: MORE: bytes that must be there for the next frame, as far as is known.
        last: where the last frame began in the data handed in last; -1 where there was none.
        mark: a position; set by the caller.
        bytes_after: of the frames that reach beyond the mark.
    """

    def __cinit__(self, uint32_t kind, uint64_t position, uint32_t chain):
        self.kind = kind
        self.position = position
        self.chain = chain
        self.stop = 0
        self.needs = HEAD_BYTES
        self.last = -1

    def begin(self, uint32_t chain):
        """Go on in the next file, the checksum of whose first frame this is."""
        self.chain = chain
        self.stop = 0
        self.needs = HEAD_BYTES

    def check(self, bytes data not None):
        """Read as many frames as are there, and return where the last one ends."""
        return self.advance(data, None, 0, 0)

    def split(self, bytes data not None, list into not None, uint64_t first, uint64_t until):
        """Do as `check`, and append the records from position `first` on, before `until`."""
        return self.advance(data, into, first, until)

    cdef Py_ssize_t advance(self, bytes data, list into, uint64_t first, uint64_t until) except -1:
        cdef const uint8_t *start = <const uint8_t *>PyBytes_AS_STRING(data)
        cdef Py_ssize_t at = 0, left = len(data)
        cdef head_t head
        cdef int verdict
        self.last = -1
        while into is None or self.position < until:
            verdict = judge(start + at, left - at, &head, &self.needs)
            if verdict != 1:
                self.stop = 0 if verdict == 0 else 1
                return at
            if head.version != FORMAT_VERSION:
                self.stop = 3
                return at
            if head.kind != self.kind:
                self.stop = 4
                return at
            if head.position != self.position or head.previous != self.chain:
                self.stop = 2
                return at
            if not fills(start + at + HEAD_BYTES, &head):
                self.stop = 5
                return at
            if into is not None:
                split_into(into, start + at + HEAD_BYTES, &head, first, until)
            self.last = at
            self.position += head.count
            self.chain = head.checksum
            if self.position > self.mark:
                self.bytes_after += <uint64_t>self.needs
            at += self.needs
        self.stop = 0
        return at
