"""The picture of a demo: distributions of call time, delivery time and lateness, and the rush.

Needs matplotlib, which is no requirement of the package; without it the demo goes on and says how
to get it. Nothing is shown on a screen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pysignal.demo.figures import Figures, Samples, duration

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME: Final = "demo.png"
_GROUPS: Final = (
    "call time",
    "delivery in the rush",
    "delivery in the class",
    "timer lateness",
)
_BINS_PER_DECADE: Final = 12
_SHADES: Final = ("#3b6ea5", "#c8553d", "#588157")


def draw(figures: Figures, folder: Path) -> str:
    """Draw the figures into `demo.png`, and return what to tell about it.

    Args:
        figures: what was measured.
        folder: made where there is none.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return "no picture: matplotlib is missing, pip install 'pysignal-engine[plots]' gets it"
    sheet = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(sheet)
    *distributions, course, fates = sheet.subplots(2, 3).flat
    for axes, group in zip(distributions, _GROUPS, strict=True):
        shown = [samples for samples in figures.samples if samples.group == group]
        _distribution(axes, group, shown)
    _course(course, figures.open_over_time)
    _fates(fates, figures.outcomes)
    path = folder / NAME
    folder.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path, dpi=110)
    return f"picture: {path}"


def _distribution(axes: Any, title: str, shown: Sequence[Samples]) -> None:
    """Draw histograms over a logarithmic axis of time, with p50 and p99 in the legend."""
    axes.set_title(title)
    shown = [samples for samples in shown if samples.values]
    if not shown:
        return
    low = max(min(min(samples.values) for samples in shown), 100)
    high = max(max(samples.values) for samples in shown)
    step = 10 ** (1 / _BINS_PER_DECADE)
    edges = [low / 1000]
    while edges[-1] * 1000 <= high:
        edges.append(edges[-1] * step)
    edges.append(edges[-1] * step)
    for samples, shade in zip(shown, _SHADES, strict=False):
        median, nearly_all = samples.quantiles(0.5, 0.99)
        label = f"{samples.name}\np50 {duration(median)}, p99 {duration(nearly_all)}"
        microseconds = [max(value, low) / 1000 for value in samples.values]
        axes.hist(microseconds, edges, color=shade, alpha=0.65, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("µs")
    axes.set_ylabel("samples")
    axes.legend(fontsize=7)


def _course(axes: Any, points: Sequence[tuple[float, int]]) -> None:
    axes.set_title("invitations open in the rush")
    axes.plot([seconds for seconds, _ in points], [count for _, count in points], color=_SHADES[0])
    axes.set_xlabel("seconds since the answering began")
    axes.set_ylim(bottom=0)


def _fates(axes: Any, outcomes: dict[str, int]) -> None:
    axes.set_title("what became of them")
    axes.barh(list(outcomes), list(outcomes.values()), color=_SHADES[2])
    axes.invert_yaxis()
    axes.set_xlabel("invitations")
