"""Entries of a journal as people read them: what `pysignal journal dump` prints of each.

This is a second reading of their form, beside the one that the hub recovers by, so that a dump
shows what is there also where the hub refuses it. What has no known form is shown in hexadecimal
digits.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import orjson

from pysignal.engine.facts import KINDS, REASON_NAMES
from pysignal.journal import entries

_FIXED: Final = struct.Struct("<BBBBQQQQIIIIB")
_OPENED: Final = struct.Struct("<BQ")
_REQUEST: Final = struct.Struct("<BBBQQ")
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_NAMES: Final = {
    entries.GROUP: "group",
    entries.DEVICE: "device",
}


def fields_of(entry: bytes) -> dict[str, Any]:
    """Return the fields of an entry, as far as it has a known form."""
    kind = entry[:1]
    try:
        if kind == entries.MACHINE:
            return _machine_record(entry)
        if kind == entries.REQUEST:
            return _request(entry)
        if kind in _NAMES:
            return {"kind": _NAMES[kind], "record": orjson.loads(entry[1:])}
    except (ValueError, IndexError, struct.error):
        pass
    if kind == entries.KEY:
        # It makes invite IDs hard to guess, and has no place in a terminal.
        return {"kind": "key", "shard": entries.key_of(entry)[1]}
    return {"kind": "unknown", "hex": entry.hex()}


def _machine_record(entry: bytes) -> dict[str, Any]:
    """Return the fields of a record of the machine (see `engine/records.pxd`)."""
    _, kind, reason, flags, position, time_ms, high, low, *rest = _FIXED.unpack_from(entry)
    seq, data_version, affected, device, marks = rest
    reader = _Reader(entry, _FIXED.size)
    fields: dict[str, Any] = {
        "kind": KINDS[kind],
        "reason": REASON_NAMES[reason],
        "flags": flags,
        "commit": position,
        "time_ms": time_ms,
        "invite_id": _id(high << 64 | low),
        "seq": seq,
        "data_version": data_version,
        "affected": affected,
        "device": device,
        "marks": marks,
        "actor": reader.text(1),
        "subject": reader.text(1),
        "data": reader.text(4),
    }
    if kind == KINDS.index("opened"):
        fields["invitation_flags"], fields["deadline_ms"] = reader.take(_OPENED)
        fields["group"] = reader.text(1)
        fields["invitees"] = [reader.text(1) for _ in range(reader.number(4))]
    reader.end()
    return fields


def _request(entry: bytes) -> dict[str, Any]:
    """Return the fields of a result of a request (see `results.pyx`)."""
    _, version, given, at_ms, arguments = _REQUEST.unpack_from(entry)
    reader = _Reader(entry, _REQUEST.size)
    fields: dict[str, Any] = {
        "kind": "request",
        "v": version,
        "at_ms": at_ms,
        "arguments": f"{arguments:016x}",
        "user": reader.text(1),
        "name": reader.text(1),
    }
    rest = reader.rest()
    if version != 1 or given > 3:
        raise ValueError("another version of this program has written it")
    if given == 1:
        fields["id"] = rest.decode("utf-8", "backslashreplace")
    elif given:
        fields["group" if given == 2 else "error"] = orjson.loads(rest)
    return fields


def _id(number: int) -> str:
    """Return an invite ID as its text: 26 digits of five bits, the highest first."""
    return "".join(_DIGITS[number >> shift & 31] for shift in range(125, -1, -5))


class _Reader:
    """A cursor over what follows the fixed part of a record."""

    def __init__(self, entry: bytes, at: int) -> None:
        self._entry = entry
        self._at = at

    def skip(self, size: int) -> bytes:
        part = self._entry[self._at : self._at + size]
        if len(part) < size:
            raise ValueError("the record is cut short")
        self._at += size
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.skip(size), "little")

    def text(self, size: int) -> str:
        """Return a text that has its size before it, in so many bytes."""
        return self.skip(self.number(size)).decode("utf-8", "backslashreplace")

    def take(self, form: struct.Struct) -> tuple[Any, ...]:
        return form.unpack(self.skip(form.size))

    def rest(self) -> bytes:
        return self.skip(len(self._entry) - self._at)

    def end(self) -> None:
        if self._at != len(self._entry):
            raise ValueError("something follows the record")
