"""The one table at the end, and the same as JSON."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import pytest
from measure import BYTES, COUNT, KIB, PER_SECOND, SHARE, TIMES, Row, spread
from rich.console import Console
from rich.table import Table

WIDTH = 136


def print_table(rows: list[Row], notes: list[str], reporter: pytest.TerminalReporter) -> None:
    """Print all rows: ours, then each rival, in the order of the files.

    Args:
        rows: what was measured.
        notes: printed below, one a line.
        reporter: where to.
    """
    table = Table(title="CPU time, medians", box=None, pad_edge=False, padding=(0, 1))
    table.add_column("what", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("spread", justify="right", no_wrap=True)
    table.add_column("rival", no_wrap=True)
    table.add_column("theirs", justify="right", no_wrap=True)
    table.add_column("ratio", justify="right", no_wrap=True)
    table.add_column("unit", no_wrap=True)
    for row in rows:
        head = [row.what, f"{row.size:,}", number(row.median), f"{spread(row.ours):.0%}"]
        if not row.rivals:
            table.add_row(*head, "", "", "", row.unit)
        for name in row.rivals:
            theirs, ratio = row.rival(name), row.times_as_fast(name)
            table.add_row(
                *head,
                name,
                "–" if theirs is None else number(theirs),
                "–" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}",
                row.unit,
            )
            head = ["", "", "", ""]
    console = Console(width=WIDTH, color_system=None)
    with console.capture() as captured:
        console.print(table)
        console.print(
            "ratio: how many times as fast, or as small, as the rival we are; below 1, it is.",
            "spread: between the quartiles of our runs.",
            f"Machine: {machine()}.",
            *notes,
            sep="\n",
            highlight=False,
        )
    reporter.write(captured.get())


def number(value: float) -> str:
    """Return a figure with about three digits that count, or all where it has more."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 4
    return f"{value:,.{digits}f}"


def machine() -> str:
    """Name the processor and the Python that ran."""
    name = platform.processor() or platform.machine()
    told = Path("/proc/cpuinfo")
    if told.exists():
        for line in told.read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {platform.system()}, Python {platform.python_version()}"


def figures_as_json(rows: list[Row]) -> list[dict[str, Any]]:
    """Return each row with its medians, its ratios and every run."""
    return [
        {
            "subject": row.subject,
            "what": row.what,
            "size": row.size,
            "unit": row.unit,
            "better": "more" if row.unit == PER_SECOND else "less",
            "timed": row.unit not in (BYTES, KIB, COUNT, TIMES, SHARE),
            "ours": row.median,
            "spread": spread(row.ours),
            "runs": row.ours,
            "rivals": {
                name: {
                    "theirs": row.rival(name),
                    "times_as_fast": row.times_as_fast(name),
                    "spread": spread(runs) if runs else None,
                    "runs": runs,
                }
                for name, runs in row.rivals.items()
            },
        }
        for row in rows
    ]
