"""What is kept of requests, against a model that is easy to see through, at random."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from scale import scaled

from pysignal.errors import InvalidParameter, InvitationEnded, LimitExceeded
from pysignal.journal.results import of_request, request_of
from pysignal.requests import Requests
from pysignal.shard import MORE

KEEP_MS = 50


@dataclass
class Model:
    """Lists, looked through from end to end."""

    count_max: int = 3
    keep_ms: int = KEEP_MS
    now_ms: int = 1000
    kept: list[tuple[str, str, int, Any, Any]] = field(default_factory=list)

    def once(self, user: str, name: str, arguments: Any, outcome: Any) -> Any:
        self.kept = [each for each in self.kept if each[2] + self.keep_ms > self.now_ms]
        for each in self.kept:
            if each[:2] == (user, name):
                return each[4] if each[3] == arguments else InvalidParameter
        if outcome is not LimitExceeded and outcome is not MORE:
            self.kept.append((user, name, self.now_ms, arguments, outcome))
            own = [each for each in self.kept if each[0] == user]
            if len(own) > self.count_max:
                self.kept.remove(own[0])
        return outcome

    def of_user(self, user: str) -> list[tuple[str, int]]:
        return [(each[1], each[2]) for each in self.kept if each[0] == user]


def carry_out(requests: Requests, now_ms: int, user: str, name: str, call: Any) -> Any:
    arguments, outcome = call

    def command(_: int) -> Any:
        if isinstance(outcome, type):
            raise outcome("refused")
        return outcome

    try:
        return requests.once(user, name, arguments, command)(now_ms)
    except (LimitExceeded, InvitationEnded, InvalidParameter) as error:
        return type(error)


def picture(requests: Requests, users: str) -> list[list[tuple[str, int]]]:
    return [[(each.name, each.at_ms) for each in requests.of_user(user)] for user in users]


@pytest.mark.parametrize("journaled", [False, True], ids=["bare", "journal"])
@pytest.mark.parametrize(
    ("names", "count_max", "keep_ms"),
    [(6, 3, KEEP_MS), (6, 1, KEEP_MS), (6, 3, 1), (6, 3, 0), (60, 40, 5000), (300, 100, 1000)],
)
def test_what_is_kept_is_as_the_model_says(
    names: int, count_max: int, keep_ms: int, journaled: bool
) -> None:
    for seed in range(scaled(100, 10)):
        dice, model = random.Random(seed), Model(count_max, keep_ms)
        requests = Requests(lambda model=model: model.now_ms, keep_ms, count_max, journaled)
        for step in range(max(150, 3 * names)):
            user, name = dice.choice("abc"), str(dice.randrange(names))
            outcome = dice.choice([step, "text", None, MORE, LimitExceeded, InvitationEnded])
            call = ("invite", dice.randrange(2)), outcome
            found = carry_out(requests, model.now_ms, user, name, call)
            assert found == model.once(user, name, *call), (seed, step)
            if keep_ms == 0:
                model.kept = model.kept[-1:]
            assert picture(requests, "abc") == [model.of_user(each) for each in "abc"], (seed, step)
            assert len(requests) == len(model.kept), (seed, step)
            assert set(requests.users()) == {each[0] for each in model.kept}, (seed, step)
            model.now_ms += dice.choice([0, 0, 0, 1, 5, 20, KEEP_MS])


def test_what_a_journal_has_kept_is_back_in_any_order_and_however_often() -> None:
    for seed in range(scaled(300, 20)):
        dice, model = random.Random(seed), Model()
        requests = Requests(lambda model=model: model.now_ms, KEEP_MS, 1000)
        for step in range(40):
            call = ("invite",), dice.choice(["text", None, InvitationEnded])
            carry_out(requests, model.now_ms, dice.choice("abc"), str(step), call)
            model.now_ms += dice.choice([0, 1, 5])
        alive = {
            (each.user, each.name)
            for user in "abc"
            for each in requests.of_user(user)
            if each.at_ms + KEEP_MS > model.now_ms
        }
        entries = [of_request(each) for user in "abc" for each in requests.of_user(user)]
        entries = dice.sample(entries * 2, 2 * len(entries))
        back = Requests(lambda model=model: model.now_ms, KEEP_MS, 1000)
        for entry in entries:
            back.bring_back(request_of(entry))
        back.settle()
        found = {(each.user, each.name) for user in "abc" for each in back.of_user(user)}
        assert found == alive, seed
        assert len(back) == len(alive)
        model.now_ms += KEEP_MS
        assert carry_out(back, model.now_ms, "z", "z", (("x",), 1)) == 1
        assert (len(back), back.users()) == (1, ["z"]), seed


def test_a_table_of_no_size_keeps_nothing() -> None:
    requests = Requests(lambda: 1, KEEP_MS, 0, True)
    for number in range(3):
        assert carry_out(requests, 1, "a", "r", (("x",), number)) == number
    assert (len(requests), requests.users(), requests.of_user("a")) == (0, [], [])
