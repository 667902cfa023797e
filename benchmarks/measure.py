"""One measurement: whole runs of ours and of each rival in turn, in CPU time.

pytest-benchmark times our runs, with the CPU clock of the process. What stands between two runs of
ours is not timed: the rivals' runs, each by its own CPU clock, then getting ready for the next.
So a machine that is slow for a while is slow for all of them, and ratios hold.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

NS, US, PER_SECOND, SECONDS, MS = "ns", "us", "/s", "s", "ms"
BYTES, KIB, COUNT, TIMES, SHARE = "bytes", "KiB", "events", "times", "share"

# Runs of each; fewer where one takes seconds.
ROUNDS = 5
ROUNDS_SLOW = 3
LARGE = 10_000

# What a quick run has in place of a size.
QUICK = {1_000: 100, 10_000: 200, 100_000: 1_000, 1_000_000: 2_000, 10_000_000: 3_000}

# Runs a rival whole and returns its figure, in the unit of the row; None where it can't run here.
Rival = Callable[[], float | None]


class Size(int):
    """How many are open, armed, asked or online.

    Attributes:
        name: as figures end in it, `1e5`; a quick run has fewer, under the same name.
    """

    name: str

    def __new__(cls, nominal: int, quick: bool = False) -> Size:
        """Make a size.

        Args:
            nominal: a power of ten, one of QUICK.
            quick: whether to have fewer.
        """
        size = super().__new__(cls, QUICK[nominal] if quick else nominal)
        size.name = f"1e{len(str(nominal)) - 1}"
        return size


@dataclass
class Row:
    """One line of the table.

    Attributes:
        what: what one operation is.
        size: how many are open, armed, asked or online.
        unit: of every figure in the row: NS or US per operation, PER_SECOND, SECONDS or MS of a
            whole, BYTES, KIB, COUNT, TIMES or SHARE.
        ours: our figure, one a run.
        rivals: each rival's, by its name, one a run.
        subject: the file that it comes from.
    """

    what: str
    size: int
    unit: str
    ours: list[float]
    rivals: dict[str, list[float]] = field(default_factory=dict)
    subject: str = ""

    @property
    def median(self) -> float:
        """Our figure."""
        return statistics.median(self.ours)

    def rival(self, name: str) -> float | None:
        """Return a rival's median; None where it could not run."""
        runs = self.rivals[name]
        return statistics.median(runs) if runs else None

    def times_as_fast(self, name: str) -> float | None:
        """Return how many times as fast as a rival we are; below 1 the rival is faster.

        None where there is no faster: one of them did not run or has 0, or neither is better.
        """
        theirs = self.rival(name)
        if not theirs or not self.median or self.unit in (COUNT, SHARE):
            return None
        return self.median / theirs if self.unit == PER_SECOND else theirs / self.median


def spread(runs: list[float]) -> float:
    """Return the distance between the quartiles, as a share of the median."""
    median = statistics.median(runs)
    if len(runs) < 2 or not median:
        return 0.0
    low, _, high = statistics.quantiles(runs, n=4, method="inclusive")
    return (high - low) / median


def cpu_ns(run: Callable[[], object], operations: int) -> float:
    """Run something once and return its CPU time per operation, ns; collects garbage before."""
    gc.collect()
    start = time.process_time_ns()
    run()
    return (time.process_time_ns() - start) / operations


class Measure:
    """Measures what one test is about, and adds rows to the table.

    Args:
        benchmark: pytest-benchmark's fixture.
        subject: the file that asks.
        rows: the table.
        figures: the plain numbers of the JSON, by name.
        quick: run everything once, only to see that it works.
    """

    def __init__(
        self, benchmark: Any, subject: str, rows: list[Row], figures: dict[str, float], quick: bool
    ) -> None:
        self._benchmark = benchmark
        self._subject = subject
        self._rows = rows
        self._figures = figures
        self.quick = quick

    def operations(self, count: int, least: int = 1) -> int:
        """Return how many operations a run has: `count`, and far fewer when quick."""
        return max(count // 100, least) if self.quick else max(count, least)

    def rounds(self, size: int, slow: bool) -> int:
        """Return how many runs there are of each.

        Args:
            size: how many are open, armed, asked or online.
            slow: whether a run takes seconds from LARGE on.
        """
        return 1 if self.quick else ROUNDS_SLOW if slow and size >= LARGE else ROUNDS

    def __call__(
        self,
        what: str,
        size: int,
        operations: int,
        run: Callable[[], object],
        *,
        prepare: Callable[[], object] = lambda: None,
        verify: Callable[[], object] = lambda: None,
        rivals: Mapping[str, Rival] | None = None,
        unit: str = NS,
        slow: bool = False,
    ) -> Row:
        """Run ours and the rivals in turn, and return the row.

        Args:
            what: what one operation is, for the table.
            size: how many are open, armed, asked or online.
            operations: how many operations one run has.
            run: our run; this alone is timed.
            prepare: called before each run of ours.
            verify: called after each run of ours; raises where an outcome is wrong.
            rivals: by name.
            unit: NS, PER_SECOND or SECONDS.
            slow: see `rounds`.
        """
        theirs: dict[str, list[float]] = {name: [] for name in rivals or {}}
        ran = 0

        def between() -> None:
            nonlocal ran
            if ran:
                verify()
            ran += 1
            for name, rival in (rivals or {}).items():
                figure = rival()
                if figure is not None:
                    theirs[name].append(figure)
            prepare()
            gc.collect()

        self._benchmark.pedantic(run, setup=between, rounds=self.rounds(size, slow))
        verify()
        seconds = self._benchmark.stats.stats.data if self._benchmark.stats else []
        if unit == PER_SECOND:
            ours = [operations / run_s for run_s in seconds]
        elif unit == SECONDS:
            ours = list(seconds)
        else:
            ours = [run_s * 1e9 / operations for run_s in seconds]
        return self.add(Row(what, size, unit, ours, theirs))

    def run(self, run: Callable[[], object]) -> None:
        """Run something once that measures itself; its rows come by `add`."""
        self._benchmark.pedantic(run, rounds=1)

    def add(self, row: Row) -> Row:
        """Add a row to the table."""
        row.subject = self._subject
        if row.ours:
            self._rows.append(row)
        return row

    def figure(self, name: str, row: Row, *, over: str = "", faster_than: str = "") -> None:
        """Put a plain number into the JSON: the row's median, or a ratio of medians.

        Args:
            name: of the number.
            row: where it comes from.
            over: divide our cost by this rival's.
            faster_than: how many times as fast as this rival we are.
        """
        if not row.ours:
            return
        value: float | None = row.median
        if over or faster_than:
            value = row.times_as_fast(over or faster_than)
            if value is not None and over:
                value = 1 / value
        if value is not None:
            self._figures[name] = value
