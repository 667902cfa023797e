"""The rivals that are programs of their own: the floor in C, and the naive engine.

They stay as they are and are run whole, as anybody could run them by hand; each measures itself in
CPU time and prints one JSON object.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent / "rivals"


class Floor:
    """The least work that a core can do, in C: loaded with what a core owes, and bare.

    Args:
        folder: where the two programs are compiled to.

    Attributes:
        missing: why it can't run on this machine; `""` where it can.
    """

    def __init__(self, folder: Path) -> None:
        self.missing = ""
        self._programs = {"loaded": folder / "floor", "bare": folder / "floor_bare"}
        compiler = (os.environ.get("CC") or shutil.which("cc") or "gcc").split()
        for kind, program in self._programs.items():
            define = ["-DBARE"] if kind == "bare" else []
            command = [*compiler, "-O3", "-march=native", *define, "-o", str(program)]
            made = subprocess.run(
                [*command, str(FOLDER / "floor.c")], capture_output=True, text=True, check=False
            )
            if made.returncode:
                self.missing = f"floor.c does not compile here: {made.stderr.strip()[:300]}"

    def run(self, kind: str, count: int) -> dict[str, float] | None:
        """Run it whole with `count` open; `kind` is loaded or bare. None where it can't run."""
        return None if self.missing else _json_of([str(self._programs[kind]), str(count)])

    def figure(self, kind: str, count: int, name: str) -> float | None:
        """Run it whole and return one of its figures."""
        told = self.run(kind, count)
        return None if told is None else told[name]


def naive_run(count: int) -> dict[str, float]:
    """Run the naive engine whole with `count` open."""
    return _json_of([sys.executable, str(FOLDER / "naive.py"), str(count)])


def naive_module() -> ModuleType:
    """Import the naive engine, for what its program doesn't measure."""
    spec = importlib.util.spec_from_file_location("naive", FOLDER / "naive.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["naive"] = module  # its dataclasses look themselves up by name
    spec.loader.exec_module(module)
    return module


def _json_of(command: list[str]) -> dict[str, float]:
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures: dict[str, float] = json.loads(told)
    return figures
