"""Every invariant has a check and a bug that the check must notice; `make mutants` plants them.

Here is only what keeps them from rotting: that each bug still fits to the sources, and that the
page docs/invariants.md, the tests and the bugs name the same invariants.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
try:
    from mutants import PLANTED, Bug, plant, read_bug, read_bugs
finally:
    sys.path.pop(0)

PAGE = (ROOT / "docs" / "invariants.md").read_text()
ROW = re.compile(r"^\| ([A-Z]\d+) \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
INVARIANTS = {row[1]: row for row in ROW.finditer(PAGE)}
BUGS = read_bugs()
TESTS = {
    path.name: set(
        re.findall(r"^(?:async )?def (test_[a-z]\d+_\w+)", path.read_text(), re.MULTILINE)
    )
    for path in Path(__file__).parent.glob("test_*.py")
}


def test_the_page_names_every_invariant_once() -> None:
    wanted = [f"A{n}" for n in range(1, 17)] + [f"B{n}" for n in range(1, 7)]
    wanted += [f"E{n}" for n in range(1, 8)] + ["L1", "L2", "L3"] + [f"C{n}" for n in range(1, 9)]
    assert [row[1] for row in ROW.finditer(PAGE)] == wanted


@pytest.mark.parametrize("name", INVARIANTS)
def test_an_invariant_has_a_check_that_bears_its_name_and_a_bug(name: str) -> None:
    *_, checks, planted = INVARIANTS[name].groups()
    prefix = f"test_{name.lower()}_"
    files = {file for file, tests in TESTS.items() if any(t.startswith(prefix) for t in tests)}
    assert files
    assert files <= {path.rpartition("/")[2] for path in re.findall(r"`([^`]+)`", checks)}
    bugs = [bug.name for bug in BUGS if bug.invariant == name]
    assert bugs
    assert re.findall(r"`([^`]+)`", planted) == bugs


@pytest.mark.parametrize("name", INVARIANTS)
def test_the_checks_that_the_page_names_exist(name: str) -> None:
    for path in re.findall(r"`([^`]+)`", INVARIANTS[name][3]):
        assert (ROOT / "tests" / path).exists(), path


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_says_what_it_breaks_and_fits_to_the_sources(bug: Bug) -> None:
    assert bug.sentence.endswith(".")
    assert bug.invariant in INVARIANTS
    assert bug.hunks
    plant(ROOT, bug, dry=True)


def test_a_bug_that_does_not_fit_is_noticed(tmp_path: Path) -> None:
    patch = tmp_path / "A1.patch"
    patch.write_text((PLANTED / "A1.patch").read_text().replace("# ACCEPTED", "# ACCEPTANCE"))
    with pytest.raises(ValueError, match=r"A1: does not fit to engine/core\.pyx"):
        plant(ROOT, read_bug(patch), dry=True)


def test_planting_changes_the_lines_of_the_patch_alone(tmp_path: Path) -> None:
    source = tmp_path / "pysignal" / "engine" / "one.pyx"  # as an sdist has it
    source.parent.mkdir(parents=True)
    source.write_text("a\nb\nc\nd\n")
    patch = tmp_path / "A1-some.patch"
    patch.write_text(
        "What it breaks.\n\n--- a/engine/one.pyx\n+++ b/engine/one.pyx\n"
        "@@ -2,2 +2,3 @@\n b\n-c\n+C\n+\n"
    )
    bug = read_bug(patch)
    assert (bug.invariant, bug.tests, bug.sentence) == ("A1", "test_a1_", "What it breaks.")
    plant(tmp_path, bug)
    assert source.read_text() == "a\nb\nC\n\nd\n"
