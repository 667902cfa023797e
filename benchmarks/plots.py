"""Pictures of a run: for each subject a PNG, with a panel for each thing that was measured.

Both axes are logarithmic. Lines join the medians of ours and of each rival over the sizes, with
bars from quartile to quartile. What was measured at one size only is shown as bars.
"""

from __future__ import annotations

import math
import os
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import PER_SECOND, Row

OURS = "#c8553d"
SHADES = ("#3b6ea5", "#588157", "#8d99ae", "#e0b145", "#7b5ea7")
COLUMNS = 3
PANEL_INCHES = (5.0, 3.8)

# By subject: the panels, each with its rows.
Panels = dict[str, dict[str, list[Row]]]


def draw(rows: Sequence[Row], folder: Path, prefix: str = "") -> str:
    """Draw all rows, and return the names of the files.

    Args:
        rows: what was measured.
        folder: made where there is none.
        prefix: of the names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    subjects: Panels = {}
    for row in rows:
        subjects.setdefault(row.subject, {}).setdefault(row.what, []).append(row)
    with tempfile.TemporaryDirectory(prefix="pysignal-plots-") as notes:
        os.environ.setdefault("MPLCONFIGDIR", notes)
        for subject, panels in subjects.items():
            _draw(subject, panels, folder / f"{prefix}{subject}.png")
        if os.environ["MPLCONFIGDIR"] == notes:
            del os.environ["MPLCONFIGDIR"]
    return ", ".join(f"{prefix}{subject}.png" for subject in subjects)


def _draw(subject: str, panels: dict[str, list[Row]], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = min(COLUMNS, len(panels))
    lines = math.ceil(len(panels) / columns)
    width, height = PANEL_INCHES
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.12)
    sheet = Figure(figsize=(width * columns, height * lines), layout=layout)
    FigureCanvasAgg(sheet)
    sheet.suptitle(f"{subject}: medians, CPU time")
    places = list(sheet.subplots(lines, columns, squeeze=False).flat)
    for axes, (what, rows) in zip(places, panels.items(), strict=False):
        _panel(axes, what, rows)
    for axes in places[len(panels) :]:
        axes.set_visible(False)
    sheet.savefig(path, dpi=100)


def _panel(axes: Any, what: str, rows: list[Row]) -> None:
    axes.set_title(what, fontsize=11, loc="left", fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, which="both")
    axes.set_axisbelow(True)
    if len(rows) == 1:
        _bars(axes, rows[0])
    else:
        _lines(axes, rows)


def _bars(axes: Any, row: Row) -> None:
    medians = {"pysignal": row.median}
    for name in row.rivals:
        theirs = row.rival(name)
        if theirs is not None:
            medians[name] = theirs
    bars = axes.barh(list(medians), list(medians.values()), color=[OURS, *SHADES][: len(medians)])
    axes.bar_label(bars, fmt="{:,.4g}", padding=4)
    axes.invert_yaxis()
    axes.margins(x=0.2)
    axes.set_xlabel(f"{_unit(row)}, at {row.size:,}")


def _unit(row: Row) -> str:
    return f"{row.unit}, {'more' if row.unit == PER_SECOND else 'less'} is better"


def _lines(axes: Any, rows: list[Row]) -> None:
    names = list(dict.fromkeys(name for row in rows for name in row.rivals))
    for number, name in enumerate(names):
        runs = {row.size: row.rivals.get(name, []) for row in rows}
        _line(axes, name, runs, SHADES[number % len(SHADES)])
    _line(axes, "pysignal", {row.size: row.ours for row in rows}, OURS)
    axes.set_xscale("log")
    if all(row.median > 0 for row in rows):
        axes.set_yscale("log")
    axes.set_ylabel(_unit(rows[0]))
    axes.legend(fontsize=8, frameon=False)


def _line(axes: Any, name: str, runs_by_size: dict[int, list[float]], shade: str) -> None:
    points = [(size, runs) for size, runs in runs_by_size.items() if runs]
    if not points:
        return
    medians = [statistics.median(runs) for _, runs in points]
    quartiles = [
        statistics.quantiles(runs, n=4, method="inclusive") if len(runs) > 1 else runs * 3
        for _, runs in points
    ]
    below = [median - low for median, (low, _, _) in zip(medians, quartiles, strict=True)]
    above = [high - median for median, (_, _, high) in zip(medians, quartiles, strict=True)]
    sizes = [size for size, _ in points]
    axes.errorbar(
        sizes, medians, [below, above], label=name, color=shade, marker="o", ms=4, capsize=3
    )
