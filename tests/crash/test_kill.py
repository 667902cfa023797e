"""A server that is killed at random points is back with everything that it acknowledged."""

from __future__ import annotations

import pytest
from scale import scaled

from crash.bugs import BUGS
from crash.rounds import ROUNDS, play

KILLS = 200


def test_a_server_that_is_killed_at_random_points_keeps_every_promise() -> None:
    tally = play(scaled(KILLS, at_least=2 * ROUNDS), seed=0)
    assert tally.answers > 3 * tally.rounds
    assert tally.rings > 3 * tally.rounds
    met = {name: value for name, value in vars(tally).items() if not value}
    assert not met or tally.rounds < KILLS, f"not met: {met}"


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_noticed(bug: str) -> None:
    with pytest.raises(AssertionError, match="python -m crash --rounds 10 --seed") as caught:
        play(KILLS, seed=1, bug=bug)
    # Where a record is missing, opening may refuse those that came after it, before anybody asks.
    if bug != "lose_a_record":
        assert "the server failed" not in str(caught.value), "by its fall, not by its promises"
