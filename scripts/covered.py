"""Measure which lines the tests run, in Python and in Cython, and fail on any that nobody explains.

    .venv/bin/python scripts/covered.py              build, run the tests, and judge
    .venv/bin/python scripts/covered.py --again      judge what the last run has measured
    .venv/bin/python scripts/covered.py --list       list the open lines as docs/coverage.md does

Further arguments are pytest's.

The tests run in build/variants/trace, whose modules tell of every line, those of inline functions
in .pxd files too. Processes that they start are measured as well, for .py files. Lines that no test
can reach are listed in docs/coverage.md, with the reason: as `path function: code`, so that they
may move. A line that is not run and not listed is a failure; so is one that is listed and is not in
the source any more.

Cython's plugin for coverage finds no C file for a .pxd, so the lines that could run are read from
all the C files here. While a compiled module is imported it tells the headers of inline functions
under its own name, where the same number is some other line: what imports tell is thrown away, and
lines outside of functions are left out.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import coverage
import pytest
from variant import ROOT, VARIANTS, compile_tree, copy_tree

FOLDER = VARIANTS / "trace"
EXPLAINED = ROOT / "docs" / "coverage.md"
BULK = "0.01"
MAIN = "main"
OURS = {"--again", "--here", "--list"}

# Tests of other things than what the modules do; those that measure time or memory, which tracing
# takes; and those that run the same lines many times over, with bugs planted or none.
LEFT_OUT = [
    "--ignore=tests/test_packaging.py",
    "--ignore=tests/test_stubs.py",
    "--ignore=tests/test_tidy.py",
    "--ignore=tests/test_layering.py",
    "--ignore=tests/delivery/test_steps.py",
    "--ignore=tests/delivery/test_bursts.py",
    "--ignore=tests/delivery/test_cancelled_awaits.py",
    "--deselect=tests/test_delivery.py::test_a_mass_expiry_ends_and_tells_everything_in_slices",
    "--deselect=tests/invariants/test_resources.py::test_e7_nothing_holds_the_loop",
    (
        "--deselect=tests/test_batches.py"
        "::test_the_batches_of_thousands_of_sessions_hold_the_loop_no_longer"
    ),
    (
        "--deselect=tests/engine/test_extension.py"
        "::test_an_extension_leads_a_million_operations_through_the_c_face"
    ),
    "--ignore=tests/engine/test_memory_runs_out.py",
    "--ignore=tests/test_drain.py",
    "--ignore=tests/invariants/test_planted.py",
    "--ignore=tests/simulation/test_planted_bugs.py",
    "--ignore=tests/fuzz",
    "--ignore=tests/oracle",
    "--ignore=tests/scarce",
    "--ignore=tests/soak",
    "--ignore=tests/table",
    "--ignore-glob=*_at_random.py",
]

SOURCE = re.compile(r' */\* "pysignal/(.*)":\d+$')
TRACED = re.compile(r"__Pyx_TraceLine\((\d+),")
IMPORT = "static CYTHON_SMALL_CODE int __pyx_pymod_exec_"  # how the C function begins
HEADER = re.compile(r"(?P<indent> *)(?:async +)?(?:def|cdef|class)\b[^=]*?(?P<name>\w+) *[(:]")
LISTED = re.compile(r"^(?P<file>\S+\.(?:py|pyx|pxd)) (?P<function>\S+): (?P<code>.+)$")


def run_tests() -> bool:
    """Build the variant and run the tests in it; returns whether they passed."""
    copy_tree(FOLDER)
    compile_tree(FOLDER, "trace")
    for old in FOLDER.glob(".coverage*"):
        old.unlink()
    done = subprocess.run(
        [sys.executable, __file__, "--here", *(set(sys.argv[1:]) - OURS)],
        cwd=FOLDER,
        env=os.environ | {"PYSIGNAL_TEST_SCALE": BULK, "COVERAGE_CORE": "ctrace"},
    )
    return done.returncode == 0


def run_here() -> int:
    """Run the tests in this process and this folder; returns the exit status of pytest."""
    sys.path[0] = str(FOLDER)
    measured = coverage.Coverage(data_suffix=MAIN)
    measured.start()
    importlib.import_module("pysignal")
    measured.stop()
    data = measured.get_data()
    data.purge_files(name for name in data.measured_files() if not name.endswith(".py"))
    measured.start()
    try:
        return pytest.main(
            [
                "-q",
                "-p",
                "no:cacheprovider",
                "--durations=12",
                *LEFT_OUT,
                *(set(sys.argv[1:]) - OURS),
                "tests",
            ]
        )
    finally:
        measured.stop()
        measured.save()


def compiled_lines() -> dict[Path, set[int]]:
    """Return the lines in functions of .pyx and .pxd files that could run, as the C files tell."""
    found: dict[Path, set[int]] = defaultdict(set)
    places = ("engine", "pysignal", "pysignal/journal", "pysignal/protocol")
    for c_file in [path for place in places for path in FOLDER.glob(f"{place}/*.c")]:
        source, is_import = None, False
        for line in c_file.read_text().splitlines():
            if line.startswith("static"):
                is_import = line.startswith(IMPORT)
            if named := SOURCE.match(line):
                inside = named[1] if named[1].startswith("engine/") else f"pysignal/{named[1]}"
                source = FOLDER / inside
            elif source is not None and not is_import and (traced := TRACED.search(line)):
                found[source].add(int(traced[1]))
    return found


def judged() -> dict[Path, tuple[set[int], set[int]]]:
    """Return, for each file, the lines that could run and those that were not run."""
    data = coverage.CoverageData(str(FOLDER / f".coverage.{MAIN}"))
    data.read()
    files = {}
    for source, could in compiled_lines().items():
        files[source] = could, could - set(data.lines(str(source)) or [])
    os.chdir(FOLDER)
    measured = coverage.Coverage()
    measured.combine(keep=True)
    for source in [*FOLDER.glob("engine/*.py"), *FOLDER.glob("pysignal/**/*.py")]:
        if source.stat().st_size and (FOLDER / "pysignal" / "engine") not in source.parents:
            _, could_run, _, missing, _ = measured.analysis2(str(source))
            files[source] = set(could_run), set(missing)
    return dict(sorted(files.items()))


def function_of(lines: list[str], number: int) -> str:
    """Return the name of the function or class that a line is in; `-` for the module itself."""
    depth = len(lines[number - 1]) - len(lines[number - 1].lstrip())
    for line in reversed(lines[: number - 1]):
        header = HEADER.match(line)
        if header and len(header["indent"]) < depth:
            return header["name"]
    return "-"


def explained() -> dict[str, str]:
    """Return the lines that docs/coverage.md lists, each with the heading that it stands under."""
    found, heading = {}, ""
    for line in EXPLAINED.read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        elif listed := LISTED.match(line):
            found[f"{listed['file']} {listed['function']}: {listed['code']}"] = heading
    return found


def main() -> int:
    """Measure and judge; the exit status is 1 where something is not as it should be."""
    if "--here" in sys.argv[1:]:
        return run_here()
    passed = "--again" in sys.argv[1:] or run_tests()
    reasons = explained()
    named: set[str] = set()
    unexplained = []
    totals = [0, 0, 0]
    print(f"\n{'file':<40} {'lines':>6} {'run':>6} {'listed':>6} {'open':>5}")
    for source, (could, missing) in judged().items():
        lines = source.read_text().splitlines()
        name = source.relative_to(FOLDER).as_posix()
        excused = 0
        for number in sorted(missing):
            said = f"{name} {function_of(lines, number)}: {lines[number - 1].strip()}"
            if said in reasons:
                excused += 1
            else:
                unexplained.append((number, said))
        named |= {f"{name} {function_of(lines, n)}: {lines[n - 1].strip()}" for n in could}
        count = len(could), len(could) - len(missing), excused
        totals = [total + more for total, more in zip(totals, count, strict=True)]
        print(f"{name:<40} {count[0]:>6} {count[1]:>6} {excused:>6} {len(missing) - excused:>5}")
    print(f"{'together':<40} {totals[0]:>6} {totals[1]:>6} {totals[2]:>6} {len(unexplained):>5}")
    gone = sorted(set(reasons) - named)
    if "--list" in sys.argv[1:]:  # as docs/coverage.md has them
        print("\n".join(dict.fromkeys(said for _, said in unexplained)))
        return 1
    for number, said in unexplained:
        print(f"not run, and not in docs/coverage.md: line {number} of {said}")
    for said in gone:
        print(f"in docs/coverage.md, but not in the source: {said}")
    return 0 if passed and not unexplained and not gone else 1


if __name__ == "__main__":
    sys.exit(main())
