"""Frames: how everything stands in the files of a log, each with a checksum over the one before.

A frame is a head of 32 bytes and a payload, both little-endian, filled up with zeros to a multiple
of eight bytes. A file is nothing but frames, and zeros behind them.

    head      magic u32, version u16, kind u8, zero u8, payload size u32, count u32, position u64,
              checksum of the frame before u32, checksum u32
    payload   count x (size u32, bytes)

The checksum is a CRC-32C of all that stands before it in the head and of the filled-up payload,
and goes on from that of the frame before. So a frame can be judged alone, and a chain of them as
a whole: one that was left out, repeated, or put in from elsewhere does not follow. The magic has
two bytes that no UTF-8 text holds, so that nobody's text can pass for a frame.

The position is that of the first record of the frame: records of the log in a commit, pieces in a
snapshot.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

# What stands at the beginning of a frame, in every version to come.
cdef enum: FRAME_MAGIC = 0xF5_53_50_F5

cdef enum: FORMAT_VERSION = 1
cdef enum: HEAD_BYTES = 32


@cython.final
cdef class Run:
    """Reads frames of one kind that follow each other."""

    cdef readonly uint64_t position
    cdef readonly uint32_t chain
    cdef readonly uint32_t kind
    cdef readonly int stop
    cdef readonly Py_ssize_t needs
    cdef readonly Py_ssize_t last
    cdef public uint64_t mark
    cdef readonly uint64_t bytes_after

    cdef Py_ssize_t advance(self, bytes data, list into, uint64_t first, uint64_t until) except -1
