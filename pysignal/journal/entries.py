"""What a hub writes into its journal: one byte that says whose it is, then the record.

The key that hides slots in invite IDs comes first, once. Records of the machine and of the groups
follow in the order of their commits, so that "is a member" has one answer at each point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import orjson

from pysignal.engine import snapshot
from pysignal.engine.machine import Machine
from pysignal.groups.decisions import Groups
from pysignal.groups.records import GroupRecord

_KEY: Final = b"K"
_MACHINE: Final = b"M"
_GROUPS: Final = b"G"


def of_key(key: bytes) -> bytes:
    """Return the entry of the key."""
    return _KEY + key


def of_machine(record: bytes) -> bytes:
    """Return the entry of a record of the machine."""
    return _MACHINE + record


def of_groups(record: GroupRecord) -> bytes:
    """Return the entry of a record of the groups."""
    return _GROUPS + orjson.dumps(record.to_builtins())


def key_of(entries: Sequence[bytes]) -> bytes | None:
    """Return the key with which a journal begins; None for an empty one.

    Raises:
        ValueError: the journal begins with something else.
    """
    if not entries:
        return None
    if entries[0][:1] != _KEY:
        raise ValueError("journal: it does not begin with a key, so it is none of a hub")
    return entries[0][1:]


def replay(entry: bytes, machine: Machine, groups: Groups) -> None:
    """Carry out one entry after the key.

    Raises:
        ValueError: the entry is of an unknown kind or version, or does not fit.
    """
    kind, record = entry[:1], entry[1:]
    if kind == _MACHINE:
        snapshot.apply(machine, record)
    elif kind == _GROUPS:
        groups.apply(GroupRecord.from_builtins(orjson.loads(record)))
    else:
        raise ValueError(
            f"journal: an entry of the unknown kind {kind!r}; is it of a newer version?"
        )
