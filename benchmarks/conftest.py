"""What the benchmarks share: how they are sized, their rivals, and what a run leaves.

pytest benchmarks --benchmark-only            the figures
pytest benchmarks --benchmark-only --quick    everything once and small, to see that it works
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import figures
import plots
import pytest
import uvloop
from measure import Measure, Row, Size
from network import Network
from report import figures_as_json, print_table
from rival_programs import Floor, naive_module

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
SUBJECTS = (
    *("ids", "roster", "wheel", "machine", "hub", "groups"),
    *("timers", "durable", "recovery", "websocket"),
)
SIZES = (1_000, 100_000, 1_000_000)

ROWS = pytest.StashKey[list[Row]]()
FIGURES = pytest.StashKey[dict[str, float]]()
NOTES = pytest.StashKey[list[str]]()
NO_FLOOR = pytest.StashKey[bool]()
NO_LOAD = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --quick."""
    parser.addoption("--quick", action="store_true", help="benchmarks: run everything once, small")


def pytest_configure(config: pytest.Config) -> None:
    """Begin an empty table; it stands in place of pytest-benchmark's own."""
    config.addinivalue_line("markers", "sizes(*sizes): the sizes of a benchmark, powers of ten")
    config.stash[ROWS] = []
    config.stash[FIGURES] = {}
    config.stash[NOTES] = []
    config.stash[NO_FLOOR] = config.stash[NO_LOAD] = False
    config.option.benchmark_quiet = True


def subject_of(path: Path) -> str:
    """Return what a file of benchmarks is about."""
    return path.stem.removeprefix("bench_")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time by the CPU clock, and build up the table from the small to the large."""
    items.sort(key=lambda item: SUBJECTS.index(subject_of(item.path)))
    for item in items:
        item.add_marker(pytest.mark.benchmark(timer=time.process_time))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes a `size` at each of its sizes."""
    if "size" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("sizes")
        quick = metafunc.config.getoption("quick")
        sizes = [Size(nominal, quick) for nominal in (marker.args if marker else SIZES)]
        metafunc.parametrize("size", sizes, ids=[size.name for size in sizes])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Fail a run of everything that has left a figure out; draw what was measured."""
    config = session.config
    quick = config.getoption("quick")
    is_whole = not config.option.keyword and config.args == ["benchmarks"]
    if exitstatus == pytest.ExitCode.OK and is_whole and config.option.benchmark_only:
        left: dict[str, float] = config.stash[FIGURES]
        lost = figures.missing(
            left, has_floor=not config.stash[NO_FLOOR], has_load=not config.stash[NO_LOAD]
        )
        if lost:
            config.stash[NOTES].append(f"FAILED, figures are missing: {', '.join(lost)}")
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
    rows: list[Row] = config.stash[ROWS]
    if rows:
        drawn = plots.draw(rows, RESULTS, "quick_" if quick else "")
        config.stash[NOTES].append(f"Plots: {drawn} in {RESULTS.relative_to(HERE.parent)}/.")


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
    quick: bool = request.config.getoption("quick")
    subject = subject_of(request.path)
    return Measure(benchmark, subject, stash[ROWS], stash[FIGURES], quick)


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a uvloop that lives as long as the test."""
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder on the disk that the results lie on."""
    RESULTS.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="journal-", dir=RESULTS))
    gc.collect()
    gc.freeze()  # the collector need not walk through pytest again and again
    yield made
    gc.unfreeze()
    shutil.rmtree(made)


@pytest.fixture(scope="session")
def floor(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Floor:
    """Compile the floor, loaded and bare."""
    floor = Floor(tmp_path_factory.mktemp("floor"))
    if floor.missing:
        request.config.stash[NO_FLOOR] = True
        request.config.stash[NOTES].append(floor.missing)
    return floor


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Network:
    """Compile the load; skip what needs it where that can't be done."""
    network = Network(tmp_path_factory.mktemp("load"))
    if network.missing:
        request.config.stash[NO_LOAD] = True
        request.config.stash[NOTES].append(network.missing)
        pytest.skip(network.missing)
    return network


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
