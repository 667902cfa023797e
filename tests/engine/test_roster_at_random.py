"""Rosters against dicts, as a machine uses them: many in the same pages, ending in any order.

`test_roster` looks at one list by itself. Here lists of up to 100,000 invitees end from the front,
from the back, and in every other order; lists of many sizes share pages and users; and what a list
has taken it gives back, whole, so that the next one costs no more memory.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from machine_talk import START_MS, make, refused, statuses
from scale import scaled

from pysignal.engine.machine import Machine

SIZES = [1, 2, 7, 8, 9, 16, 17, 24, 25, 1_000, 10_000]
LIST_MAX = 100_000
KEEP_MS = 60_000
MODEL_STATUS = {"accept": "accepted", "reject": "rejected"}


def front(users: list[str], _: random.Random) -> list[str]:
    return users


def back(users: list[str], _: random.Random) -> list[str]:
    return users[::-1]


def alternate(users: list[str], _: random.Random) -> list[str]:
    return users[::2] + users[1::2][::-1]


def shuffled(users: list[str], rng: random.Random) -> list[str]:
    return rng.sample(users, len(users))


def from_the_middle(users: list[str], _: random.Random) -> list[str]:
    middle = len(users) // 2
    pairs = zip(users[:middle][::-1], users[len(users) - middle :], strict=True)
    return users[middle : len(users) - middle] + [user for pair in pairs for user in pair]


PATTERNS = [front, back, alternate, shuffled, from_the_middle]
CASES = [(size, pattern) for size in SIZES for pattern in PATTERNS]
CASES += [(LIST_MAX, back), (LIST_MAX, shuffled)]


def names(count: int) -> list[str]:
    return [f"guest {number}" for number in range(count)]


def some_answers(machine: Machine, invite_id: str, users: list[str], rng: random.Random) -> None:
    """Let users answer, in this order, and compare each event with a dict of who is pending."""
    pending = dict.fromkeys(list(statuses(machine, invite_id)))
    for user in users:
        kind = rng.choice(["accept", "reject"])
        getattr(machine, kind)(START_MS, invite_id, user)
        del pending[user]
        (event,) = machine.take()
        assert (event.kind, event.affected) == (MODEL_STATUS[kind], (user,))
        assert event.ends == (not pending)
        if len(pending) < 10 or rng.random() < 3 / len(pending):
            assert event.pending == tuple(pending)


@pytest.mark.parametrize(("size", "pattern"), CASES)
def test_answers_in_any_order_leave_the_others_pending_in_invited_order(
    size: int, pattern: Callable[[list[str], random.Random], list[str]]
) -> None:
    size = size if size <= 1_000 else scaled(size, at_least=1_000)
    rng = random.Random(size)
    machine = make(invitees_max=LIST_MAX)
    users = names(size)
    rng.shuffle(users)
    invite_id = machine.open(START_MS, "host", users, group_id="g")
    machine.take()
    order = pattern(users, rng)
    assert sorted(order) == sorted(users)
    # All but a few: the rest stays pending, in invited order, and nobody else is concerned.
    last = set(order[-3:])
    some_answers(machine, invite_id, order[:-3], rng)
    machine.check()
    told = statuses(machine, invite_id)
    assert list(told) == users
    assert {user for user, status in told.items() if status == "pending"} == last
    for user in (order[0], order[-1], users[0], users[-1]):
        waits = [info.invite_id for info in machine.pending_of(user)]
        assert waits == ([invite_id] if user in last else [])
    for stranger in ("host", "guest -1", f"guest {size}", "guest 00", ""):
        refused(machine, "not_party", machine.accept, START_MS, invite_id, stranger)
    if len(order) > 3:
        refused(machine, "answered", machine.reject, START_MS, invite_id, order[0])
    machine.cancel(START_MS, invite_id, "host")
    (event,) = machine.take()
    assert event.affected == tuple(user for user in users if user in last)
    assert event.pending == ()
    machine.check()


@pytest.mark.parametrize("size", [2, 8, 9, 16, 17, 25, 10_000])
def test_all_but_one_may_answer_and_that_one_ends_it(size: int) -> None:
    rng = random.Random(size)
    users = names(size if size <= 100 else scaled(size, at_least=100))
    for place in {0, 1, len(users) // 2, len(users) - 1}:
        machine = make()
        invite_id = machine.open(START_MS, "host", users)
        machine.take()
        last = users[place]
        some_answers(machine, invite_id, [user for user in users if user != last], rng)
        info = machine.info(invite_id)
        assert info is not None
        assert (info.state, info.pending) == ("open", [last])
        machine.accept(START_MS, invite_id, last)
        (event,) = machine.take()
        assert event.ends
        assert machine.stats()["open"] == 0
        machine.check()


def test_a_list_with_a_user_twice_is_refused_at_every_size_and_takes_nothing() -> None:
    machine = make(invitees_max=LIST_MAX)
    for size in [2, 8, 9, 16, 17, 25, 1_000, scaled(LIST_MAX, at_least=2_000)]:
        users = names(size)
        for first, second in ((0, size - 1), (size // 2, size // 2 - 1)):
            twice = [*users[:second], users[first], *users[second + 1 :]]
            with pytest.raises(ValueError, match="invitees: a user is in the list twice"):
                machine.open(START_MS, "host", twice)
            assert machine.position == 0
    machine.check()
    assert machine.stats()["slots"] == 0


def test_one_more_than_the_longest_list_is_refused_and_takes_nothing() -> None:
    machine = make(invitees_max=LIST_MAX)
    with pytest.raises(ValueError, match="invitees: at most 100000, not 100001"):
        machine.open(START_MS, "host", names(LIST_MAX + 1))
    machine.advance(START_MS)  # the host's name, which nothing mentions, is let go
    machine.check()
    assert (machine.position, machine.stats()["users"]) == (0, 0)


# -- many lists in the same pages ------------------------------------------------------------------


class Lists:
    """Open lists of a machine beside dicts of statuses."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.machine = make(ended_keep_ms=KEEP_MS, invitees_max=LIST_MAX)
        self.now_ms = START_MS
        self.open_lists: dict[str, dict[str, str]] = {}
        self.users = names(400)

    def open(self) -> None:
        rng = self.rng
        size = rng.choice([0, 1, 2, 7, 8, 9, 15, 16, 17, 24, 33, rng.randrange(400)])
        users = rng.sample(self.users, size)
        invite_id = self.machine.open(
            self.now_ms, "host", users, "", 30 * 86_400_000, group_id=rng.choice(["g", "h"])
        )
        if users:
            self.open_lists[invite_id] = dict.fromkeys(users, "pending")

    def answer(self) -> None:
        if not self.open_lists:
            return
        invite_id = self.rng.choice(list(self.open_lists))
        told = self.open_lists[invite_id]
        for user in self.rng.sample(self.users, 10):
            kind = self.rng.choice(["accept", "reject"])
            operation = getattr(self.machine, kind)
            if user not in told:
                refused(self.machine, "not_party", operation, self.now_ms, invite_id, user)
            elif told[user] != "pending":
                refused(self.machine, "answered", operation, self.now_ms, invite_id, user)
            else:
                operation(self.now_ms, invite_id, user)
                told[user] = MODEL_STATUS[kind]
                if "pending" not in told.values():
                    del self.open_lists[invite_id]
                    return

    def leave(self) -> None:
        user, group = self.rng.choice(self.users), self.rng.choice(["g", "h"])
        part_of = [info.invite_id for info in self.machine.open_in(group)]
        self.machine.leave(self.now_ms, user, group)
        for invite_id in part_of:
            told = self.open_lists[invite_id]
            if told.get(user) == "pending":
                told[user] = "rejected"
                if "pending" not in told.values():
                    del self.open_lists[invite_id]

    def cancel(self) -> None:
        if self.open_lists:
            invite_id = self.rng.choice(list(self.open_lists))
            del self.open_lists[invite_id]
            self.machine.cancel(self.now_ms, invite_id, "host")

    def forget(self) -> None:
        """Let what has ended go, so that its pages go to the next lists."""
        self.machine.take()
        self.now_ms += KEEP_MS
        self.machine.advance(self.now_ms)

    def check(self) -> None:
        self.machine.check()
        waits: dict[str, list[str]] = {user: [] for user in self.users}
        for invite_id, told in self.open_lists.items():
            found = statuses(self.machine, invite_id)
            assert found == told
            assert list(found) == list(told), "not in invited order"
            for user, status in told.items():
                if status == "pending":
                    waits[user].append(invite_id)
        for user in self.rng.sample(self.users, 40):
            assert [info.invite_id for info in self.machine.pending_of(user)] == waits[user]
        listed = {info.invite_id for info in self.machine.open_lists()}
        assert listed == set(self.open_lists)


