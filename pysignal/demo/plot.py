"""The picture of a demo: call time, delivery time and lateness, the rush, and what came of it.

Needs matplotlib, which is no requirement of the package; without it the demo goes on and says how
to get it. Nothing is shown on a screen.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pysignal.demo.figures import Figures, Samples, duration

NAME: Final = "demo.png"
_CONFIG: Final = "MPLCONFIGDIR"
_CLASS: Final = "delivery in the class"
# By group: how its panel is called, and what its axis of time tells.
_HISTOGRAMS: Final = {
    "call time": ("Time of an SDK call", "until it returns"),
    "delivery in the rush": ("Delivery in the rush", "from the call to another device's callback"),
    "timer lateness": ("Lateness of timeouts", "from the deadline to the callback"),
}
_BINS_PER_DECADE: Final = 12
_CDF_POINTS: Final = 400
_SHADES: Final = ("#3b6ea5", "#e08e45")
_BY_OUTCOME: Final = ("#588157", "#c8553d", "#8d99ae", "#e0b145")
_INK: Final = "#333333"
_STYLE: Final[dict[Any, Any]] = {
    "axes.edgecolor": "#999999",
    "axes.labelcolor": _INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def draw(figures: Figures, folder: Path) -> str:
    """Draw the figures into `demo.png`, and return what to tell about it.

    Args:
        figures: what was measured.
        folder: made where there is none; the folder that it is in has to exist.
    """
    path = folder / NAME
    try:
        with _config_folder():
            _draw(figures, path)
    except ImportError:
        return "no picture: matplotlib is missing, pip install 'pysignal-engine[plots]' gets it"
    except OSError as error:
        return f"no picture: {error}"
    return f"picture: {path}"


@contextmanager
def _config_folder() -> Iterator[None]:
    """Let matplotlib keep its notes in a folder that goes away, unless one was chosen for it."""
    if os.environ.get(_CONFIG):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="pysignal-demo-") as folder:
        os.environ[_CONFIG] = folder
        try:
            yield
        finally:
            del os.environ[_CONFIG]


def _draw(figures: Figures, path: Path) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    with matplotlib.rc_context(_STYLE):
        sheet = Figure(figsize=(15, 9), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.15))
        FigureCanvasAgg(sheet)
        sheet.suptitle(f"pysignal demo: {figures.about}", fontsize=14)
        (calls, rush, lesson), (late, course, ends) = sheet.subplots(2, 3)
        for axes, group in zip((calls, rush, late), _HISTOGRAMS, strict=True):
            _histogram(axes, group, [one for one in figures.samples if one.group == group])
        for samples in figures.samples:
            if samples.group == _CLASS and samples.values:
                _share_over_time(lesson, samples)
        _course(course, figures.open_over_time)
        _outcomes(ends, figures.outcomes)
        path.parent.mkdir(exist_ok=True)
        sheet.savefig(path, dpi=110)


def _title(axes: Any, text: str, legend_lines: int) -> None:
    """Set a title, with room for a legend below it, where it covers nothing.

    Args:
        axes: of the panel.
        text: the title.
        legend_lines: of the legend, or of those of the panels beside it.
    """
    axes.set_title(text, pad=12 + 15 * legend_lines)


def _histogram(axes: Any, group: str, shown: Sequence[Samples]) -> None:
    """Draw how often each duration occurred, both on logarithmic axes."""
    title, label = _HISTOGRAMS[group]
    shown = [samples for samples in shown if samples.values]
    _title(axes, title, legend_lines=len(shown))
    if not shown:
        return
    low = max(min(min(samples.values) for samples in shown), 100)
    high = max(max(samples.values) for samples in shown)
    step = 10 ** (1 / _BINS_PER_DECADE)
    edges = [float(low)]
    while edges[-1] <= high:
        edges.append(edges[-1] * step)
    for samples, shade in zip(shown, _SHADES, strict=False):
        median, nearly_all = samples.quantiles(0.5, 0.99)
        name = samples.name.rpartition(": ")[2]
        legend = f"{name}: p50 {duration(median)}, p99 {duration(nearly_all)}"
        values = [max(value, low) for value in samples.values]
        axes.hist(values, edges, color=shade, alpha=0.7, label=legend)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(edges[0] / step, edges[-1] * step)
    axes.set_ylim(bottom=0.7)
    axes.set_xlabel(label)
    axes.set_ylabel("samples")
    _tick(axes.xaxis, edges[-1] / edges[0], duration)
    _tick(axes.yaxis, math.inf, "{:,.0f}".format)
    axes.grid(axis="y", alpha=0.25)
    axes.set_axisbelow(True)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2, borderpad=0.1,
                frameon=False, fontsize=9.5, handlelength=1, labelspacing=0.2)  # fmt: skip


def _tick(axis: Any, span: float, word: Any) -> None:
    """Label a logarithmic axis: its powers of ten, and their threefold where there is room."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(subs=(1, 3) if span < 1000 else (1,)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: word(value)))


def _share_over_time(axes: Any, samples: Samples) -> None:
    """Draw which share of the deliveries was there after which time."""
    _title(axes, "Delivery in the class, all hands at once", legend_lines=2)
    shares = [number / _CDF_POINTS for number in range(1, _CDF_POINTS + 1)]
    times_ms = [value / 1e6 for value in samples.quantiles(*shares)]
    axes.plot([0, times_ms[0], *times_ms], [0, 0, *(100 * s for s in shares)], color=_SHADES[0])
    axes.fill_between(times_ms, [100 * share for share in shares], color=_SHADES[0], alpha=0.15)
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        (value,) = samples.quantiles(share)
        axes.plot([value / 1e6], [100 * share], "o", color=_SHADES[1])
        axes.annotate(f"{name} {duration(value)}", (value / 1e6, 100 * share),
                      xytext=(-8, 4), textcoords="offset points", ha="right")  # fmt: skip
    axes.set_xlim(0, 1.04 * times_ms[-1])
    axes.set_ylim(0, 108)
    axes.set_yticks(range(0, 101, 20), [f"{percent} %" for percent in range(0, 101, 20)])
    axes.set_xlabel("ms from raising a hand until another sees it")
    axes.set_ylabel(f"of {len(samples.values):,} deliveries")
    axes.grid(axis="y", alpha=0.25)


def _course(axes: Any, points: Sequence[tuple[float, int]]) -> None:
    """Draw how many invitations were open at which moment of the rush."""
    _title(axes, "Invitations open in the rush", legend_lines=1)
    seconds, counts = [point[0] for point in points], [point[1] for point in points]
    axes.plot(seconds, counts, color=_SHADES[0])
    axes.fill_between(seconds, counts, color=_SHADES[0], alpha=0.15)
    axes.set_xlabel("seconds since the answering began")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.grid(axis="y", alpha=0.25)


def _outcomes(axes: Any, outcomes: dict[str, int]) -> None:
    """Draw how many invitees ended with each status."""
    _title(axes, f"How it ended for {sum(outcomes.values()):,} invitees", legend_lines=1)
    bars = axes.barh(list(outcomes), list(outcomes.values()), color=_BY_OUTCOME, height=0.65)
    axes.bar_label(bars, fmt="{:,.0f}", padding=5)
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_major_locator(_few())
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("invitees of all three acts")


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=5, integer=True)
