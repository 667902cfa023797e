"""What the benchmarks share: how they are sized, their rivals, and the one table at the end.

pytest benchmarks --benchmark-only            the figures
pytest benchmarks --benchmark-only --quick    everything once and small, to see that it works
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from measure import Measure, Row
from report import figures_as_json, print_table
from rival_programs import Floor, naive_module

HERE = Path(__file__).resolve().parent
SUBJECTS = ("bench_ids", "bench_roster", "bench_wheel", "bench_machine", "bench_hub")
SIZES = (1_000, 100_000)
SIZES_QUICK = (100, 1_000)

ROWS = pytest.StashKey[list[Row]]()
FIGURES = pytest.StashKey[dict[str, float]]()
NOTES = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --quick."""
    parser.addoption("--quick", action="store_true", help="benchmarks: run everything once, small")


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table; it stands in place of pytest-benchmark's own."""
    config.stash[ROWS] = []
    config.stash[FIGURES] = {}
    config.stash[NOTES] = []
    config.option.benchmark_quiet = True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time by the CPU clock, and build up the table from the small to the large."""
    items.sort(
        key=lambda item: SUBJECTS.index(item.path.stem) if item.path.stem in SUBJECTS else -1
    )
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=time.process_time))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `size` at each of them."""
    if "size" in metafunc.fixturenames:
        quick = metafunc.config.getoption("quick")
        metafunc.parametrize("size", SIZES_QUICK if quick else SIZES)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table."""
    if config.stash[ROWS]:
        print_table(config.stash[ROWS], config.stash[NOTES], terminalreporter)


def pytest_benchmark_update_json(config: pytest.Config, output_json: dict[str, Any]) -> None:
    """Put the plain figures, and rows with every run, into the file of --benchmark-json."""
    name = "quick" if config.getoption("quick") else "figures"
    output_json[name] = config.stash[FIGURES]
    output_json["rows"] = figures_as_json(config.stash[ROWS])


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Measure:
    """Measures, and adds to the table."""
    stash = request.config.stash
    return Measure(benchmark, stash[ROWS], stash[FIGURES], request.config.getoption("quick"))


@pytest.fixture(scope="session")
def floor(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Floor:
    """Compile the floor, loaded and bare."""
    floor = Floor(tmp_path_factory.mktemp("floor"))
    if floor.missing:
        request.config.stash[NOTES].append(floor.missing)
    return floor


@pytest.fixture(scope="session")
def naive() -> ModuleType:
    """Import the naive engine."""
    return naive_module()


@pytest.fixture(scope="session")
def core_cycle(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Build core_cycle.pyx against the package, as somebody else's project would."""
    folder = tmp_path_factory.mktemp("core_cycle")
    (folder / "core_cycle.pyx").write_text((HERE / "core_cycle.pyx").read_text())
    (folder / "setup.py").write_text(
        "from Cython.Build import cythonize\n"
        "from setuptools import Extension, setup\n"
        "module = Extension('core_cycle', ['core_cycle.pyx'],\n"
        "                   extra_compile_args=['-O2', '-DNDEBUG'])\n"
        "setup(name='core_cycle', py_modules=[], ext_modules=cythonize(module))\n"
    )
    made = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.fail(f"core_cycle.pyx does not build:\n{made.stdout}{made.stderr}", pytrace=False)
    (built,) = [path for path in folder.iterdir() if path.suffix in (".so", ".pyd")]
    spec = importlib.util.spec_from_file_location("core_cycle", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
