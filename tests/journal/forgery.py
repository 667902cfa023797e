"""Frames that are sound, and not what was written: with a checksum that fits them."""

from __future__ import annotations

import struct

from pysignal.journal import frames

HEAD = struct.Struct("<IHBBIIQII")
FIELDS = ("magic", "version", "kind", "zero", "size", "count", "position", "previous", "checksum")


def sealed(frame: bytes) -> bytes:
    """Return a frame with the checksum that fits it."""
    previous = HEAD.unpack_from(frame)[-2]
    own = frames.checksum(frame[32:], frames.checksum(frame[:28], previous))
    return frame[:28] + own.to_bytes(4, "little") + frame[32:]


def forged(content: bytes, at: int, changes: dict[str, int]) -> bytes:
    """Return a file in which fields of the frame at a place are others; it stays sound."""
    head = dict(zip(FIELDS, HEAD.unpack_from(content, at), strict=True))
    end = at + 32 + -(-head["size"] // 8) * 8
    frame = HEAD.pack(*(head | changes).values()) + content[at + 32 : end]
    return content[:at] + sealed(frame) + content[end:]
