"""How much the bulk tests do, and how slow the code under test is made to be.

PYSIGNAL_TEST_SCALE=0.1 cuts every bulk count to a tenth. PYSIGNAL_TEST_SLOWDOWN=8 lets whatever has
a bound in CPU time take eight times as long: a build with checks in it is no measure of time.
"""

from __future__ import annotations

import os

SCALE = float(os.environ.get("PYSIGNAL_TEST_SCALE") or "1")
SLOWDOWN = float(os.environ.get("PYSIGNAL_TEST_SLOWDOWN") or "1")


def scaled(count: int, at_least: int = 1) -> int:
    """Return how often a bulk test that wants `count` rounds does them in this run."""
    return max(at_least, round(count * SCALE))
