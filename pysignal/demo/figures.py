"""What is measured and checked, and how it is told.

A check has a name that says what was promised, and keeps what was expected and what was found. A
distribution keeps every sample as eight bytes, so that its quantiles are exact.
"""

from __future__ import annotations

import resource
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pysignal import Clock
from pysignal.clock import stopwatch_ns

_STATM: Final = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that did not hold.

    Attributes:
        name: what was promised.
        found: what was found instead.
    """

    name: str
    found: str


@dataclass(slots=True)
class Checks:
    """Everything that was checked.

    Attributes:
        count: checks made.
        failures: those that failed.
    """

    count: int = 0
    failures: list[Failure] = field(default_factory=list)

    def that(self, name: str, held: bool, found: str = "it does not hold") -> None:
        """Check that something holds."""
        self.count += 1
        if not held:
            self.failures.append(Failure(name, found))

    def equal(self, name: str, found: object, expected: object) -> None:
        """Check that two values are equal."""
        self.that(name, found == expected, f"found {found!r}, expected {expected!r}")

    def same(
        self,
        name: str,
        found: Sequence[int],
        expected: Sequence[int],
        words: Sequence[str] | None = None,
    ) -> None:
        """Check that two arrays of the same length are equal; the first difference is told.

        Args:
            name: what was promised.
            found: by number.
            expected: likewise.
            words: what a value means; None for numbers that speak for themselves.
        """
        if found == expected:
            self.that(name, True)
            return
        differ = [n for n, pair in enumerate(zip(found, expected, strict=True)) if len({*pair}) > 1]
        first = differ[0]
        values = [found[first], expected[first]]
        told = [words[value] if words else str(value) for value in values]
        self.that(
            name,
            False,
            f"{len(differ):,} of {len(expected):,} differ, the first is number {first}: found "
            f"{told[0]}, expected {told[1]}",
        )


class Samples:
    """A distribution of durations.

    Args:
        name: what was measured.
        group: which distributions are shown together.

    Attributes:
        add: takes a duration, ns.
    """

    def __init__(self, name: str, group: str) -> None:
        self.name = name
        self.group = group
        self.values = array("q")
        self.add = self.values.append

    def quantiles(self, *shares: float) -> list[int]:
        """The durations that so large shares of the samples do not exceed, ns; 0 without samples.

        Args:
            shares: each above 0, at most 1.
        """
        ordered = sorted(self.values)
        if not ordered:
            return [0 for _ in shares]
        last = len(ordered) - 1
        return [ordered[min(int(share * len(ordered)), last)] for share in shares]


@dataclass(frozen=True, slots=True)
class Rate:
    """So many of something in a time.

    Attributes:
        name: what was counted.
        count: how many.
        took_ns: the time.
    """

    name: str
    count: int
    took_ns: int

    @property
    def per_second(self) -> float:
        """The rate."""
        return self.count * 1e9 / max(self.took_ns, 1)


@dataclass(slots=True)
class Figures:
    """What the demo has measured.

    Attributes:
        rates: as they are told.
        samples: the distributions.
        memory: other figures by name, as text.
        open_over_time: of the rush, pairs (seconds since it began, invitations open).
        outcomes: by status, how many invitees ended with it.
        about: what was played, and on what.
    """

    rates: list[Rate] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    memory: dict[str, str] = field(default_factory=dict)
    open_over_time: list[tuple[float, int]] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    about: str = ""


class EngineTime:
    """Engine time in ns, by a stopwatch that was set by the clock.

    A clock tells whole milliseconds; lateness wants finer. The clock is watched as it steps from
    one millisecond to the next, a few times, and the step that was seen soonest counts.
    """

    def __init__(self, clock: Clock) -> None:
        self._ahead_ns = max(_step(clock) for _ in range(3))

    def late_ns(self, due_ms: int, seen_ns: int) -> int:
        """How long after a deadline something was seen.

        Args:
            due_ms: engine time.
            seen_ns: by the stopwatch.
        """
        return max(seen_ns + self._ahead_ns - due_ms * 1_000_000, 0)


def _step(clock: Clock) -> int:
    before = clock.now_ms()
    while (now := clock.now_ms()) == before:
        pass
    return now * 1_000_000 - stopwatch_ns()


def resident_bytes() -> int:
    """Memory of this process; where only the most that it ever had is known, that."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def duration(ns: float) -> str:
    """A duration for people, three digits."""
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if ns >= size:
            return f"{ns / size:.3g} {unit}" if ns < 1000 * size else f"{ns / size:,.0f} {unit}"
    return f"{ns:.0f} ns"
