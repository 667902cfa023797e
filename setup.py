"""How the compiled parts of pysignal are built; everything else stands in pyproject.toml.

The core lives in `engine/` and is imported as `pysignal.engine`. Cython finds a module's own `.pxd`
by import name, so the folder has to be seen at `pysignal/engine`: a relative link, which this file
restores where a checkout lost it (docs/adr/0001-build-with-a-link.md).

The environment variable PYSIGNAL_BUILD chooses how: `release` (the default), `debug` (every check
and assertion), `trace` (debug, and line coverage) or `sanitize` (debug, with AddressSanitizer and
UBSan, whose libraries a program must preload). PYSIGNAL_BUILD=debug pip install -e . is all.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import Cython
from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

COMPILED = {
    "pysignal.engine.*": "pysignal/engine/*.pyx",
    "pysignal.*": "pysignal/*.pyx",
    "pysignal.journal.*": "pysignal/journal/*.pyx",
    "pysignal.protocol.*": "pysignal/protocol/*.pyx",
    "pysignal.server.*": "pysignal/server/*.pyx",
}

DIRECTIVES = {
    "language_level": 3,
    "wraparound": False,
    # Both would add names to the modules that no stub has.
    "auto_pickle": False,
    "autotestdict": False,
}
CHECKED = {"boundscheck": True, "initializedcheck": True, "cdivision": False}
UNCHECKED = {"boundscheck": False, "initializedcheck": False, "cdivision": True}
# Two fields that were just written one by one, read as one vector, wait until both have left the
# store buffer: behind a cache miss that costs more than the rest of an operation.
FIELDS_ONE_BY_ONE = "-fno-tree-slp-vectorize"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]


class Mode(NamedTuple):
    """One way to build.

    Attributes:
        directives: what Cython is told beyond DIRECTIVES.
        optimize: the compiler's level, unless the environment's CFLAGS choose one.
        flags: further flags for the compiler; they follow those that Python was built with.
        linked: flags for the linker.
        beside: whether the .c files lie beside the .pyx files, where coverage looks for them.
    """

    directives: dict[str, bool]
    optimize: str
    flags: list[str]
    linked: tuple[str, ...] = ()
    beside: bool = False


MODES = {
    "release": Mode(UNCHECKED, "-O3", [FIELDS_ONE_BY_ONE, "-DNDEBUG", "-g0"]),
    "debug": Mode(CHECKED, "-O1", ["-g", "-UNDEBUG"]),
    "trace": Mode(
        {**CHECKED, "linetrace": True},
        "-O1",
        ["-g", "-UNDEBUG", "-DCYTHON_TRACE=1", "-DCYTHON_TRACE_NOGIL=1"],
        beside=True,
    ),
    # Python is built with -fwrapv, which would hide signed overflow.
    "sanitize": Mode(
        CHECKED,
        "-O1",
        ["-g", "-UNDEBUG", "-fno-wrapv", "-fno-omit-frame-pointer", *SANITIZERS],
        linked=(SANITIZERS[0],),
    ),
}


def restore_link(root: Path) -> None:
    """Let root/pysignal/engine show what is in root/engine: by a link, or else by a copy.

    An archive without links leaves a small text file in its place, or nothing. An sdist has a
    real folder there and no root/engine, and needs nothing done.
    """
    source, link = root / "engine", root / "pysignal" / "engine"
    if (link.is_symlink() and link.is_dir()) or not source.is_dir():
        return
    if link.is_symlink() or link.is_file():
        link.unlink()
    if not link.exists():
        try:
            link.symlink_to(Path("..", "engine"), target_is_directory=True)
            return
        except OSError:
            pass  # this file system or this user can't make links
    # A copy made earlier is brought up to date; times are kept, so only what changed is rebuilt.
    shutil.copytree(source, link, dirs_exist_ok=True)


def says(path: Path, text: str) -> bool:
    """Return whether the file at path exists and holds exactly text."""
    return path.is_file() and path.read_text() == text


def extensions() -> list[Any]:
    """Return the extensions in the mode that PYSIGNAL_BUILD names, translated to C."""
    name = os.environ.get("PYSIGNAL_BUILD") or "release"
    if name not in MODES:
        raise SystemExit(f"PYSIGNAL_BUILD={name}: unknown, use one of {', '.join(MODES)}")
    mode = MODES[name]
    environment_flags = os.environ.get("CFLAGS", "")
    flags = mode.flags if "-O" in environment_flags else [mode.optimize, *mode.flags]
    directives = DIRECTIVES | mode.directives

    # Neither Cython nor setuptools looks at settings, only at times of files. So each mode has its
    # own .c files, translated anew when settings change, and the modules of all modes, which share
    # their names, depend on a file that is rewritten when they were last built otherwise.
    build_dir, last = Path("build", f"cython-{name}"), Path("build", "settings")
    translated = build_dir / "settings"
    settings = f"{name} {directives} {flags} {environment_flags} Cython {Cython.__version__}\n"
    build_dir.mkdir(parents=True, exist_ok=True)
    if not says(last, settings):
        last.write_text(settings)

    modules = cythonize(
        [
            Extension(
                module,
                [source],
                extra_compile_args=flags,
                extra_link_args=list(mode.linked),
                depends=[str(last)],
            )
            for module, source in COMPILED.items()
        ],
        build_dir=None if mode.beside else str(build_dir),
        compiler_directives=directives,
        force=None if says(translated, settings) else True,
    )
    # Written last: a translation that was broken off begins anew.
    translated.write_text(settings)
    return modules


if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent)
    restore_link(Path())
    setup(
        ext_modules=extensions(),
        packages=find_packages(include=["pysignal", "pysignal.*"]),
        zip_safe=False,
    )
