"""Kill a call server again and again, and check after each restart what must hold.

PYTHONPATH=tests python -m crash --rounds 10000 --seed 0
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time

from crash.rounds import ROUNDS, Tally, play

PART = 20 * ROUNDS


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill a call server with SIGKILL.")
    parser.add_argument("--rounds", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    tally = Tally()
    if options.rounds <= PART:
        tally = play(options.rounds, options.seed)
    else:
        parts = [
            (min(PART, options.rounds - done), options.seed + done // ROUNDS)
            for done in range(0, options.rounds, PART)
        ]
        with multiprocessing.get_context("spawn").Pool(os.cpu_count() or 1) as pool:
            for part in pool.starmap(play, parts, chunksize=1):
                tally.add(part)
    print(f"{tally}\nin {time.perf_counter() - began:.0f} s: every promise was kept")


if __name__ == "__main__":
    main()
