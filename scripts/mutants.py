"""Plant each known bug in a copy of the tree, and see that the check of its invariant fails.

    .venv/bin/python scripts/mutants.py A3 B1

A bug is a small patch in tests/invariants/planted, named after the invariant that it breaks
(docs/invariants.md): `A3-replay.patch` breaks A3, so a test named `test_a3_…` has to fail in a copy
that was built with it, by an assertion of its own. A bug that no such test notices survives, and
makes the run fail. The same tests must pass in the copy before anything is planted.

The copies are built as a release, where the asserts of the core are left out: what they would stop
earlier is no merit of the checks. Without arguments all bugs are planted, one after another.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

from variant import ROOT, VARIANTS, compile_tree, copy_tree

PLANTED = ROOT / "tests" / "invariants" / "planted"

# The compiler's work is most of a run, and how fast the checks are matters little.
CFLAGS = "-O0"

# A check that has found nothing by then hangs, which is no way to notice a bug.
CHECK_S = 120

# How a failed assertion begins; any other error in a test may have many reasons.
ASSERTED = ("assert", "AssertionError", "Failed: DID NOT RAISE")

HUNK = re.compile(r"^@@ -\d+(?:,\d+)? \+\d+(?:,\d+)? @@")


class Hunk(NamedTuple):
    """One place of a patch: the file, the lines that it takes out, and what stands there then."""

    path: str
    old: str
    new: str


class Bug(NamedTuple):
    """A patch: its name, what it breaks, in a sentence, and where."""

    name: str
    sentence: str
    hunks: list[Hunk]

    @property
    def invariant(self) -> str:
        """The name of the invariant, such as A3."""
        return self.name.partition("-")[0]

    @property
    def tests(self) -> str:
        """How the names of the tests begin that must notice it."""
        return f"test_{self.invariant.lower()}_"


def read_bug(path: Path) -> Bug:
    """Read a patch: a unified diff below a line or more that say what is broken."""
    head: list[str] = []
    hunks: list[Hunk] = []
    name = ""
    for line in path.read_text().splitlines(keepends=True):
        if line.startswith("+++ b/"):
            name = line.removeprefix("+++ b/").strip()
        elif HUNK.match(line):
            hunks.append(Hunk(name, "", ""))
        elif line.startswith("--- a/"):
            name = ""
        elif not hunks and not name:
            head.append(line.strip())
        elif hunks and line[0] in " -+":
            old, new = (line[1:] if line[0] in each else "" for each in (" -", " +"))
            hunks[-1] = hunks[-1]._replace(old=hunks[-1].old + old, new=hunks[-1].new + new)
    return Bug(path.stem, " ".join(head).strip(), hunks)


def read_bugs() -> list[Bug]:
    """Read all patches, in the order of the invariants."""
    bugs = [read_bug(path) for path in PLANTED.glob("*.patch")]
    return sorted(bugs, key=lambda bug: (bug.name[0], int(bug.invariant[1:]), bug.name))


def source_of(tree: Path, path: str) -> Path:
    """The file that a patch names; an unpacked sdist has the core inside the package only."""
    return tree / path if (tree / path).exists() else tree / "pysignal" / path


def plant(tree: Path, bug: Bug, *, dry: bool = False) -> None:
    """Change a tree as a patch says, or see whether it could be done.

    Raises:
        ValueError: lines of the patch are not in the file, or not in one place only.
    """
    for hunk in bug.hunks:
        source = source_of(tree, hunk.path)
        text = source.read_text()
        if text.count(hunk.old) != 1 or hunk.old == hunk.new:
            raise ValueError(f"{bug.name}: does not fit to {hunk.path} any more")
        if not dry:
            source.write_text(text.replace(hunk.old, hunk.new))


def check(tree: Path, tests: str) -> tuple[bool, str]:
    """Run the tests of a tree whose names begin so.

    Returns:
        (whether all passed, or else the first that failed and how; "" where that was no assertion).
    """
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "tests/invariants", "-k", tests, "--quiet"]
    command += ["--maxfail=1", "-p", "no:cacheprovider", f"--junitxml={report}"]
    try:
        done = subprocess.run(
            command, cwd=tree, env=os.environ | {"PYTHONPATH": str(tree)}, timeout=CHECK_S,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return False, ""
    if done.returncode == 0:
        return True, ""
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            failure = case.find("failure")
            if failure is not None and case.get("name", "").startswith(tests):
                how = failure.get("message", "").partition("\n")[0]
                if how.startswith(ASSERTED):
                    return False, f"{case.get('name')}: {how}"
    sys.stderr.write(done.stdout)
    return False, ""


def require_base(base: Path, tests: str) -> None:
    """Refuse to go on where the checks fail without a bug, or look at another tree.

    Raises:
        SystemExit: so it is.
    """
    where = subprocess.run(
        [sys.executable, "-c", "import pysignal.engine.core as core; print(core.__file__)"],
        cwd=base, env=os.environ | {"PYTHONPATH": str(base)}, capture_output=True, text=True,
    ).stdout  # fmt: skip
    if not where.startswith(str(base)):
        raise SystemExit(f"the checks would import {where.strip()}, not the copy in {base}")
    passed, how = check(base, tests)
    if not passed:
        raise SystemExit(f"the checks fail without a bug: {how}")


def main() -> None:
    """Plant the bugs of the invariants, or of the names, that the command line gives."""
    wanted = set(sys.argv[1:])
    bugs = [b for b in read_bugs() if not wanted or {b.name, b.invariant} & wanted]
    if not bugs:
        raise SystemExit(f"no planted bug is named {' or '.join(sorted(wanted))}")
    base, copy = VARIANTS / "planted" / "base", VARIANTS / "planted" / "copy"
    copy_tree(base)
    compile_tree(base, "release", CFLAGS=CFLAGS)
    require_base(base, " or ".join(sorted({bug.tests for bug in bugs})))
    survivors = []
    print("| planted bug | caught by | s |\n|---|---|---|", flush=True)
    for bug in bugs:
        began_s = time.monotonic()
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(base, copy, symlinks=True)
        plant(copy, bug)
        if not all(hunk.path.endswith(".py") for hunk in bug.hunks):
            compile_tree(copy, "release", CFLAGS=CFLAGS)
        passed, how = check(copy, bug.tests)
        if passed or not how:
            survivors.append(bug.name)
            how = "NOTHING: it survives" if passed else "NO ASSERTION: it crashes or hangs"
        took_s = time.monotonic() - began_s
        print(f"| {bug.name}: {bug.sentence} | {how[:160]} | {took_s:.1f} |", flush=True)
    shutil.rmtree(copy, ignore_errors=True)
    if survivors:
        raise SystemExit(f"{len(survivors)} of {len(bugs)} survive: {', '.join(survivors)}")
    print(f"all {len(bugs)} were noticed")


if __name__ == "__main__":
    main()
