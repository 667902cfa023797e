"""Who may import whom, read from the sources themselves.

The layers of pysignal are a promise about what can be understood, tested and replaced alone: the
core without the package around it, the hub without the network, everything without a real clock. An
import in the wrong direction breaks that promise long before anything fails, so it fails here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pysignal"
ENGINE = PACKAGE / "engine"

# What a module of the core may cimport or import from the core. The others may use all of it.
PARTS = ("ids", "users", "roster", "wheel")
MAY_USE = {"slab": set[str](), **{part: {"slab"} for part in PARTS}}

# What has no place in the core: time, randomness and limits are arguments, and it does no I/O.
OUTSIDE_WORLD = {
    "aiohttp", "asyncio", "concurrent", "datetime", "libc.time", "logging", "multiprocessing",
    "posix.time", "random", "secrets", "select", "selectors", "socket", "subprocess", "threading",
    "time", "uuid", "uvloop",
}  # fmt: skip

SOCKETS = {
    "aiohttp", "http.client", "http.server", "select", "selectors", "socket", "socketserver", "ssl",
    "urllib.request", "websockets",
}  # fmt: skip
MAY_USE_SOCKETS = ("server", "client")

# What reads and writes files. A journal leaves that to its disk, which a test puts another one for.
FILES = {"fcntl", "io", "mmap", "os", "pathlib", "posix", "shutil", "tempfile"}
ONLY_NAMES_FILES = {"os.PathLike", "os.fspath"}
OPENS_A_FILE = re.compile(r"(?<![\w.])(?<!def )open\(")
MAY_USE_FILES = ("folder", "lanes", "native_disk", "read_only_disk")

READS_TIME = {
    "time": {
        "clock_gettime", "clock_gettime_ns", "gmtime", "localtime", "monotonic", "monotonic_ns",
        "perf_counter", "perf_counter_ns", "time", "time_ns",
    },
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
}  # fmt: skip
CLOCKS = ("clock", "system_clock")
LOOPS = re.compile(r"(^|_)loop$")

# A layer, and the layers above it that it must not know. A name stands for a module or a package.
OUTER = {"server", "client", "cli", "demo", "conformance", "v2tim"}
BELOW = {
    "hub": OUTER,
    "server_acts": OUTER,
    "session": OUTER,
    "signaling": OUTER,
    "groups": OUTER,
    "invitation": OUTER,
    "bulk": OUTER,
    "following": OUTER | {"hub", "session", "signaling"},
    "publisher": OUTER | {"hub"},
    "commands": OUTER | {"hub", "session"},
    "presence": OUTER | {"hub"},
    "recovery": OUTER | {"hub", "session"},
    "saving": OUTER | {"hub", "session"},
    "requests": OUTER | {"hub", "session"},
    "arguments": OUTER | {"hub", "session"},
    "shard": OUTER | {"hub", "session", "delivery", "presence", "clock"},
    "listeners": OUTER | {"hub"},
    "listening": OUTER | {"hub", "session", "signaling", "delivery", "presence"},
    "courier": OUTER | {"hub", "session"},
    "delivery": OUTER | {"hub", "session"},
    "journal": OUTER | {"hub", "session"},
    "protocol": OUTER | {"hub", "session"},
    "clock": OUTER | {"hub", "session"},
    "system_clock": OUTER | {"hub", "session"},
    "receivers": OUTER | {"hub", "session", "delivery"},
    "direct": OUTER | {"hub", "session", "signaling"},
    "errors": OUTER | {"hub", "session"},
    "exits": OUTER | {"hub", "session"},
    "limits": OUTER | {"hub", "session"},
    "sink": OUTER | {"hub"},
    "streams": OUTER | {"hub", "session"},
    "text": OUTER | {"hub", "session", "shard"},
    "closing": OUTER,
    "interface": OUTER | {"hub", "session"},
    "server": {"client", "cli", "demo", "conformance", "v2tim"},
    "client": {"server", "cli", "demo", "conformance", "v2tim", "hub"},
    "conformance": {"cli", "demo", "v2tim"},
    "demo": {"server", "client", "cli", "conformance", "v2tim"},
    "cli": {"v2tim"},
    "__init__": set(),  # the package itself shows what users need
    "__main__": set(),
}

STATEMENT = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<origin>[\w.]+)[ \t]+c?import[ \t]+\(?(?P<names>[^\n#]*)"
    r"|c?import[ \t]+(?P<modules>[\w.]+(?:[ \t]+as[ \t]+\w+)?(?:[ \t]*,[ \t]*[\w.]+)*)"
    r"[ \t]*(?:#.*)?$)",
    re.MULTILINE,
)
STRINGS = re.compile(r'("""|\'\'\').*?\1', re.DOTALL)


def sources(folder: Path, *suffixes: str) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix in suffixes)


