"""Random bits for invite IDs.

Asking the operating system for each ID would cost more than all the rest of an invitation. It gives
a key, and the numbers are the key stream of ChaCha20 (RFC 8439) under it, 4 KiB at a time. The
first 32 bytes of each piece become the next key at once and are handed out to nobody: whoever comes
to see this memory learns none of the pieces before (Bernstein, fast key erasure). After a
fork the child throws away what it shares with its parent: two processes must never hand out the
same bits.
"""

import os
import weakref

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

cdef extern from *:
    """
    /* Eight blocks at once, one in each lane: the compiler makes of it what the machine has. */
    typedef uint32_t pysignal_lanes __attribute__((vector_size(32)));

    #if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
    #if __GNUC__ >= 12
    #define PYSIGNAL_BY_MACHINE __attribute__((target_clones("arch=x86-64-v4", "avx2", "default")))
    #else
    #define PYSIGNAL_BY_MACHINE __attribute__((target_clones("avx2", "default")))
    #endif
    #else
    #define PYSIGNAL_BY_MACHINE
    #endif

    #define PYSIGNAL_ROTATE(x, n) (((x) << (n)) | ((x) >> (32 - (n))))
    #define PYSIGNAL_QUARTER(a, b, c, d) \\
        a += b; d ^= a; d = PYSIGNAL_ROTATE(d, 16); \\
        c += d; b ^= c; b = PYSIGNAL_ROTATE(b, 12); \\
        a += b; d ^= a; d = PYSIGNAL_ROTATE(d, 8); \\
        c += d; b ^= c; b = PYSIGNAL_ROTATE(b, 7)

    /* Eight blocks of 16 words from a state, whose block counter (word 12) moves on. */
    PYSIGNAL_BY_MACHINE
    static void pysignal_chacha20(uint32_t *state, uint32_t *out) {
        pysignal_lanes x[16], first[16];
        for (int i = 0; i < 16; i++)
            for (int lane = 0; lane < 8; lane++)
                first[i][lane] = state[i] + (i == 12 ? (uint32_t)lane : 0);
        for (int i = 0; i < 16; i++) x[i] = first[i];
        for (int round = 0; round < 10; round++) {
            PYSIGNAL_QUARTER(x[0], x[4], x[8], x[12]);
            PYSIGNAL_QUARTER(x[1], x[5], x[9], x[13]);
            PYSIGNAL_QUARTER(x[2], x[6], x[10], x[14]);
            PYSIGNAL_QUARTER(x[3], x[7], x[11], x[15]);
            PYSIGNAL_QUARTER(x[0], x[5], x[10], x[15]);
            PYSIGNAL_QUARTER(x[1], x[6], x[11], x[12]);
            PYSIGNAL_QUARTER(x[2], x[7], x[8], x[13]);
            PYSIGNAL_QUARTER(x[3], x[4], x[9], x[14]);
        }
        for (int i = 0; i < 16; i++) {
            x[i] += first[i];
            for (int lane = 0; lane < 8; lane++) out[lane * 16 + i] = x[i][lane];
        }
        state[12] += 8;
    }
    """
    void pysignal_chacha20(uint32_t *state, uint32_t *out) nogil

cdef enum:
    WORDS_AT_ONCE = 128     # of 32 bits: eight blocks
    KEY_BYTES = 32
    NONCE_BYTES = 12

_SOURCES = weakref.WeakSet()


def _after_fork():
    for source in list(_SOURCES):
        source.discard()


os.register_at_fork(after_in_child=_after_fork)


cdef void stream(
    const uint8_t *key, uint32_t counter, const uint8_t *nonce, uint32_t *out, int count,
) noexcept nogil:
    """Write `count` words of 32 bits of key stream, whole times WORDS_AT_ONCE."""
    cdef uint32_t[16] state
    cdef int done = 0
    memcpy(state, b"expand 32-byte k", 16)
    memcpy(&state[4], key, KEY_BYTES)
    state[12] = counter
    memcpy(&state[13], nonce, NONCE_BYTES)
    while done < count:
        pysignal_chacha20(state, out + done)
        done += WORDS_AT_ONCE


def chacha20(bytes key not None, uint32_t counter, bytes nonce not None):
    """Return the first 512 bytes of the key stream of ChaCha20 (RFC 8439 section 2.4).

    That is so on little-endian machines; on others the bytes of each word are the other way round.

    Args:
        key: 32 bytes.
        counter: of the first block, any 32 bits.
        nonce: 12 bytes.

    Raises:
        ValueError: the key or the nonce has another length.
    """
    cdef uint32_t[128] out
    if len(key) != KEY_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(
            f"key, nonce: {KEY_BYTES} and {NONCE_BYTES} bytes, not {len(key)} and {len(nonce)}"
        )
    stream(<const uint8_t *><const char *>key, counter, <const uint8_t *><const char *>nonce,
           out, WORDS_AT_ONCE)
    return (<const char *>out)[:sizeof(out)]


cdef class Entropy:
    """A source of 64-bit numbers.

    Args:
        seed: None for unpredictable numbers, under a key from the operating system; a number for a
            sequence that is the same each time, for tests and simulations only: its IDs can be
            guessed.
    """

    def __cinit__(self, seed=None):
        self.used = ENTROPY_WORDS
        if seed is not None and not isinstance(seed, int):
            raise TypeError(f"seed: a number or None, not {type(seed).__name__}")
        self.seeded = seed is not None
        if self.seeded:
            self.state = <uint64_t>(seed & 0xFFFFFFFFFFFFFFFF)
        else:
            _SOURCES.add(self)

    def discard(self):
        """Throw away the numbers that are left of the last refill, and the key of the next ones."""
        self.used = ENTROPY_WORDS
        self.keyed = False

    def draw(self):
        """The next number, 64 bits."""
        return self.next()

    cdef int refill(self) except -1:
        cdef uint8_t[12] nonce
        cdef bytes fresh
        cdef uint64_t x
        cdef int i
        if self.seeded:
            for i in range(ENTROPY_WORDS):     # splitmix64
                self.state += <uint64_t>0x9E3779B97F4A7C15
                x = self.state
                x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
                x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
                self.words[i] = x ^ (x >> 31)
            self.used = 0
            return 0
        if not self.keyed:
            fresh = os.urandom(KEY_BYTES)
            memcpy(self.key, <const char *>fresh, KEY_BYTES)
            self.keyed = True
        # Each key is used once, so its nonce and counter can be 0.
        memset(nonce, 0, NONCE_BYTES)
        stream(<const uint8_t *>self.key, 0, nonce, <uint32_t *>self.words, 2 * ENTROPY_WORDS)
        memcpy(self.key, self.words, KEY_BYTES)
        memset(self.words, 0, KEY_BYTES)
        self.used = KEY_WORDS
        return 0
