"""Memory of the core, in a process of its own, where nothing else grows.

    python memory.py PATH FOLDER invitations    one invitee each, as many users as invitations
    python memory.py PATH FOLDER invitees       LISTS lists, all of the same users

PATH is that of the built core_cycle. FOLDER holds the operands, so that no memory in which this
process has made them is there to be used again. Prints one JSON object: by how many bytes the
core's own counter grew (`counted`) and the process (`resident`, as the system tells it), for how
many `items`.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import operands

STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096
OPERAND_BYTES = 32  # of the driver's array, which is not the core's
LISTS = 100


def measured(core_cycle: ModuleType, what: str, size: int) -> dict[str, int]:
    """Run this program and return what it prints.

    Args:
        core_cycle: the built module.
        what: `invitations` or `invitees`.
        size: how many invitations, or how many invitees a list has.
    """
    inviters, invitees = operands.pairs(size)
    arrays = {
        "inviters": inviters,
        "invitees": invitees,
        "timeouts": operands.timeouts_ms(size, 29_000),
        "list": range(1, size + 1),
    }
    with tempfile.TemporaryDirectory(prefix="pysignal-memory-") as folder:
        for name, numbers in arrays.items():
            Path(folder, name).write_bytes(operands.packed(numbers))
        command = [sys.executable, __file__, str(core_cycle.__file__), folder, what]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    figures: dict[str, int] = json.loads(told.stdout)
    return figures


def load(path: str) -> ModuleType:
    """Import the module built from core_cycle.pyx."""
    spec = importlib.util.spec_from_file_location("core_cycle", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def resident_bytes() -> int:
    """Return how much memory of this process is there; 0 where the system does not tell."""
    return int(STATM.read_text().split()[1]) * PAGE_BYTES if STATM.exists() else 0


def invitations(core_cycle: ModuleType, folder: Path) -> dict[str, int]:
    """Open invitations among as many users; users count too."""
    inviters, invitees, timeouts = (
        (folder / name).read_bytes() for name in ("inviters", "invitees", "timeouts")
    )
    before = resident_bytes()
    core = core_cycle.Invitations(inviters, invitees)
    core.open_all(timeouts)
    grown = resident_bytes() - before
    core.check()
    size: int = core.counts[0]
    return {"counted": core.bytes_used, "resident": grown - OPERAND_BYTES * size, "items": size}


def invitees(core_cycle: ModuleType, folder: Path) -> dict[str, int]:
    """Open LISTS invitations to the same users, who exist before."""
    answers = core_cycle.Answers((folder / "list").read_bytes())
    counted, before = answers.bytes_used, resident_bytes()
    for _ in range(LISTS):
        answers.open()
    grown = resident_bytes() - before
    answers.check()
    counted = answers.bytes_used - counted
    return {"counted": counted, "resident": grown, "items": LISTS * answers.count}


if __name__ == "__main__":
    of = {"invitations": invitations, "invitees": invitees}[sys.argv[3]]
    print(json.dumps(of(load(sys.argv[1]), Path(sys.argv[2]))))
