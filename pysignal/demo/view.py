"""What is seen while the demo runs: steps, progress with counts, and tables at the end.

On a terminal progress is live. Elsewhere it is a line each second without colours, so that a log
stays a log. Rates are told once, in the tables. Progress is drawn on the event loop that is being
measured, four times a second at most: a thread of its own would hold up the loop for longer, and at
worse moments.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pysignal.clock import stopwatch_ns
from pysignal.demo.beside import beside
from pysignal.demo.figures import Checks, Figures, duration

_LIVE_S: Final = 0.25
_PLAIN_S: Final = 1.0
_PLAIN_COLUMNS: Final = 100
_NARROW_COLUMNS: Final = 20  # a terminal narrower than that shows what it can
_TABLE_COLUMNS: Final = 76

Counts = Callable[[], Mapping[str, int]]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the command how to end when nobody reads on; rich would exit with 1."""
        raise BrokenPipeError


class View:
    """Tells what goes on.

    Args:
        plain: without colours and live display; so in any case where stdout is no terminal.
    """

    def __init__(self, plain: bool = False) -> None:
        console = _Console(highlight=False)
        self.plain = plain or not console.is_terminal
        if self.plain:
            console = _Console(
                highlight=False, no_color=True, force_terminal=False, width=_PLAIN_COLUMNS
            )
        self._console = console
        self._began_ns = stopwatch_ns()

    def act(self, title: str) -> None:
        """Begin a part."""
        self._console.print()
        self._tell("", title, style="bold")
        self._began_ns = stopwatch_ns()

    def step(self, text: str) -> None:
        """Tell one thing, with the time since the part began."""
        seconds = (stopwatch_ns() - self._began_ns) / 1e9
        self._tell(f"  {seconds:7.3f} s  ", text)

    def _tell(self, head: str, text: str, style: str = "") -> None:
        """Print, broken at words; further lines begin below the first, behind the head."""
        width = max(self._console.width - len(head), _NARROW_COLUMNS)
        for line in textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False):
            self._console.print(Text.assemble((head, "dim"), (line, style)), soft_wrap=True)
            head = " " * len(head)

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
        async with beside(show(follower)):
            yield
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
            self._tell("  failed: ", failure.name, style="red")
            self._tell("          ", failure.found)

    def note(self, text: str) -> None:
        """Tell something by the way."""
        self._tell("", text)

    def _table(self, title: str, *columns: str) -> Table:
        frame = box.ASCII2 if self.plain else box.SIMPLE_HEAD
        table = Table(box=frame, min_width=min(_TABLE_COLUMNS, self._console.width))
        table.add_column(title, ratio=1)
        for column in columns:
            table.add_column(column, justify="right")
        return table


class _Follower:
    """Reads counts from time to time, and words them."""

    def __init__(self, what: str, total: int, counts: Counts) -> None:
        self._what = what
        self._total = total
        self._counts = counts

    def line(self) -> str:
        """The counts as a line."""
        (name, done), *others = self._counts().items()
        told = [f"{done:,} of {self._total:,} {name}"]
        told += [f"{count:,} {other}" for other, count in others]
        return f"{self._what}: {', '.join(told)}"

    def picture(self) -> Group:
        """The counts as a bar and a table."""
        (name, done), *others = self._counts().items()
        table = Table.grid(padding=(0, 2))
        table.add_column(justify="right", min_width=14)
        table.add_column()
        table.add_row(f"{done:,}", f"of {self._total:,} {name}")
        for other, count in others:
            table.add_row(f"{count:,}", other)
        bar = ProgressBar(total=max(self._total, 1), completed=done, width=60)
        return Group(Text(f"  {self._what}"), Padding(bar, (0, 2)), table)
