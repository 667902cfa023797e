"""A hundred thousand crashes of a log, seeded; `make torture` does a million."""

from __future__ import annotations

import os

from journal.crashes import crash_side_by_side
from scale import scaled


def test_nothing_acknowledged_is_lost_in_any_crash() -> None:
    """A failure names the seed, and the command that runs it alone."""
    count = scaled(100_000, at_least=1000)
    tally = crash_side_by_side(count, 0, os.cpu_count() or 1)
    assert tally.crashes >= count
    # What it was for has happened, and often.
    assert tally.cut > count // 50, "torn commits"
    assert tally.kept > count // 10, "commits that were durable and not acknowledged"
    assert tally.lost > count // 10, "commits of which nothing is left"
    assert tally.within_recovery > count // 20, "crashes of a recovery"
    assert tally.within_snapshot > count // 20, "crashes while a snapshot was written"
    assert tally.snapshots > count // 10, "logs that begin with a snapshot"
    assert tally.switches > count // 20, "segments that were switched"
    assert tally.failed > count // 100, "writes and syncs that failed"
    assert tally.failed_snapshots > count // 1000, "snapshots that failed"
