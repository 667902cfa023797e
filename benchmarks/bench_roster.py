"""Lists of invitees: an answer finds its invitee in a list of any length."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import operands
import pytest
from measure import Measure, Size, cpu_ns

from pysignal.engine.roster import Roster

OPERATIONS = 100_000
PENDING, ACCEPTED = 1, 2


@pytest.mark.sizes(1_000, 10_000, 100_000, 1_000_000)
def test_answer_in_the_core(
    measure: Measure, core_cycle: ModuleType, naive: ModuleType, size: Size
) -> None:
    """Everybody who was invited accepts, in random order; each answer is a fact."""
    lists = max(measure.operations(OPERATIONS) // size, 1)
    invitees = operands.packed([1 + k for k in range(size)])
    order = operands.packed([1 + k for k in operands.permutation(size)])
    users = operands.names(size + 1)
    answering = tuple(users[1 + k] for k in operands.permutation(size))
    asked: list[Any] = []

    def prepare() -> None:
        asked[:] = [core_cycle.Answers(invitees) for _ in range(lists)]
        for one in asked:
            one.open()

    def run() -> None:
        for one in asked:
            one.answer(order)

    def verify() -> None:
        for one in asked:
            assert one.counts == (0, size)
            assert one.facts == 1 + size
            one.check()

    def naive_answers() -> float:
        told: list[None] = []
        engines = [naive.Engine(lambda *_: told.append(None)) for _ in range(lists)]
        ids = [engine.invite(0.0, users[0], list(users[1:]), "data", 30.0) for engine in engines]

        def answer() -> None:
            for engine, invite_id in zip(engines, ids, strict=True):
                for user in answering:
                    engine.accept(0.0, invite_id, user, "yes")

        figure = cpu_ns(answer, size * lists)
        assert len(told) == 2 * size * lists
        return figure

    row = measure(
        "answer in a list, C",
        size,
        size * lists,
        run,
        prepare=prepare,
        verify=verify,
        rivals={"naive": naive_answers},
        slow=True,
    )
    measure.figure(f"core_group_answer_ns_{size.name}", row)


def test_set_status(measure: Measure, size: Size) -> None:
    """Ask where a user stands and set it, through the Python face; a dict of names is the rival."""
    lists = max(measure.operations(OPERATIONS) // size, 1)
    numbers = operands.permutation(size)
    users = operands.names(size)
    names = tuple(users[k] for k in numbers)
    rosters: list[Roster] = []

    def prepare() -> None:
        rosters[:] = [Roster(range(size)) for _ in range(lists)]

    def run() -> None:
        for roster in rosters:
            status, set_status = roster.status, roster.set_status
            for user in numbers:
                if status(user) == PENDING:
                    set_status(user, ACCEPTED)

    def verify() -> None:
        for roster in rosters:
            assert all(roster.status(user) == ACCEPTED for user in roster)

    def dicts() -> float:
        tables = [dict.fromkeys(users, "pending") for _ in range(lists)]

        def answer() -> None:
            for table in tables:
                for user in names:
                    if table.get(user) == "pending":
                        table[user] = "accepted"

        return cpu_ns(answer, size * lists)

    row = measure(
        "status asked and set, Python",
        size,
        size * lists,
        run,
        prepare=prepare,
        verify=verify,
        rivals={"dict": dicts},
        slow=True,
    )
    measure.figure(f"roster_set_status_ns_{size.name}", row)


def test_make(measure: Measure, size: Size) -> None:
    """Make the table of a list that has just been invited."""
    lists = max(measure.operations(OPERATIONS) // size, 1)
    numbers = operands.permutation(size)
    users = operands.names(size)
    rosters: list[Roster] = []

    def run() -> None:
        rosters[:] = [Roster(numbers) for _ in range(lists)]

    def verify() -> None:
        assert all(tuple(roster) == numbers for roster in rosters)

    row = measure(
        "list made, an invitee, Python",
        size,
        size * lists,
        run,
        prepare=rosters.clear,
        verify=verify,
        rivals={
            "dict": lambda: cpu_ns(
                lambda: [dict.fromkeys(users, "pending") for _ in range(lists)], size * lists
            )
        },
        slow=True,
    )
    measure.figure(f"roster_make_ns_{size.name}", row)
