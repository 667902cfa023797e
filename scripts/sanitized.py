"""Run the tests under AddressSanitizer, UBSan and the leak check; any finding is a failure.

    .venv/bin/python scripts/sanitized.py [what pytest is told]

builds build/variants/sanitize and runs the suite there, its bulk counts cut to a tenth, in two
processes side by side. Whatever the sanitizers find in any process goes to a file of its own, so
that no test can swallow it; all of them are printed at the end.

There is no list of known leaks. What the modules of others allocate while they are imported is left
out of the leak check: some never give it back, as `import orjson` alone shows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from variant import VARIANTS, compile_tree, copy_tree

SCALE = "0.1"

# How much longer a step may take than in the build that is released, see tests/scale.py.
SLOWDOWN = "8"

# Names the variable that tells a process which half of the tests is its own: 0 or 1.
HALF = "PYSIGNAL_TEST_HALF"

# What is not run here, and why.
CONSENT = "tests/table/test_consent.py::test_nothing_but_the_invitees_own_accept_accepts"
EXHAUSTIVE = "it makes 100,000 machines; the smaller shapes of the same test run the same code"
LEFT_OUT = {
    "tests/test_packaging.py": "it builds wheels in release mode and runs nothing of the core",
    "tests/test_layering.py": "it reads the sources",
    "tests/test_tidy.py": "it reads the sources",
    "tests/test_stubs.py": "mypy does the work",
    "tests/client": "it is Python alone, and the tests of sessions over the network run it too",
    "tests/test_group_decisions.py::test_the_hash_is_the_same_in_every_process": (
        "its processes have an environment without the libraries of the sanitizers"
    ),
    f"{CONSENT}[group]": EXHAUSTIVE,
    f"{CONSENT}[list]": EXHAUSTIVE,
}

# Read by every Python process at its start. A module counts as another's by where it was installed.
STARTED = """
import ctypes
import gc
import os
import sys
from importlib.machinery import ExtensionFileLoader, SourceFileLoader

process = ctypes.PyDLL(None)
if hasattr(process, "__lsan_disable"):  # else a process without the sanitizers
    process.__cxa_atexit(process.__lsan_do_leak_check, None, None)
    # UBSan takes no notice of log_path where ASan is there too.
    [ubsan] = [name for name in os.environ["LD_PRELOAD"].split() if "libubsan" in name]
    path = os.environ["PYSIGNAL_REPORTS"].encode()
    ctypes.PyDLL(ubsan).__sanitizer_set_report_path(path + b"/overflows")

    depth = 0

    def left_out(load):
        def load_left_out(loader, module):
            global depth
            if not loader.path.startswith((sys.prefix, sys.base_prefix)):
                return load(loader, module)
            if depth == 0:
                gc.collect()  # it empties the free lists, which would hand out memory from before
            depth += 1
            process.__lsan_disable()
            try:
                return load(loader, module)
            finally:
                process.__lsan_enable()
                depth -= 1
        return load_left_out

    for kind in (ExtensionFileLoader, SourceFileLoader):
        for name in ("create_module", "exec_module"):
            setattr(kind, name, left_out(getattr(kind, name)))
"""


def library(name: str) -> str:
    """Return where the compiler keeps a library that must be loaded first."""
    done = subprocess.run(
        ["gcc", f"-print-file-name={name}"], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def environment(folder: Path, reports: Path) -> dict[str, str]:
    """Return the variables that the tests run with.

    Args:
        folder: the copy of the tree.
        reports: a folder for the findings; that of what every process reads at its start too.
    """
    return os.environ | {
        "LD_PRELOAD": " ".join(map(library, ("libasan.so", "libubsan.so", "libstdc++.so"))),
        # Leaks are looked for by Python processes alone, and by those at their very end. Up to
        # GCC 13 the runtime takes a thread's block of variables that lies 16 bytes into a page for
        # one of an old glibc, and the leak check then reads where nothing is and dies of it:
        # https://github.com/google/sanitizers/issues/1322. Nothing of ours is in such blocks.
        "ASAN_OPTIONS": "leak_check_at_exit=0:detect_stack_use_after_return=1:"
        f"intercept_tls_get_addr=0:log_path={reports}/memory",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        "PYSIGNAL_REPORTS": str(reports),
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": f"{reports.parent}:{folder}:{folder / 'scripts'}",
        "PYSIGNAL_TEST_SCALE": SCALE,
        "PYSIGNAL_TEST_SLOWDOWN": SLOWDOWN,
    }


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep every other file of the tests: what one of the two processes has to do."""
    files = sorted({item.path for item in items})
    mine = set(files[int(os.environ[HALF]) :: 2])
    config.hook.pytest_deselected(items=[item for item in items if item.path not in mine])
    items[:] = [item for item in items if item.path in mine]


def run(folder: Path, variables: dict[str, str]) -> bool:
    """Run the tests in two processes side by side; return whether all passed.

    Args:
        folder: the copy of the tree.
        variables: what they run with.
    """
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "sanitized"),
        *(f"--deselect={test}" for test in LEFT_OUT),
        *sys.argv[1:],
    ]
    beside = subprocess.Popen(
        command, cwd=folder, env=variables | {HALF: "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    first = subprocess.run(command, cwd=folder, env=variables | {HALF: "0"}, check=False)
    print(beside.communicate()[0])
    # A half may have nothing to do where only some tests are asked for.
    codes = {first.returncode, beside.returncode}
    return 0 in codes and codes <= {0, pytest.ExitCode.NO_TESTS_COLLECTED}


def main() -> None:
    """Build, run, and print what was found."""
    folder, beside = VARIANTS / "sanitize", VARIANTS / "sanitize-run"
    copy_tree(folder)
    compile_tree(folder, "sanitize")
    shutil.rmtree(beside, ignore_errors=True)
    reports = beside / "reports"
    reports.mkdir(parents=True)
    (beside / "sitecustomize.py").write_text(STARTED)
    for test, why in LEFT_OUT.items():
        print(f"left out: {test}: {why}")
    passed = run(folder, environment(folder, reports))
    found = sorted(reports.iterdir())
    for report in found:
        print(f"\n{report.name}\n{report.read_text(errors='replace')}")
    if found:
        raise SystemExit(f"{len(found)} processes have a finding of the sanitizers, see above")
    if not passed:
        raise SystemExit("tests have failed, see above")


if __name__ == "__main__":
    main()
