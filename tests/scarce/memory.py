"""Memory that runs out where a test says so: the Python face of `allocator.c`."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysignal

ENGINE, PYTHON = 1, 2  # who asks: the engine for its tables, or Python for objects
LIBRARY = "PYSIGNAL_SCARCE"

HERE = Path(__file__).parent
PACKAGE_ROOT = Path(pysignal.__file__).parent.parent


def run(program: str, folder: Path, *arguments: str) -> str:
    """Run a program of this folder with the allocator before all others; return what it printed.

    Args:
        program: its file name.
        folder: where the allocator is compiled.
        arguments: of the program.
    """
    library = folder / "scarce.so"
    bare = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    subprocess.run(
        [
            *("gcc", "-O2", "-shared", "-fPIC", "-Wall", "-Werror"),
            *("-I", sysconfig.get_path("include"), "-o", str(library)),
            *(str(HERE / "allocator.c"), "-ldl"),
        ],
        check=True,
        env=bare,
    )
    asan = os.environ.get("ASAN_OPTIONS", "")
    result = subprocess.run(
        [sys.executable, str(HERE / program), *arguments],
        env=os.environ
        | {
            "LD_PRELOAD": f"{library} {os.environ.get('LD_PRELOAD', '')}",
            "ASAN_OPTIONS": f"{asan}:verify_asan_link_order=0",
            "PYTHONPATH": f"{PACKAGE_ROOT}:{HERE.parent}:{os.environ.get('PYTHONPATH', '')}",
            LIBRARY: str(library),
        },
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


class Memory:
    """What a program that `run` started sees of the allocator.

    Made once, when every module that the program uses has been imported.
    """

    def __init__(self) -> None:
        self._library = ctypes.PyDLL(os.environ[LIBRARY])
        for name, result, *arguments in (
            ("scarce_begin", None, ctypes.c_int, ctypes.c_long, ctypes.c_long),
            ("scarce_end", None),
            ("scarce_failed", ctypes.c_long),
            ("scarce_live", ctypes.c_long, ctypes.c_int),
            ("scarce_watch", None),
        ):
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments
        assert self._library.scarce_find_engine() >= 10
        self._library.scarce_watch()

    def attempt(
        self, kind: int, count: int, in_a_row: int, operation: Callable[[], Any]
    ) -> tuple[Any, int]:
        """Do something of which an allocation fails.

        Args:
            kind: ENGINE or PYTHON.
            count: allocations of this kind that succeed first.
            in_a_row: how many fail then.
            operation: what is done.

        Returns:
            (what it gave, how many allocations failed).

        Raises:
            MemoryError: as the operation did.
        """
        self._library.scarce_begin(kind, count, in_a_row)
        try:
            result = operation()
        finally:
            while True:
                try:
                    self._library.scarce_end()
                    break
                except MemoryError:  # of this call's own; at most `in_a_row` times
                    pass
        return result, self._library.scarce_failed()

    def live(self, kind: int) -> int:
        """Return how many blocks are allocated and not freed."""
        return int(self._library.scarce_live(kind))
