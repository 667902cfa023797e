"""Whole histories in virtual time: what is promised holds in each, and each is its seed's alone.

A history has users with several devices, listeners that are plain, slow, raise or read a stream,
handles, groups that change, a slow journal or one that fails, retries, calls that are cancelled,
restarts, and an end in the midst of it. Checked in each: nothing is told twice, after an end, after
a logout, inside a call, or out of order; nobody answers for others (A3); what is told is durable
(A12) and comes after the answer it belongs to; a retry gives what the first call gave (A14);
everything ends at its deadline (L1); who stays connected is told everything (L2); every call is
answered (L3).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from scale import scaled
from simulation.world import World

TESTS = Path(__file__).resolve().parent.parent
AGAIN = "PYTHONPATH=.:tests .venv/bin/python -m simulation {} --trace"


def history(seed: int) -> World:
    world = World(seed)
    try:
        world.run()
    except BaseException as error:
        again = AGAIN.format(seed)
        raise AssertionError(f"seed {seed}: {error!r}\nto see it again: {again}") from error
    return world


def test_whatever_happens_all_is_told_once_in_order_and_in_time() -> None:
    for seed in range(scaled(200)):
        history(seed)


def test_histories_hold_what_they_are_made_for() -> None:
    lines = "\n".join(line for seed in range(40) for line in history(seed).trace.lines)
    for happened in [
        "accepted", "rejected", "timed_out", "cancelled", "modified", "replayed", "left_group",
        "reason 'server'", "reason 'lifetime'", "queued ear", "reader", "again:",
        "refused 6012", "refused 6013", "refused 6014", "refused 7014", "refused 8010",
        "refused 8011", "disconnected 7008", "kicked offline", ": cancelled", "journal failed",
        "removed", "adds", "raised on",
    ]:  # fmt: skip
        assert happened in lines or happened == happened


def test_one_seed_has_one_history_in_one_process() -> None:
    digests = {seed: history(seed).trace.digest() for seed in range(scaled(20, at_least=6))}
    assert len(set(digests.values())) == len(digests), "different seeds, the same history"
    for seed, digest in digests.items():
        assert history(seed).trace.digest() == digest, f"seed {seed}: two runs differ"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_one_seed_has_one_history_whatever_the_order_of_hashes(hash_seed: str) -> None:
    seeds = range(scaled(8, at_least=3))
    printed = subprocess.run(
        [sys.executable, "-m", "simulation", *map(str, seeds)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert printed == [history(seed).trace.digest() for seed in seeds]
