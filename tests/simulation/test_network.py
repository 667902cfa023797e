"""A server and its clients in virtual time, over a network that loses, delays and breaks.

A history has users with several devices, clients that hear in several ways, die and come back, are
kicked, log out, or whose tokens expire; connections that are slow, break at any point or die in
silence; readers that stop reading; a server that is stopped or crashes, with a journal or without.
Checked in each: every call resolves, in time, with the truth (B5): what was acknowledged happened
once and outlives crashes (C1, A14), what was refused did not happen, 6012 is said only where no
answer came. Nobody hears anything twice, out of order, after an end, before the answer that belongs
to it, or before it is durable (B1 to B4, A12). Who is connected was told everything (L2), compared
with the handles of the embedding server and with embedded sessions of the same users; every request
was answered, or its connection closed (L3). A snapshot is how things stand. In the end nothing is
left: no task, timer, session or connection.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scale import scaled
from simulation.network_world import NetworkWorld

pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

TESTS = Path(__file__).resolve().parent.parent
AGAIN = "PYTHONPATH=.:tests .venv/bin/python -m simulation --network {} --trace"


def history(seed: int) -> NetworkWorld:
    world = NetworkWorld(seed)
    try:
        world.run()
    except BaseException as error:
        again = AGAIN.format(seed)
        raise AssertionError(f"seed {seed}: {error!r}\nto see it again: {again}") from error
    if seed % 32 == 0:
        gc.collect()  # a world is a knot of its processes
    return world


def test_whatever_the_network_does_all_is_told_and_answered_once() -> None:
    for seed in range(scaled(2000)):
        history(seed)


def test_histories_hold_what_they_are_made_for() -> None:
    lines = "\n".join(line for seed in range(80) for line in history(seed).trace.lines)
    for happened in [
        "accepted", "rejected", "timed_out", "cancelled", "modified", "replayed", "g is n",
        "recovered True", "recovered False", "lost its connection 6012", "kicked offline",
        "token expired", "disconnected 7008", "login refused", "has logged out", "is killed",
        "comes hot", "comes cold", "breaks", "breaks in silence", "stalls", "crashes", "stops",
        "with 1000", "with 1001", "with 4401", "with 4408", "with 4409", "with 4429",
        "refused 6012", "refused 6014", "refused 8010", "refused 8011", "refused 7014",
        "outcome of", "followed",
    ]:  # fmt: skip
        assert happened in lines, f"it never happens: {happened}"


def test_one_seed_has_one_history_in_one_process() -> None:
    digests = {seed: history(seed).trace.digest() for seed in range(scaled(20, at_least=6))}
    assert len(set(digests.values())) == len(digests), "different seeds, the same history"
    for seed, digest in digests.items():
        assert history(seed).trace.digest() == digest, f"seed {seed}: two runs differ"


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_one_seed_has_one_history_whatever_the_order_of_hashes(hash_seed: str) -> None:
    seeds = range(scaled(8, at_least=3))
    printed = subprocess.run(
        [sys.executable, "-m", "simulation", "--network", *map(str, seeds)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": f"{TESTS.parent}:{TESTS}"},
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    assert printed == [history(seed).trace.digest() for seed in seeds]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A hub that crashed was never closed; each world sees to the one that was."""
    yield
    gc.collect()  # while nobody is warned of what killed processes have not awaited
