"""Make a hundred million invite IDs, and count how many come twice.

    .venv/bin/python tests/soak/ids.py --ids 100000000

or `make soak-ids`. One key and one shard serve all of them, over many lives of a machine that keep
nothing else, each on a clock that has stepped back behind the one before: what is promised is that
not even then an ID comes again (SPEC §1).

Memory stays flat. IDs go to 1,024 files by their last two characters, which are random bits, and
then the files are read one by one, each into a set. They take 26 bytes an ID, and are removed.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Final

from pysignal.engine.machine import Machine

KEY: Final = b"sixteen bytes..."
SHARD: Final = 4095
START_MS: Final = 1_700_000_000_000
CHARS: Final = 26
DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
BATCH_IDS: Final = 1 << 18
LIFE_IDS: Final = 5_000_000
# So many slots are in use at once; some lives have only one, so that its generations go round.
SLOTS: Final = (1, 256, 4_096)
TOLD_EVERY: Final = 10_000_000


def make_ids(count: int) -> Iterator[list[str]]:
    """Yield the IDs of life after life, in batches."""
    life = made = 0
    while made < count:
        now_ms = START_MS - life * 1_000
        slots = SLOTS[life % len(SLOTS)]
        machine = Machine(key=KEY, shard=SHARD, now_ms=now_ms, ended_max=0)
        of_life = 0
        batch: list[str] = []
        while of_life < LIFE_IDS and made < count:
            # Born ended: the slot is free for the next one as soon as its fact has been taken.
            size = min(slots, LIFE_IDS - of_life, count - made)
            batch += [machine.open(now_ms, "a", [], group_id="g") for _ in range(size)]
            machine.take()
            of_life += size
            made += size
            if len(batch) >= BATCH_IDS:
                yield batch
                batch = []
        if machine.stats()["slots"] > slots:
            raise SystemExit(f"a machine needed {machine.stats()['slots']} slots for {slots}")
        yield batch
        life += 1


def sort_into_files(count: int, folder: Path) -> int:
    """Write all IDs, backwards, to a file for each two first characters; returns how many."""
    starts = [first + second for first in DIGITS for second in DIGITS]
    written = told = 0
    with ExitStack() as stack:
        files = [stack.enter_context((folder / start).open("wb")) for start in starts]
        for batch in make_ids(count):
            # Sorted, those of one file lie beside each other.
            backwards = sorted(invite_id[::-1] for invite_id in batch)
            places = [bisect_left(backwards, start) for start in starts]
            for file, (begin, end) in zip(files, pairwise([*places, len(batch)]), strict=True):
                file.write("".join(backwards[begin:end]).encode("ascii"))
            written += len(batch)
            if written // TOLD_EVERY > told:
                told = written // TOLD_EVERY
                print(f"{written:,} made", flush=True)
    return written


def count_repeats(folder: Path) -> tuple[int, int]:
    """Read the files, and remove them; returns how many IDs there are, and how many came before."""
    found = repeats = 0
    for path in sorted(folder.iterdir()):
        text = path.read_text("ascii")
        path.unlink()
        ids = [text[place : place + CHARS] for place in range(0, len(text), CHARS)]
        found += len(ids)
        repeats += len(ids) - len(set(ids))
    return found, repeats


def main() -> None:
    """Make them, count, and print the figures; the exit code says whether all are different."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ids", type=int, default=100_000_000, help="how many to make")
    parser.add_argument("--folder", type=Path, help="where the files go; 26 bytes an ID")
    options = parser.parse_args()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-ids-", dir=options.folder) as folder:
        written = sort_into_files(options.ids, Path(folder))
        made = time.monotonic()
        found, repeats = count_repeats(Path(folder))
    compared = time.monotonic()
    lives = -(-found // LIFE_IDS)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"IDs        {found:,} in {lives:,} lives of one key and shard")
    print(f"repeats    {repeats:,}")
    print(f"seconds    {made - begun:.0f} to make, {compared - made:.0f} to compare")
    print(f"peak RSS   {peak_mib:.0f} MiB")
    if repeats or not options.ids == written == found:
        sys.exit(f"{options.ids - found:,} IDs lost, {repeats:,} came twice")


if __name__ == "__main__":
    main()
