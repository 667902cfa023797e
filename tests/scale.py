"""How much the bulk tests do: PYSIGNAL_TEST_SCALE=0.1 cuts every bulk count to a tenth."""

from __future__ import annotations

import os

SCALE = float(os.environ.get("PYSIGNAL_TEST_SCALE") or "1")


def scaled(count: int, at_least: int = 1) -> int:
    """Return how often a bulk test that wants `count` rounds does them in this run."""
    return max(at_least, round(count * SCALE))
