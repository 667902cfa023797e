"""Fuzz the machine and the hub against their models, and the protocol, side by side.

    make fuzz SECONDS=60
    make fuzz ARGS="build/fuzz/hub/crash-…"      run one input that failed
    make fuzz ARGS="--only frames"                fuzz one of them
    make fuzz ARGS=--keep                        add what was found to the corpus of the tests

New inputs go to build/fuzz. An input that fails stays there too, and is told with its operations.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["oracle", "pysignal"]):
    from fuzz.target import BYTES_MAX, CORPUS, OVER, run_input

TESTS = Path(__file__).parents[1]
FOUND = TESTS.parent / "build" / "fuzz"


def fuzz(over: str, options: list[str]) -> None:
    """Run libFuzzer in this process; it does not return."""
    loop = asyncio.new_event_loop()
    # A merge starts its program again and again, so there has to be one.
    program = FOUND / f"{over}.sh"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fuzz --over {over} -- "$@"\n')
    program.chmod(0o755)
    atheris.Setup([str(program), *options], lambda data: run_input(over, data, loop))
    atheris.Fuzz()


def start(over: str, *options: str) -> subprocess.Popen[bytes]:
    """Start libFuzzer in a process of its own."""
    environment = os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent}"}
    command = [sys.executable, "-m", "fuzz", "--over", over, "--", *options]
    return subprocess.Popen(command, env=environment)


def main() -> int:
    """Do what the command line says; the exit code tells whether an input failed."""
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true", help="merge what was found into the corpus")
    parser.add_argument("--over", choices=OVER, help="of a process: what it fuzzes")
    parser.add_argument("--only", choices=OVER, help="leave out the others")
    parser.add_argument("rest", nargs="*", help="an input that failed")
    args = parser.parse_args()
    if args.over:
        fuzz(args.over, args.rest)
    if args.rest:
        return max(start(Path(file).parent.name, file).wait() for file in args.rest)
    running = []
    for over in [args.only] if args.only else OVER:
        found, kept = FOUND / over, CORPUS / over
        found.mkdir(parents=True, exist_ok=True)
        if args.keep:
            # Each for code that no other reaches; how often it is reached would keep thousands.
            options = ["-merge=1", "-use_counters=0", str(kept), str(found)]
        else:
            options = [f"-max_total_time={args.seconds}", "-print_final_stats=1", str(found)]
            options += [str(kept), f"-artifact_prefix={found}/"]
        running.append(start(over, f"-max_len={BYTES_MAX}", *options))
    return max(process.wait() for process in running)


if __name__ == "__main__":
    sys.exit(main())
