"""What is built can be installed and used elsewhere, from every shape that a checkout takes.

One chain covers most of it: a checkout whose link became a small text file, as an archive without
links leaves it → an sdist → a wheel built from that sdist alone → an installation in a folder of
its own, used from a third place. Nothing is optimized, as only the shape matters here.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ENGINE = ROOT / "pysignal" / "engine"
COMPILED = (
    ENGINE,
    ROOT / "pysignal" / "journal",
    ROOT / "pysignal" / "protocol",
    ROOT / "pysignal",
)
NOT_SOURCES = (
    ".*", "*.egg-info", "*.so", "*.c", "__pycache__", "build", "dist", "docs",
    "benchmarks", "examples",
)  # fmt: skip


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Run a command and return what it printed, which is also the message of a failure."""
    inherited = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        command,
        cwd=cwd,
        env=inherited | {"CFLAGS": "-O0", "PYSIGNAL_BUILD": "release"} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in which the link is a small text file."""
    copy = tmp_path_factory.mktemp("checkout") / "pysignal-main"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*NOT_SOURCES))
    link = copy / "pysignal" / "engine"
    if not link.is_symlink():
        pytest.skip("this is an unpacked sdist: it has no link")
    link.unlink()
    link.write_text("../engine")
    return copy


@pytest.fixture(scope="session")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    run(
        *(sys.executable, "-m", "build", "--no-isolation", "--skip-dependency-check", "--sdist"),
        *("--outdir", str(folder), "."),
        cwd=checkout,
    )
    (path,) = folder.iterdir()
    return path


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (source,) = folder.iterdir()
    run(
        *(sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index"),
        *("--wheel-dir", str(folder / "wheels"), "."),
        cwd=source,
    )
    (path,) = (folder / "wheels").iterdir()
    return path


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run(
        *(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index"),
        *("--target", str(folder), str(wheel)),
        cwd=folder,
    )
    return folder


def test_a_checkout_that_lost_its_link_gets_it_back(checkout: Path, sdist: Path) -> None:
    assert sdist.is_file()
    assert (checkout / "pysignal" / "engine").readlink() == Path("..", "engine")


def test_an_sdist_holds_the_core_once_and_nothing_that_was_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        files = [member.name for member in archive.getmembers() if member.isfile()]
    names = [name.partition("/")[2] for name in files]
    for source in (source for folder in COMPILED for source in folder.iterdir()):
        if source.suffix in (".pyx", ".pxd", ".pyi", ".py"):
            assert str(source.relative_to(ROOT)) in names
    assert {"LICENSE", "Makefile", "pyproject.toml", "scripts/setup", "setup.py"} <= set(names)
    assert not [name for name in names if name.startswith(("engine/", "build/"))]
    assert not [name for name in names if name.endswith((".so", ".c", ".pyc"))]


def test_a_wheel_holds_modules_headers_stubs_and_scenarios(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    suffix = next(name.partition(".")[2] for name in names if name.endswith(".so"))
    for source in (source for folder in COMPILED for source in folder.glob("*.pyx")):
        for end in (suffix, "pxd", "pyi"):
            assert f"{source.parent.relative_to(ROOT)}/{source.stem}.{end}" in names
    others = ("py.typed", *(f"{part}/__init__.pxd" for part in ("engine", "journal", "protocol")))
    assert {f"pysignal/{name}" for name in others} <= set(names)
    assert "pysignal/protocol/asyncapi.json" in names
    packages = {path.parent.relative_to(ROOT) for path in (ROOT / "pysignal").rglob("__init__.py")}
    assert {str(package / "__init__.py") for package in packages} <= set(names)
    scenarios = list((ROOT / "pysignal" / "conformance" / "scenarios").glob("*.json"))
    assert scenarios
    for scenario in scenarios:
        assert f"pysignal/conformance/scenarios/{scenario.name}" in names


def test_a_wheel_puts_one_name_at_the_top_of_site_packages(wheel: Path) -> None:
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pysignal"}


def test_an_installed_wheel_is_whole(installed: Path, tmp_path: Path) -> None:
    modules = [
        ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for folder in COMPILED
        for source in folder.glob("*.pyx")
    ]
    program = f"""
import importlib, pysignal, pysignal.cli
for name in {modules}:
    importlib.import_module(name)
print(pysignal.__file__)
"""
    printed = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(printed.strip().splitlines()[-1]) == installed / "pysignal" / "__init__.py"


def test_an_extension_of_somebody_else_finds_the_headers(installed: Path, tmp_path: Path) -> None:
    headers = sorted(
        ".".join(source.relative_to(ROOT).with_suffix("").parts)
        for folder in COMPILED
        for source in folder.glob("*.pxd")
        if source.stem != "__init__"
    )
    lines = [f"cimport {header}" for header in headers]
    (tmp_path / "other.pyx").write_text("# cython: language_level=3\n" + "\n".join(lines) + "\n")
    # No C compiler: that every name in the headers is found is known when the C has been written.
    run(sys.executable, "-m", "cython", "other.pyx", cwd=tmp_path, PYTHONPATH=str(installed))
    assert (tmp_path / "other.c").is_file()


Restore = Callable[[Path], None]


@pytest.fixture
def restore_link() -> Restore:
    restore: Restore = runpy.run_path(str(ROOT / "setup.py"))["restore_link"]
    return restore


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout with one header and no link."""
    (tmp_path / "engine").mkdir()
    (tmp_path / "pysignal").mkdir()
    (tmp_path / "engine" / "ids.pxd").write_text("first\n")
    return tmp_path


@pytest.mark.parametrize("left", ["nothing", "a text file", "a dangling link", "the link"])
def test_the_link_is_restored_whatever_is_left_of_it(
    bare: Path, restore_link: Restore, left: str
) -> None:
    link = bare / "pysignal" / "engine"
    if left == "a text file":
        link.write_text("../engine")
    elif left == "a dangling link":
        link.symlink_to("../elsewhere")
    elif left == "the link":
        link.symlink_to("../engine")
    restore_link(bare)
    assert link.readlink() == Path("..", "engine")


def test_where_links_cannot_be_made_the_core_is_copied_and_kept_up_to_date(
    bare: Path, restore_link: Restore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, target: Path, target_is_directory: bool = False) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    header = bare / "pysignal" / "engine" / "ids.pxd"
    restore_link(bare)
    assert header.read_text() == "first\n"
    (bare / "engine" / "ids.pxd").write_text("second\n")
    restore_link(bare)
    assert header.read_text() == "second\n"


def test_an_unpacked_sdist_is_left_as_it_is(tmp_path: Path, restore_link: Restore) -> None:
    (tmp_path / "pysignal" / "engine").mkdir(parents=True)
    restore_link(tmp_path)
    assert (tmp_path / "pysignal" / "engine").is_dir()
    assert not (tmp_path / "pysignal" / "engine").is_symlink()


def test_an_unknown_build_mode_is_refused_by_name() -> None:
    result = subprocess.run(
        [sys.executable, "setup.py", "--version"],
        cwd=ROOT,
        env=os.environ | {"PYSIGNAL_BUILD": "fast"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "PYSIGNAL_BUILD=fast" in result.stderr
    assert "release, debug, trace" in result.stderr
