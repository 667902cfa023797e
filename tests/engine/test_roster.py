"""Rosters against a dict of users, from one invitee to 100,000.

A roster finds its entries by scanning while it is short and by a table of references when it is
long; its entries lie in pages of eight. Sizes on both sides of each of these lines are in every
test.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from pysignal.engine.roster import Roster

SIZES = [0, 1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 100, 1_000, 10_000, 16_384, 100_000]
PENDING = 1
STATUSES = 6
USER_MAX = 2**32 - 1


def some_users(rng: random.Random, size: int) -> list[int]:
    """Users of every kind: dense numbers, in runs, all over 32 bits."""
    kind = rng.randrange(3)
    if kind == 0:
        users = list(range(size))
    elif kind == 1:
        stride = rng.choice([2, 1_597, 2_584, 4_181, 2**14])
        users = [index * stride for index in range(size)]
    else:
        users = rng.sample(range(USER_MAX + 1), size)
    rng.shuffle(users)
    return users


@pytest.mark.parametrize("size", SIZES)
def test_a_roster_holds_its_users_in_the_order_of_invitation(size: int) -> None:
    users = some_users(random.Random(size), size)
    roster = Roster(users)
    assert len(roster) == size
    assert list(roster) == users
    assert list(roster) == users, "a second walk"


@pytest.mark.parametrize("size", SIZES)
def test_everybody_in_the_list_is_pending_and_nobody_else_is_known(size: int) -> None:
    rng = random.Random(size + 1)
    users = some_users(rng, size)
    invited = set(users)
    roster = Roster(users)
    assert all(roster.status(user) == PENDING for user in users)
    for _ in range(2_000):
        user = rng.randrange(USER_MAX + 1) if rng.random() < 0.5 else rng.randrange(2 * size + 2)
        assert roster.status(user) == (PENDING if user in invited else None)
        if user not in invited:
            assert roster.set_status(user, 2) is False
    assert len(roster) == size


@pytest.mark.parametrize("size", SIZES)
def test_statuses_are_those_of_a_dict(size: int) -> None:
    rng = random.Random(size + 2)
    users = some_users(rng, size)
    roster = Roster(users)
    model = dict.fromkeys(users, PENDING)
    for _ in range(min(20_000, 4 * size) + 10):
        user = rng.choice(users) if users and rng.random() < 0.9 else rng.randrange(USER_MAX + 1)
        status = rng.randrange(STATUSES)
        assert roster.set_status(user, status) is (user in model)
        if user in model:
            model[user] = status
    assert {user: roster.status(user) for user in users} == model
    assert list(roster) == users


def test_the_least_and_the_greatest_user_number_are_users_like_others() -> None:
    for size in (2, 16, 17, 1_000):
        users = [0, USER_MAX, *range(1, size - 1)]
        roster = Roster(users)
        assert roster.set_status(USER_MAX, 3) is True
        assert (roster.status(0), roster.status(USER_MAX)) == (PENDING, 3)
        assert list(roster) == users


def test_places_of_a_page_that_nobody_has_taken_hold_nobody() -> None:
    for size in range(70):
        roster = Roster(range(1, size + 1))
        assert roster.status(0) is None
        assert roster.status(size + 1) is None
        assert list(roster) == list(range(1, size + 1))


@pytest.mark.parametrize("size", [size for size in SIZES if size > 1])
def test_a_user_who_is_in_the_list_twice_is_refused(size: int) -> None:
    users = list(range(size))
    for first, second in ((0, size - 1), (size - 1, 0), (size // 2, size // 2 - 1)):
        twice = users.copy()
        twice[second] = twice[first]
        with pytest.raises(ValueError, match="users: a user is in the list twice"):
            Roster(twice)
    with pytest.raises(ValueError, match="twice"):
        Roster([1, True])


def test_any_iterable_of_users_makes_a_roster() -> None:
    sources: list[Iterable[int]] = [(3, 1, 2), iter([3, 1, 2]), dict.fromkeys([3, 1, 2])]
    for source in sources:
        assert list(Roster(source)) == [3, 1, 2]


def broken() -> Iterable[int]:
    yield 1
    raise RuntimeError("the source broke off")


def test_what_is_no_list_of_user_numbers_is_refused() -> None:
    for wrong in (None, 5, [None], ["1"], "12", [[1]], [1, object()]):
        with pytest.raises(TypeError):
            Roster(wrong)  # type: ignore[arg-type]
    for number in (-1, 2**32, 2**64, -(2**70)):
        with pytest.raises(OverflowError):
            Roster([1, number])
        with pytest.raises(OverflowError):
            Roster([1]).status(number)
    with pytest.raises(RuntimeError, match="broke off"):
        Roster(broken())


@pytest.mark.parametrize("status", [STATUSES, 255])
def test_a_status_that_there_is_not_is_refused_and_changes_nothing(status: int) -> None:
    roster = Roster([1, 2])
    for user in (1, 3):
        with pytest.raises(ValueError, match=f"status: 0 to 5, not {status}"):
            roster.set_status(user, status)
    for number in (-1, 256):
        with pytest.raises(OverflowError):
            roster.set_status(1, number)
    assert roster.status(1) == PENDING


def test_an_invitee_costs_at_most_28_bytes_in_a_long_list() -> None:
    for size in (1_000, 10_000, 100_000):
        assert Roster(range(size)).memory_bytes <= 28 * size
    assert Roster([]).memory_bytes == 0


def test_memory_never_exceeds_a_page_and_28_bytes_an_invitee() -> None:
    page_bytes = Roster([0]).memory_bytes
    for size in range(200):
        assert Roster(range(size)).memory_bytes <= page_bytes + 28 * size
