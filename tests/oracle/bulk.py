"""Many histories in several processes.

    make histories N=1000000 OVER=machine
    make histories SEED=123 OVER=hub N=1

A history that fails is told with the command that runs it alone, and with the fewest of its acts
that still fail.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import uvloop

from oracle import hub_history, machine_run
from oracle.acts import Act
from oracle.failure import HistoryFailed, shortest, shown
from oracle.hub_run import HubRun
from oracle.machine_run import MachineRun
from oracle.source import Seeded, Source

TESTS: Final = Path(__file__).parents[1]
CRASHES: Final = "crashes"  # histories of a hub that has a journal in each
CHUNK: Final = 100_000  # histories after which a long run says how it goes


class HistoriesFailed(AssertionError):
    """What the failing process has told."""


def run(count: int, first_seed: int, over: str = "hub", workers: int = 2) -> float:
    """Run histories in processes of their own, and return how many seconds it took.

    Args:
        count: histories, each of 40 operations.
        first_seed: the seed of the first; the others follow.
        over: "hub", "machine" or "crashes".
        workers: processes.

    Raises:
        HistoriesFailed: one differs from the model.
    """
    began = time.perf_counter()
    processes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "oracle.bulk", "--over", over, "--count", str(count),
                "--seed", str(first_seed), "--share", f"{number}/{workers}",
            ],
            env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number in range(workers)
    ]  # fmt: skip
    told = [process.communicate()[0] for process in processes]
    for process, text in zip(processes, told, strict=True):
        if process.returncode:
            raise HistoriesFailed(text)
    return time.perf_counter() - began


def environment() -> dict[str, str]:
    """The environment of a process that finds this package and the one that is tested."""
    paths = [str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def run_one(over: str, source: Source) -> HubRun | MachineRun:
    """Run one history; returns what has happened, or raises HistoryFailed."""
    if over == "machine":
        return machine_run.run_history(source)
    return uvloop.run(hub_history.run_history(source, crashing=over == CRASHES))


def run_here(seeds: Iterable[int], over: str, *, show: bool = False) -> None:
    """Run histories in this process; SystemExit tells of the first that fails."""

    async def run_all() -> None:
        for seed in seeds:
            try:
                if over == "machine":
                    run: HubRun | MachineRun = machine_run.run_history(Seeded(seed))
                else:
                    run = await hub_history.run_history(Seeded(seed), crashing=over == CRASHES)
            except HistoryFailed as failure:
                sys.exit(await tell(seed, failure, over))
            if show:
                print(*map(shown, run.acts), sep="\n")

    uvloop.run(run_all())


async def tell(seed: int, failure: HistoryFailed, over: str) -> str:
    """Say what has failed, how to run it again, and what of it is to blame."""

    def fails(acts: list[Act]) -> bool:
        try:
            replay(failure.over, failure.setup, acts)
        except AssertionError:
            return True
        except Exception:
            return False  # it lacks an invitation that was left out, say
        return False

    # Replays have a loop of their own, in a thread of its own.
    acts = await asyncio.to_thread(shortest, failure.acts, fails)
    told = "".join(f"\n    {shown(act)}" for act in acts)
    return (
        f"{failure}: {failure.__cause__!r}\nrun it again: "
        f"make histories SEED={seed} OVER={over} N=1\nin {failure.setup}\n"
        f"of {len(failure.acts)} acts these fail alone:{told}"
    )


def replay(over: str, setup: Any, acts: list[Act]) -> None:
    """Let acts happen that were drawn before."""
    if over == "machine":
        machine_run.replay(setup, acts)
    else:
        uvloop.run(hub_history.replay(setup, acts))


def main() -> None:
    """Run what the command line says, and tell how fast it was."""
    parser = argparse.ArgumentParser(prog="make histories")
    parser.add_argument("--over", choices=["hub", "machine", CRASHES, "both"], default="both")
    parser.add_argument("--count", type=int, default=CHUNK)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--share", help="of a process: its number/how many")
    parser.add_argument("--show", action="store_true", help="of a process: print the acts")
    args = parser.parse_args()
    end = args.seed + args.count
    if args.share:
        number, workers = map(int, args.share.split("/"))
        run_here(range(args.seed + number, end, workers), args.over, show=args.show)
        return
    for over in ("machine", "hub") if args.over == "both" else (args.over,):
        for first in range(args.seed, end, CHUNK):
            count = min(CHUNK, end - first)
            try:
                seconds = run(count, first, over, min(args.workers, count))
            except HistoriesFailed as failure:
                sys.exit(str(failure))
            told = f"{over}: seeds {first} to {first + count - 1}, {count / seconds:,.0f} a second"
            print(told, flush=True)


if __name__ == "__main__":
    main()