@pytest.mark.parametrize("seed", range(3))
def test_lists_that_share_pages_and_users_are_dicts_by_themselves(seed: int) -> None:
    history = Lists(seed)
    acts = [history.open, history.answer, history.leave, history.cancel, history.forget]
    for step in range(scaled(1_000, at_least=150)):
        # In turns more come than go, and more go than come.
        weights = [30, 40, 8, 10, 3] if step // 100 % 2 else [15, 40, 8, 40, 8]
        history.rng.choices(acts, weights)[0]()
        if step % 40 == 0:
            history.check()
    history.check()


def memory_after(machine: Machine, sizes: list[int], rng: random.Random, now_ms: int) -> int:
    """Open lists of these sizes, end them all in any order, and return the memory when forgotten.

    The first invitee of each answers early, so that lists end in another order than they came.
    """
    users = names(max(sizes))
    ids = [machine.open(now_ms, "host", users[:size], group_id="g") for size in sizes]
    machine.take()
    for invite_id in rng.sample(ids, len(ids)):
        machine.accept(now_ms, invite_id, users[0])
        if rng.random() < 0.7:
            info = machine.info(invite_id)
            if info is not None and info.state == "open":
                machine.cancel(now_ms, invite_id, "host")
    machine.advance(now_ms + 30_000)  # the others time out
    machine.take()
    machine.advance(now_ms + 30_000 + KEEP_MS)
    machine.check()
    stats = machine.stats()
    assert (stats["open"], stats["ended_remembered"], stats["facts_waiting"]) == (0, 0, 0)
    return stats["memory_bytes"]


def test_pages_and_tables_of_lists_that_are_forgotten_serve_the_next_ones() -> None:
    """The memory of an empty machine stays what the first burst needed, whatever sizes follow."""
    rng = random.Random(1)
    machine = make(ended_keep_ms=KEEP_MS, invitees_max=LIST_MAX)
    pages = scaled(4_000, at_least=200)
    now_ms = START_MS
    bursts = [[8] * pages, [8 * pages], [1] * pages, [16] * (pages // 2), [17, 7] * (pages // 4)]
    bursts += [[4 * pages, 4 * pages - 9], [25, 7] * (pages // 5), [8 * pages], [8] * pages]
    after = []
    for sizes in bursts:
        after.append(memory_after(machine, sizes, rng, now_ms))
        now_ms = machine.now_ms
    # The second burst is one list of all pages: its users are entered then.
    assert after[2:] == [after[1]] * (len(bursts) - 2)
