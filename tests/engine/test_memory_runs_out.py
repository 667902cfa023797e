"""The n-th allocation that fails gives a clean error, for every n: nothing is half done (E6).

The programs in `tests/scarce` run in processes of their own, in which an allocator stands before
all others and fails where it is told to. Linux only, as it rests on LD_PRELOAD.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest
from scarce.memory import run

ROOT = Path(__file__).parent.parent.parent
COMPILED = sorted([*ROOT.glob("engine/*.p[yx][xd]"), *ROOT.glob("pysignal/*.p[yx][xd]")])

# A list made of what is computed, `[call(x) for x in …]`; of plain names it may be made.
IN_BRACKETS = r"(?:[^\[\]]|\[[^\[\]]*\])*?"
MADE_OF_CALLS = re.compile(rf"\[(?!\s*\w+\s+for\b){IN_BRACKETS}\sfor\s{IN_BRACKETS}\sin\s")

scarce = pytest.mark.skipif(
    not sys.platform.startswith("linux") or shutil.which("gcc") is None,
    reason="LD_PRELOAD and gcc are needed",
)


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.name)
def test_no_compiled_list_is_made_of_calls_by_a_comprehension(path: Path) -> None:
    """What Cython 3.3 makes of one gives an item back twice when there is no memory for it."""
    assert not MADE_OF_CALLS.findall(path.read_text())


@scarce
def test_every_failing_allocation_leaves_the_machine_whole(tmp_path: Path) -> None:
    of_engine, of_python = run("machine.py", tmp_path).split()
    assert int(of_engine) > 50  # it did happen
    assert int(of_python) > 1000


@scarce
def test_what_fails_in_a_turn_of_a_hub_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    bare, journaled = run("hub.py", tmp_path).splitlines()
    allocations, disconnected = map(int, bare.split())
    assert allocations > 50
    assert 0 < disconnected < allocations
    allocations, disconnected = map(int, journaled.split())
    assert allocations > 50
    assert disconnected == 0  # nothing is told in that turn


@scarce
def test_what_is_carried_out_at_once_happens_wholly_or_not_at_all(tmp_path: Path) -> None:
    assert int(run("quick.py", tmp_path)) > 30