def module_of(path: Path) -> str:
    """Return the import name of a source of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Yield all that a source imports or cimports: absolute names, `a.b` for `from a import b`."""
    text = path.read_text()
    module = module_of(path).split(".")
    package = module if path.stem == "__init__" else module[:-1]
    if path.suffix in (".py", ".pyi"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = package[: len(package) - node.level + 1] if node.level else []
                origin = ".".join([*base, *([node.module] if node.module else [])])
                yield from (f"{origin}.{alias.name}" for alias in node.names)
        return
    for match in STATEMENT.finditer(STRINGS.sub("", text)):
        if match["modules"]:
            yield from (name.split()[0] for name in match["modules"].split(","))
            continue
        origin = match["origin"]
        if origin.startswith("."):
            up = len(origin) - len(origin.lstrip("."))
            origin = ".".join([*package[: len(package) - up + 1], origin.lstrip(".")]).rstrip(".")
        yield from (f"{origin}.{name}" for name in re.findall(r"\w+", match["names"]) or [""])


def within(name: str, modules: set[str]) -> bool:
    """Return whether an imported name is one of the modules, or lies in one."""
    return any(name == module or name.startswith(module + ".") for module in modules)


def layer(path: Path) -> str:
    """Return the first name below pysignal: `hub` for pysignal/hub.py, `journal` for its folder."""
    return path.relative_to(PACKAGE).parts[0].split(".")[0]


ENGINE_SOURCES = sources(ENGINE, ".py", ".pyx", ".pxd", ".pyi")
# A walk doesn't follow the link, but an unpacked sdist has a folder there.
PACKAGE_SOURCES = [
    path for path in sources(PACKAGE, ".py", ".pyx", ".pxd", ".pyi") if ENGINE not in path.parents
]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_sources_to_look_at() -> None:
    assert {path.name for path in ENGINE_SOURCES} >= {f"{part}.pxd" for part in PARTS}
    assert {"hub", "clock", "errors"} <= {layer(path) for path in PACKAGE_SOURCES}


@pytest.mark.parametrize("path", ENGINE_SOURCES, ids=name_of)
def test_the_core_knows_nothing_of_the_package_around_it(path: Path) -> None:
    wrong = [
        name
        for name in imports(path)
        if within(name, {"pysignal"}) and not within(name, {"pysignal.engine"})
    ]
    assert not wrong


@pytest.mark.parametrize("path", ENGINE_SOURCES, ids=name_of)
def test_the_core_takes_time_and_randomness_as_arguments_and_does_no_io(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, OUTSIDE_WORLD)]


@pytest.mark.parametrize(
    "path", [path for path in ENGINE_SOURCES if path.stem in MAY_USE], ids=name_of
)
def test_the_parts_of_the_core_do_not_know_each_other(path: Path) -> None:
    used = {name.split(".")[2] for name in imports(path) if re.match(r"pysignal\.engine\.\w", name)}
    assert used - {path.stem} <= MAY_USE[path.stem]


@pytest.mark.parametrize("path", PACKAGE_SOURCES, ids=name_of)
def test_no_layer_knows_one_above_it(path: Path) -> None:
    above = {f"pysignal.{name}" for name in BELOW[layer(path)]}
    assert not [name for name in imports(path) if within(name, above)]


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE_SOURCES if layer(path) not in MAY_USE_SOCKETS], ids=name_of
)
def test_only_server_and_client_know_sockets(path: Path) -> None:
    assert not [name for name in imports(path) if within(name, SOCKETS)]


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in PACKAGE_SOURCES
        if layer(path) == "journal" and path.stem not in MAY_USE_FILES
    ],
    ids=name_of,
)
def test_a_journal_touches_files_through_its_disk_alone(path: Path) -> None:
    used = {name for name in imports(path) if within(name, FILES)}
    assert not used - ONLY_NAMES_FILES
    assert not OPENS_A_FILE.search(STRINGS.sub("", path.read_text()))


def readings_of_time(tree: ast.AST) -> Iterator[str]:
    """Yield each expression that reads a clock: `time.monotonic`, `loop.time`, and their kin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in READS_TIME and not node.level:
            names = {alias.name for alias in node.names}
            yield from (f"{node.module}.{name}" for name in names & READS_TIME[node.module])
        elif isinstance(node, ast.Attribute):
            owner = node.value.func if isinstance(node.value, ast.Call) else node.value
            last = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            is_loop = node.attr == "time" and LOOPS.search(last)
            if is_loop or node.attr in READS_TIME.get(last, set()):
                yield f"{last}.{node.attr}"


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE_SOURCES if layer(path) not in CLOCKS], ids=name_of
)
def test_only_the_clock_reads_the_time(path: Path) -> None:
    if path.suffix == ".py":
        assert not list(readings_of_time(ast.parse(path.read_text())))
    else:
        readers = {"time", "libc.time", "posix.time"}
        assert not [name for name in imports(path) if within(name, readers)]


def test_readings_of_time_are_recognized() -> None:
    source = """
import time, datetime, asyncio
from time import monotonic_ns
a = time.monotonic()
b = datetime.datetime.now(datetime.UTC)
c = asyncio.get_running_loop().time()
d = self._loop.time
e = clock.now_ms()
f = time.sleep
"""
    assert set(readings_of_time(ast.parse(source))) == {
        "time.monotonic_ns", "time.monotonic", "datetime.now", "get_running_loop.time",
        "_loop.time",
    }  # fmt: skip


def test_imports_of_cython_are_recognized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "pysignal" / "engine" / "machine.pyx"
    path.parent.mkdir(parents=True)
    path.write_text('''"""
import nothing
"""
cimport cython
import time
from libc.stdint cimport uint32_t, uint64_t
from pysignal.engine.ids cimport (
    Ids,
)
from .wheel cimport Wheel
from . cimport slab
from pysignal.hub import Hub  # why not
''')
    assert list(imports(path)) == [
        "cython", "time", "libc.stdint.uint32_t", "libc.stdint.uint64_t",
        "pysignal.engine.ids.", "pysignal.engine.wheel.Wheel", "pysignal.engine.slab",
        "pysignal.hub.Hub",
    ]  # fmt: skip
