"""Run some seeds: `PYTHONPATH=.:tests python -m simulation 17`; with --trace all that happened.

With --network the worlds have a server and clients. `0:100000` stands for many seeds, of which only
those that fail are told.
"""

from __future__ import annotations

import gc
import sys
import traceback

from simulation.network_world import NetworkWorld
from simulation.world import World


def main(arguments: list[str]) -> int:
    """Run what the arguments say; returns the exit status."""
    flags = {argument for argument in arguments if argument.startswith("--")}
    kind = NetworkWorld if "--network" in flags else World
    failed = 0
    for argument in arguments:
        if argument in flags:
            continue
        first, is_range, end = argument.partition(":")
        if not is_range:
            run(kind(int(first)), "--trace" in flags)
            continue
        for seed in range(int(first), int(end)):
            try:
                kind(seed).run()
            except Exception:
                failed += 1
                print(f"seed {seed} fails:\n{traceback.format_exc()}", flush=True)
            if seed % 32 == 0:
                gc.collect()  # a world is a knot of its processes
        print(f"{argument}: {failed} seeds have failed")
    return 1 if failed else 0


def run(world: World | NetworkWorld, is_told: bool) -> None:
    """Run one world, and print the digest of its trace, or all of it."""
    try:
        world.run()
    finally:
        if is_told:
            print("\n".join(world.trace.lines))
        print(world.trace.digest())


sys.exit(main(sys.argv[1:]))
