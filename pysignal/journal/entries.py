"""What a hub writes into its journal, and into the pieces of a snapshot.

The first byte tells what an entry is. A record of the machine begins with the version of its form,
a small number; the others with a letter, and go on as JSON that names its version, but for results
of requests, of which there are as many as records of the machine (`results`). Records stand in the
order of the commits, so that "is a member" has one answer at each point. The key that hides slots
in invite IDs comes first, once, with the number of the shard.

    record   0x01 machine record · K key · G group record · R result of a request · D device
    piece    H head, the first · K key · I slots of the machine · P part of a group · R, D as above

Each R and D says all there is to know of its request or device, so that the last one holds, and it
does no harm to take one twice.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from pysignal.groups.records import GroupRecord
from pysignal.journal.contract import UnknownVersion

VERSION: Final = 1

MACHINE: Final = b"\x01"
KEY: Final = b"K"
GROUP: Final = b"G"
REQUEST: Final = b"R"
DEVICE: Final = b"D"
HEAD: Final = b"H"
SLOTS: Final = b"I"
GROUP_PART: Final = b"P"


def of_key(key: bytes, shard: int) -> bytes:
    """Return the entry of the key, 16 bytes, and of the number that every invite ID has in it."""
    return KEY + key + shard.to_bytes(2, "little")


def key_of(entry: bytes) -> tuple[bytes, int]:
    """Return the key and the shard of such an entry."""
    return entry[1:-2], int.from_bytes(entry[-2:], "little")


def of_group(record: GroupRecord) -> bytes:
    """Return the entry of a record of the groups."""
    return GROUP + orjson.dumps(record.to_builtins())


def group_of(entry: bytes) -> GroupRecord:
    """Return the record of such an entry."""
    return GroupRecord.from_builtins(orjson.loads(entry[1:]))


def of_builtins(kind: bytes, values: dict[str, Any]) -> bytes:
    """Return an entry of a kind that is written as JSON."""
    return kind + orjson.dumps({"v": VERSION, **values})


def builtins_of(entry: bytes) -> dict[str, Any]:
    """Return the values of an entry that is written as JSON."""
    return of_version(orjson.loads(entry[1:]))


def of_version(read: dict[str, Any]) -> dict[str, Any]:
    """Return what was read, or refuse it where another version wrote it."""
    if read.get("v") != VERSION:
        raise UnknownVersion(
            f"journal: an entry of version {read.get('v')!r}; this program reads version "
            f"{VERSION}, so open it with the program that wrote it"
        )
    return read
