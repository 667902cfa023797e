"""What the operations are called with, made before anything is timed and the same in every run.

Users are as many as open invitations. Who invites whom is random: nobody invites themselves, and no
pair stands twice. Names are shuffled, so that walking through users is no walk through memory. Each
text is a string of its own.

All are tuples: the garbage collector lets go of a tuple of strings or numbers, while it would walk
through a long list again and again, at the expense of what is being timed.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Sequence
from typing import Any

TIMEOUT_MS_MIN = 31_000
TEXT_BYTES = 64


def names(count: int) -> tuple[str, ...]:
    """Return `count` user names in an order that says nothing of where they lie in memory."""
    users = [f"user-{i:08d}" for i in range(count)]
    random.Random(1).shuffle(users)
    return tuple(users)


def pairs(count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return inviters and invitees, by index, for `count` invitations among `count` users."""
    draw = random.Random(2).random
    seen: set[int] = set()
    inviters: list[int] = []
    invitees: list[int] = []
    while len(inviters) < count:
        inviter, invitee = int(draw() * count), int(draw() * count)
        pair = inviter * count + invitee
        if inviter != invitee and pair not in seen:
            seen.add(pair)
            inviters.append(inviter)
            invitees.append(invitee)
    return tuple(inviters), tuple(invitees)


def order(below: int, count: int) -> tuple[int, ...]:
    """Return `count` indexes in random order; each can come several times."""
    return tuple(random.Random(3).choices(range(below), k=count))


def permutation(count: int) -> tuple[int, ...]:
    """Return the indexes below `count` in random order, each once."""
    indexes = list(range(count))
    random.Random(4).shuffle(indexes)
    return tuple(indexes)


def timeouts_ms(count: int, span_ms: int = 16_384) -> tuple[int, ...]:
    """Return `count` random timeouts, from TIMEOUT_MS_MIN on."""
    pick = random.Random(5)
    return tuple(TIMEOUT_MS_MIN + int(pick.random() * span_ms) for _ in range(count))


def texts(count: int, name: str) -> tuple[str, ...]:
    """Return `count` strings of TEXT_BYTES, no two alike."""
    return tuple(f"{name}-{i:010d}".ljust(TEXT_BYTES, "x") for i in range(count))


def packed(numbers: Sequence[int]) -> bytes:
    """Return numbers as the C face takes them: an array of uint32."""
    return array("I", numbers).tobytes()


def batches(size: int, *columns: Sequence[Any]) -> tuple[tuple[tuple[Any, ...], ...], ...]:
    """Return rows of several columns, `size` of them together."""
    rows = tuple(zip(*columns, strict=True))
    return tuple(rows[start : start + size] for start in range(0, len(rows), size))
