"""Check the models with Spin: what they promise holds, and every planted bug is found.

    .venv/bin/python tests/model/check.py            two to three minutes
    .venv/bin/python tests/model/check.py --more     with two crashes in the liveness claims too

Each check is compiled and run in a temporary folder. A search that was cut short counts as a
failure, as does a planted bug that is found by another promise than the one it breaks.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

# Many small states: they are kept compressed, and the deepest path is some hundreds of steps.
COMPILE = ["cc", "-O2", "-w", "-DCOLLAPSE", "-DMEMLIM=6000", "-o", "pan", "pan.c"]
SAFETY = ["-DSAFETY", "-DNOCLAIM"]
FAIR = ["-DNFAIR=4"]
DEPTH = "-m400000"

# What Spin prints of a search that did not see everything.
CUT_SHORT = re.compile(r"out of memory|search depth too small|reached -DMEMLIM|not completed")


class Check(NamedTuple):
    """One search.

    Attributes:
        model: the file.
        defines: what it is compiled with.
        claim: a property of the whole run; "" for the assertions and for deadlocks.
        broken: for a planted bug, what Spin must print: the promise that it breaks.
    """

    model: str
    defines: str
    claim: str = ""
    broken: str = ""


HOLDS = [
    Check("invite.pml", "-DN=2 -DMAXCRASH=2"),
    Check("invite.pml", "-DN=2 -DMAXCRASH=1", "live_term"),
    Check("invite.pml", "-DN=2 -DMAXCRASH=1", "live_told"),
    Check("invite.pml", "-DN=2 -DMAXCRASH=1", "stable"),
    Check("multi.pml", ""),
    Check("multi.pml", "", "agreed"),
]
MORE = [
    Check("invite.pml", "-DN=2 -DMAXCRASH=2", "live_term"),
    Check("invite.pml", "-DN=2 -DMAXCRASH=2", "live_told"),
    Check("invite.pml", "-DN=2 -DMAXCRASH=2", "stable"),
]
PLANTED = [
    Check("invite.pml", "-DBUG_ACK_EARLY", "", "((ackst[j]==0)||(ackst[j]==dst[j]))"),
    Check("invite.pml", "-DBUG_ACCEPT_ANY", "", "((vst[j]!=1)||consent[j])"),
    Check("invite.pml", "-DBUG_CANCEL_ANY", "", "((vst[j]!=3)||inv_cancel)"),
    Check("invite.pml", "-DBUG_EARLY", "", "((vst[j]!=4)||(now>=ackdl))"),
    Check("invite.pml", "-DBUG_OVERWRITE", "", "((ackst[j]==0)||(ackst[j]==vst[j]))"),
    Check("invite.pml", "-DBUG_NODEDUP", "", "(cbInvitee[i]<=1)"),
    Check("invite.pml", "-DBUG_EXT_VOLATILE", "", "(ddl>=ackdl)"),
    Check("invite.pml", "-DBUG_NOREARM", "live_term", "acceptance cycle"),
    Check("invite.pml", "-DBUG_NORESYNC", "live_told", "acceptance cycle"),
    Check("multi.pml", "-DBUG_NOCAS", "", "(terms<=1)"),
    Check("multi.pml", "-DBUG_BLIND_RETRY", "", "(terms<=1)"),
]


def search(check: Check) -> str:
    """Return what Spin's verifier printed for a check.

    Raises:
        SystemExit: it could not be made or run.
    """
    with tempfile.TemporaryDirectory() as folder:
        spin = ["spin", *check.defines.split(), "-a", str(HERE / check.model)]
        commands = [spin, [*COMPILE, *(FAIR if check.claim else SAFETY)]]
        run = ["./pan", DEPTH, "-w22"]
        if check.claim:
            run += ["-a", "-f", "-N", check.claim]
        for command in [*commands, run]:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode and command is not run:
                raise SystemExit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


def verdict(check: Check, printed: str) -> str:
    """Return what is wrong with what a search printed; `""` where it is as it should be."""
    errors = re.search(r"errors: (\d+)", printed)
    if errors is None:
        return "the search did not end"
    if check.claim and f"+ ({check.claim})" not in printed:
        return "the claim was not searched"
    if check.broken:
        first = re.search(r"^pan:1: (.*)$", printed, re.MULTILINE)
        if first is None:
            return "the planted bug was NOT found"
        return "" if check.broken in first[1] else f"found, but as: {first[1]}"
    if CUT_SHORT.search(printed):
        return "the search was cut short"
    return "" if errors[1] == "0" else "an error: run pan in a folder of its own to see its trail"


def figure(pattern: str, printed: str) -> str:
    found = re.search(pattern, printed)
    return found[1] if found else "?"


def main() -> int:
    """Run all checks; the exit status is 1 where one is not as it should be."""
    if shutil.which("spin") is None:
        print("model: skipped, Spin is not installed (Debian, Ubuntu: apt-get install spin)")
        return 0
    more = "--more" in sys.argv[1:]
    failed = 0
    for check in [*HOLDS, *(MORE if more else []), *PLANTED]:
        begun = time.monotonic()
        printed = search(check)
        wrong = verdict(check, printed)
        failed += bool(wrong)
        states = int(figure(r"(\d+) states, stored", printed).replace("?", "0"))
        name = f"{check.model} {check.defines} {check.claim or 'assertions'}"
        memory = figure(r"([\d.]+)\s+total actual memory", printed)
        meant = "found" if check.broken else "holds"
        print(
            f"{name:<52} {states:>9,} states {memory:>8} MB "
            f"{time.monotonic() - begun:6.1f} s  {wrong or meant}",
            flush=True,
        )
    print(f"model: {failed} not as they should be" if failed else "model: all as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
