"""What is seen while the demo runs: steps, progress with counts and rates, tables at the end.

On a terminal progress is live. Elsewhere it is a line each second without colours, so that a log
stays a log. Both are drawn on the event loop that is being measured, four times a second at most:
a thread of its own would hold up the loop for longer, and at worse moments.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pysignal.clock import stopwatch_ns
from pysignal.demo.figures import Checks, Figures, duration

_LIVE_S: Final = 0.25
_PLAIN_S: Final = 1.0
_PLAIN_COLUMNS: Final = 100

Counts = Callable[[], Mapping[str, int]]


class View:
    """Tells what goes on.

    Args:
        plain: without colours and live display; so in any case where stdout is no terminal.
    """

    def __init__(self, plain: bool = False) -> None:
        console = Console(highlight=False)
        self.plain = plain or not console.is_terminal
        if self.plain:
            console = Console(
                highlight=False, no_color=True, force_terminal=False, width=_PLAIN_COLUMNS
            )
        self._console = console
        self._began_ns = stopwatch_ns()

    def act(self, title: str) -> None:
        """Begin a part."""
        self._console.print()
        self._console.print(Text(title, style="bold"))
        self._began_ns = stopwatch_ns()

    def step(self, text: str) -> None:
        """Tell one thing, with the time since the part began."""
        seconds = (stopwatch_ns() - self._began_ns) / 1e9
        self._console.print(Text.assemble((f"  {seconds:7.3f} s  ", "dim"), text), soft_wrap=True)

    @asynccontextmanager
    async def progress(self, what: str, total: int, counts: Counts) -> AsyncIterator[None]:
        """Show how something goes on until the body has ended.

        Args:
            what: what is being done.
            total: how much there is to do.
            counts: tells what has been counted; the first is how much is done.
        """
        follower = _Follower(what, total, counts)
        show = self._show_lines if self.plain else self._show_live
        task = asyncio.get_running_loop().create_task(show(follower))
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self.step(follower.line())

    async def _show_lines(self, follower: _Follower) -> None:
        while True:
            await asyncio.sleep(_PLAIN_S)
            self.step(follower.line())

    async def _show_live(self, follower: _Follower) -> None:
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(follower.picture(), refresh=True)
                await asyncio.sleep(_LIVE_S)

    # -- the end -----------------------------------------------------------------------------------

    def figures(self, figures: Figures) -> None:
        """Tell what was measured."""
        self._console.print()
        rates = self._table("rates", "count", "time", "per second")
        for rate in figures.rates:
            rates.add_row(
                rate.name, f"{rate.count:,}", duration(rate.took_ns), f"{rate.per_second:,.0f}"
            )
        self._console.print(rates)
        times = self._table("times", "samples", "p50", "p99", "max")
        for samples in figures.samples:
            quantiles = samples.quantiles(0.5, 0.99, 1.0)
            times.add_row(
                samples.name, f"{len(samples.values):,}", *(duration(value) for value in quantiles)
            )
        self._console.print(times)
        memory = self._table("memory", "")
        for name, told in figures.memory.items():
            memory.add_row(name, told)
        self._console.print(memory)
        self.note("Times are those of one event loop, which carried this demo's phones as well.")

    def outcomes(self, rows: list[tuple[str, int, int]]) -> None:
        """Tell what became of the invitees, beside what the script had to give.

        Args:
            rows: of a status, how many there are and how many there had to be.
        """
        self._console.print()
        table = self._table("invitees", "by the script", "found")
        for name, found, expected in rows:
            style = "" if found == expected else "red"
            table.add_row(name, f"{expected:,}", f"{found:,}", style=style)
        self._console.print(table)

    def verdict(self, checks: Checks) -> None:
        """Tell whether every check held, and which did not."""
        self._console.print()
        if not checks.failures:
            self._console.print(Text(f"all {checks.count} checks passed", style="bold green"))
            return
        failed = f"{len(checks.failures)} of {checks.count} checks failed"
        self._console.print(Text(failed, style="bold red"))
        for failure in checks.failures:
            self._console.print(Text(f"  failed: {failure.name}", style="red"), soft_wrap=True)
            self._console.print(Text(f"          {failure.found}"), soft_wrap=True)

    def note(self, text: str) -> None:
        """Tell something by the way."""
        self._console.print(Text(text), soft_wrap=True)

    def _table(self, title: str, *columns: str) -> Table:
        frame = box.ASCII2 if self.plain else box.SIMPLE_HEAD
        table = Table(box=frame, min_width=76)
        table.add_column(title, ratio=1)
        for column in columns:
            table.add_column(column, justify="right")
        return table


class _Follower:
    """Reads counts from time to time, and the rate of the first from the difference."""

    def __init__(self, what: str, total: int, counts: Counts) -> None:
        self._what = what
        self._total = total
        self._counts = counts
        self._read_ns = stopwatch_ns()
        self._began_ns = self._read_ns
        self._done = next(iter(counts().values()))
        self._begun_with = self._done
        self._per_second = 0.0

    def _read(self) -> Mapping[str, int]:
        """Read the counts, and the rate since the last reading."""
        counts = self._counts()
        now_ns = stopwatch_ns()
        done = next(iter(counts.values()))
        self._per_second = (done - self._done) * 1e9 / max(now_ns - self._read_ns, 1)
        self._read_ns = now_ns
        self._done = done
        return counts

    def line(self) -> str:
        """The counts as a line, and the rate from the beginning."""
        counts = self._read()
        (name, done), *others = counts.items()
        per_second = (done - self._begun_with) * 1e9 / max(self._read_ns - self._began_ns, 1)
        told = [f"{done:,} of {self._total:,} {name} ({per_second:,.0f}/s)"]
        told += [f"{count:,} {other}" for other, count in others]
        return f"{self._what}: {', '.join(told)}"

    def picture(self) -> Group:
        """The counts as a bar and a table, with the rate of now."""
        counts = self._read()
        (name, done), *others = counts.items()
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", min_width=14)
        table.add_column()
        table.add_row(f"{done:,}", f"of {self._total:,} {name}, {self._per_second:,.0f}/s")
        for other, count in others:
            table.add_row(f"{count:,}", other)
        bar = ProgressBar(total=max(self._total, 1), completed=done, width=60)
        return Group(Text(f"  {self._what}"), Padding(bar, (0, 2)), table)
