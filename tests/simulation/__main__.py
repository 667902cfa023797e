"""Run some seeds: `PYTHONPATH=.:tests python -m simulation 17`; with --trace all that happened."""

from __future__ import annotations

import sys

from simulation.world import World

for argument in sys.argv[1:]:
    if argument != "--trace":
        world = World(int(argument))
        try:
            world.run()
        finally:
            if "--trace" in sys.argv:
                print("\n".join(world.trace.lines))
            print(world.trace.digest())
