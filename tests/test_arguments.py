"""The number of a request's arguments: it differs where they do, and is the same for ever."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
from enum import IntEnum
from typing import Any

from scale import scaled

from pysignal.arguments import number_of


class Role(IntEnum):
    """An int that is more than that."""

    ADMIN = 300


class Text(str):
    """A subclass of str."""

    __slots__ = ()


# A journal keeps the numbers: whoever changes them gives its entries another version.
KNOWN: list[tuple[tuple[Any, ...], int]] = [
    ((), 0),
    (("invite", "bob", "", 30_000, False), 0x315515B1597C660D),
    (("accept", "0123456789abcdefghjkmnpqrs", "grüße"), 0x29118CA00C47BAC4),
    (("x", None, -1, 1 << 70, ["я", ("\U0001f600",)], 1.5, {"a": 1}, "\ud800"), 0x0FFA566FC377A60A),
]


def test_numbers_are_what_they_were() -> None:
    assert [number_of(arguments) for arguments, _ in KNOWN] == [number for _, number in KNOWN]


def test_numbers_are_those_of_another_process() -> None:
    program = "from test_arguments import *; print([number_of(each) for each, _ in KNOWN])"
    result = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == repr([number for _, number in KNOWN])


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 8, 9, 10, 11, 1 << 62, -(1 << 63), (1 << 63) - 1, 1 << 63, 1 << 64,
    "", "0", "1", "a", "\0", "\0\0", "a\0", "\0a", "é", "e\u0301", "я", "\u4e2d", "\U0001f600",
    "\ud800", "ÿ\0", "None", "True", "x" * 7, "x" * 8, "x" * 9, "x" * 15, "x" * 16,
    "x" * 17, "x" * 31, "x" * 32, "x" * 33, "x" * 12_288, "x" * 12_287 + "y", "y" + "x" * 12_287,
    [], [[]], [[], []], ["a"], ["a", "b"], ["ab"], [["a"], "b"], ["a", ["b"]], [None], [0],
    [[[[[1]]]]], [[[[[2]]]]], 0.0, 1.0, 1.5, {}, {"a": 1}, {"a": 2}, b"", b"a", object,
]  # fmt: skip


def test_what_differs_has_another_number() -> None:
    several = [*((value,) for value in VALUES), *itertools.product(VALUES, repeat=2)]
    numbers = [number_of(arguments) for arguments in several]
    assert len(set(numbers)) == len(numbers)
    assert all(0 <= number < 1 << 64 for number in numbers)


def test_every_place_of_a_text_counts() -> None:
    dice = random.Random(3)
    for size in (*range(70), 255, 256, 257):
        for alphabet in ("ab", "éè", "яю", "\U0001f600\U0001f601"):
            text = "".join(dice.choice(alphabet) for _ in range(size))
            one, other = alphabet
            changed = {
                text[:at] + (one if text[at] == other else other) + text[at + 1 :]
                for at in range(size)
            }
            numbers = {number_of(("x", each)) for each in changed | {text}}
            assert len(numbers) == size + 1, (size, alphabet)


def test_what_makes_no_difference_has_the_same_number() -> None:
    for ones, others in (
        (["a", 1], ("a", 1)),
        ([["a", ("b",)]], [("a", ["b"])]),
        (["a"], [Text("a")]),
        ([300], [Role.ADMIN]),
        (iter(["a"]), ["a"]),
    ):
        assert number_of(ones) == number_of(others)


def test_no_two_of_many_have_one_number() -> None:
    count = scaled(1_000_000, 20_000)
    numbers = {number_of(("invite", f"user {n}", "data", n % 7, False)) for n in range(count)}
    assert len(numbers) == count


def test_lists_without_end_have_a_number() -> None:
    endless: list[Any] = []
    endless.append(endless)
    deep: Any = []
    for _ in range(400):
        deep = [deep]
    assert number_of([endless]) == number_of([endless])
    assert number_of([deep]) != number_of([deep[0]])
