"""Random histories are as the model says: a hundred thousand of a machine, and as many of a hub."""

from __future__ import annotations

import subprocess
import sys

import pytest
import uvloop
from scale import scaled

from oracle import bulk, hub_history, machine_run
from oracle.calls import Calls
from oracle.source import Bytes, Seeded

SEED = 1_000_000


@pytest.mark.parametrize("over", ["machine", "hub"])
def test_random_histories_are_as_the_model_says(over: str) -> None:
    bulk.run(scaled(100_000), SEED, over)


@pytest.mark.parametrize("over", ["hub", "crashes"])
def test_the_same_seed_is_the_same_history(over: str) -> None:
    """Also in another process, whose strings hash differently."""
    command = [sys.executable, "-m", "oracle.bulk", "--over", over, "--show", "--seed", "7"]
    told = [
        subprocess.run(
            [*command, "--count", "12", "--share", "0/1"],
            env=bulk.environment() | {"PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1]
    assert told[0].count("\n") > 12 * hub_history.OPERATIONS


@pytest.mark.parametrize("over", ["machine", "hub"])
def test_bytes_make_histories_that_end_with_them(over: str) -> None:
    for length in range(0, 120, 7):
        data = bytes(Seeded(length).below(256) for _ in range(length))
        bulk.run_one(over, Bytes(data))


def test_a_history_that_fails_is_told_with_its_seed_and_the_acts_to_blame(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgets_to_cancel(self: Calls, user: str, group: str) -> None:
        """Leaves own invitations open, where the inviter leaves the group."""

    monkeypatch.setattr(Calls, "leave", forgets_to_cancel)
    with pytest.raises(SystemExit) as caught:
        bulk.run_here(range(1_000), "machine")
    told = str(caught.value)
    assert "make histories SEED=" in told
    assert "OVER=machine N=1" in told
    assert "leave(" in told
    assert told.count("\n    ") <= 4  # an opening, the leaving, perhaps a wait


def test_histories_meet_every_refusal() -> None:
    """Drawing nothing that is refused would prove little."""
    in_machines, in_hubs = set(), set()
    for seed in range(600):
        in_machines |= machine_run.run_history(Seeded(seed)).refusals
        in_hubs |= uvloop.run(hub_history.run_history(Seeded(seed))).codes
    assert in_machines == {
        "unknown", "ended", "answered", "not_party", "not_modifiable", "conflict", "table_full",
    }  # fmt: skip
    assert in_hubs == {
        6014, 6017, 7008, 7014, 8001, 8006, 8010, 8011, 8012, 8508, 10007, 10009, 10010, 10021,
    }  # fmt: skip
