"""Where the choices of a history come from: a seed, or bytes that somebody else makes up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Source(Protocol):
    """Makes choices, one after the other."""

    def below(self, n: int) -> int:
        """Choose a number from 0 to n - 1."""


class Exhausted(Exception):
    """There are no more choices: the history ends here."""


class Seeded:
    """Choices of a seeded random generator: the same seed, the same choices."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, n: int) -> int:
        return int(self._random() * n)


class Bytes:
    """Choices read from bytes, so that a fuzzer that changes a byte changes one choice.

    Raises `Exhausted` where the bytes run out.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def below(self, n: int) -> int:
        size = ((n - 1).bit_length() + 7) // 8
        piece = self._data[self._at : self._at + size]
        if len(piece) < size:
            raise Exhausted
        self._at += size
        return int.from_bytes(piece, "little") % n


def pick(source: Source, items: Sequence[Item]) -> Item:
    """Choose one of some items, each with the same chance."""
    return items[source.below(len(items))]


def some(source: Source, items: Sequence[Item], least: int, most: int) -> list[Item]:
    """Choose some of the items, none twice, in any order."""
    rest = list(items)
    count = min(least + source.below(most - least + 1), len(rest))
    return [rest.pop(source.below(len(rest))) for _ in range(count)]
