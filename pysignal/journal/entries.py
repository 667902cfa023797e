"""What a hub writes into its journal, and into the pieces of a snapshot.

The first byte tells what an entry is. A record of the machine begins with the version of its form,
a small number; the others with a letter, and go on as JSON that names its version. Records stand in
the order of the commits, so that "is a member" has one answer at each point. The key that hides
slots in invite IDs comes first, once, with the number of the shard.

    record   0x01 machine record · K key · G group record · R result of a request · D device
    piece    H head, the first · K key · I slots of the machine · P part of a group · R, D as above

Each R and D says all there is to know of its request or device, so that the last one holds, and it
does no harm to take one twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import orjson

from pysignal.errors import BY_CODE, SignalingError
from pysignal.groups.records import GroupRecord
from pysignal.journal.contract import UnknownVersion

if TYPE_CHECKING:
    from pysignal.requests import Request

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


def of_request(request: Request) -> bytes:
    """Return the entry of a request that is kept."""
    result, error = request.result, request.error
    written: dict[str, Any] = {
        "v": VERSION,
        "user": request.user,
        "name": request.name,
        "at_ms": request.at_ms,
        "arguments": request.arguments.hex(),
    }
    if error is not None:
        given, details = error._given
        written["error"] = [error.code, given, details]
    elif isinstance(result, GroupRecord):
        written["group"] = result.to_builtins()
    elif result is not None:
        written["id"] = str(result)
    return REQUEST + orjson.dumps(written, default=str)


def request_of(entry: bytes, make: type[Request]) -> Request:
    """Return the request of such an entry."""
    read = of_version(orjson.loads(entry[1:]))
    request = make(read["user"], read["name"], read["at_ms"], bytes.fromhex(read["arguments"]))
    if "error" in read:
        code, given, details = read["error"]
        kind: type[SignalingError] = BY_CODE[code]
        request.error = kind(*given, **details)
    elif "group" in read:
        request.result = GroupRecord.from_builtins(read["group"])
    else:
        request.result = read.get("id")
    return request


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
