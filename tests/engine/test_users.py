"""The counted table of users against a dict of names.

A name in use has one number, and a number belongs to one name until it is swept: these two are
checked after every operation of the random histories. Which idle names an operation sweeps on its
way is the table's own business, so the model asks only that what is still known is known right.
"""

from __future__ import annotations

import random

import pytest

from pysignal.engine.users import Names, Users


class Model:
    """A dict of counts in step with a table of users."""

    def __init__(self, limit: int) -> None:
        self.users = Users(limit)
        self.limit = limit
        self.counts: dict[str, int] = {}
        self.numbers: dict[str, int] = {}  # of names in use, and of idle ones that are still known

    def acquire(self, name: str) -> None:
        full = name not in self.counts and len(self.counts) == self.limit
        if full:
            with pytest.raises(MemoryError, match=f"users: the table is full at {self.limit}"):
                self.users.acquire(name)
            self.forget_swept()
            return
        number = self.users.acquire(name)
        if name in self.counts:
            assert number == self.numbers[name]
        self.counts[name] = self.counts.get(name, 0) + 1
        self.forget_swept(name)
        assert number not in self.numbers.values() or self.numbers.get(name) == number
        self.numbers[name] = number

    def release(self, name: str) -> None:
        if name not in self.counts:
            with pytest.raises(KeyError, match=name):
                self.users.release(name)
            return
        self.users.release(name)
        self.counts[name] -= 1
        if not self.counts[name]:
            del self.counts[name]

    def sweep(self, count: int) -> None:
        idle = len(self.numbers) - len(self.counts)
        self.users.sweep(count)
        assert self.forget_swept() == min(max(count, 0), idle)

    def forget_swept(self, *acquired: str) -> int:
        """Drop the idle names that the table no longer knows, and return how many there were."""
        swept = [
            name
            for name, number in self.numbers.items()
            if name not in self.counts and self.users.number(name) != number
        ]
        for name in swept:
            assert self.users.number(name) is None
        swept += [name for name in acquired if self.users.number(name) != self.numbers.get(name)]
        for name in swept:
            self.numbers.pop(name, None)
        return len(swept)

    def check(self, names: list[str]) -> None:
        assert len(self.users) == len(self.numbers)
        assert len(set(self.numbers.values())) == len(self.numbers)
        for name in names:
            assert self.users.count(name) == self.counts.get(name, 0)
            assert self.users.number(name) == self.numbers.get(name)
        for name, number in self.numbers.items():
            assert self.users.name_of(number) == name
            assert number < self.limit


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 40, 1 << 24])
@pytest.mark.parametrize("seed", range(3))
def test_the_table_says_what_a_dict_of_names_says(limit: int, seed: int) -> None:
    rng = random.Random(seed)
    model = Model(limit)
    names = [f"user {number}" for number in range(40)]
    for step in range(3_000):
        name = rng.choice(names)
        kind = rng.random()
        # In turns more come than go, and more go than come.
        if kind < (0.6 if step // 500 % 2 else 0.4):
            model.acquire(name)
        elif kind < 0.95:
            model.release(name)
        else:
            model.sweep(rng.choice([-1, 0, 1, 2, 5, 100]))
        model.check(names)
    for name in list(model.counts):
        for _ in range(model.counts[name]):
            model.release(name)
    model.sweep(len(names))
    model.check(names)
    assert len(model.users) == 0


def test_numbers_are_dense_from_0_over_more_than_one_chunk() -> None:
    users = Users()
    names = [f"u{number}" for number in range(40_000)]
    assert [users.acquire(name) for name in names] == list(range(40_000))
    assert [users.number(name) for name in names] == list(range(40_000))
    assert [users.name_of(number) for number in range(40_000)] == names
    assert len(users) == 40_000


def test_numbers_follow_how_many_are_in_use_and_not_how_many_ever_were() -> None:
    users = Users(100)
    for number in range(20_000):
        assert users.acquire(f"passer-by {number}") < 100
        users.release(f"passer-by {number}")
    assert len(users) <= 2


def test_a_number_is_counted_as_often_as_it_is_named() -> None:
    users = Users()
    number = users.acquire("amy")
    for count in range(2, 1_000):
        assert users.acquire("amy") == number
        assert users.count("amy") == count
    for count in range(998, 0, -1):
        users.release("amy")
        assert users.count("amy") == count
        users.sweep(10)
        assert users.number("amy") == number
    users.release("amy")
    assert users.count("amy") == 0


def test_a_number_goes_to_another_name_only_after_it_was_swept() -> None:
    users = Users()
    amy = users.acquire("amy")
    users.release("amy")
    assert users.number("amy") == amy
    assert users.name_of(amy) == "amy"
    assert users.count("amy") == 0
    assert len(users) == 1
    users.sweep(1)
    assert users.number("amy") is None
    assert users.name_of(amy) is None
    assert len(users) == 0
    assert users.acquire("ben") == amy
    assert users.name_of(amy) == "ben"


def test_an_idle_name_that_is_named_again_before_the_sweep_keeps_its_number() -> None:
    names = [f"user {number}" for number in range(9)]
    for again in names:
        users = Users()
        numbers = {name: users.acquire(name) for name in names}
        for name in names:
            users.release(name)
        number = users.acquire(again)
        assert users.name_of(number) == again
        assert users.number(again) == number
        users.sweep(100)
        assert users.count(again) == 1
        assert users.number(again) == number
        assert users.name_of(number) == again
        assert len(users) == 1
        # All the others' numbers are free again, and no two names get the same.
        fresh = {users.acquire(f"new {index}") for index in range(8)}
        assert fresh | {number} == set(numbers.values())


def test_a_full_table_is_an_error_that_changes_nothing() -> None:
    users = Users(3)
    for name in ("amy", "ben", "cat"):
        users.acquire(name)
    for _ in range(3):
        with pytest.raises(MemoryError, match="users: the table is full at 3"):
            users.acquire("dan")
    assert users.number("dan") is None
    assert users.count("dan") == 0
    assert len(users) == 3
    assert [users.name_of(number) for number in range(4)] == ["amy", "ben", "cat", None]
    assert users.acquire("amy") == 0, "who is in the table may still be named"
    users.release("cat")
    assert users.acquire("dan") == 2, "an idle number makes room"
    assert users.number("cat") is None


def test_a_table_for_nobody_takes_nobody() -> None:
    with pytest.raises(MemoryError, match="full at 0"):
        Users(0).acquire("amy")


def test_releasing_who_is_not_named_is_an_error_that_changes_nothing() -> None:
    users = Users()
    number = users.acquire("amy")
    with pytest.raises(KeyError, match="ben"):
        users.release("ben")
    users.release("amy")
    with pytest.raises(KeyError, match="amy"):
        users.release("amy")
    assert users.count("amy") == 0
    assert users.name_of(number) == "amy"
    users.sweep(5)
    with pytest.raises(KeyError, match="amy"):
        users.release("amy")


def test_any_text_is_a_name() -> None:
    users = Users()
    names = ["", " ", "\0", "é", "e\u0301", "漢", "😀", "\ud800", "x" * 1_000_000, "Amy", "amy"]
    numbers = [users.acquire(name) for name in names]
    assert numbers == list(range(len(names)))
    assert [users.name_of(number) for number in numbers] == names


class Name(str):
    """A str with a life of its own."""

    __slots__ = ()


@pytest.mark.parametrize("wrong", [None, 5, b"amy", ["amy"], Name("amy")])
def test_what_is_not_exactly_a_str_is_no_name(wrong: object) -> None:
    users = Users()
    for method in (users.acquire, users.release, users.number, users.count):
        with pytest.raises(TypeError, match="Argument 'name' has incorrect type"):
            method(wrong)  # type: ignore[arg-type]
    assert len(users) == 0


def test_numbers_that_there_are_not_have_no_name() -> None:
    users = Users()
    users.acquire("amy")
    assert users.name_of(1) is None
    assert users.name_of(2**32 - 1) is None
    for number in (-1, 2**32):
        with pytest.raises(OverflowError):
            users.name_of(number)
        with pytest.raises(OverflowError):
            Users(number)


def test_names_begin_empty() -> None:
    names = Names()
    assert len(names) == 0
    assert "amy" not in names
