"""Every example runs, ends by itself, and prints what it is there to show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"

SHOWS = {
    "call_server.py": "too late: it was cancelled",
    "durable_server.py": "amy's first call, asked again, is accepted and rings nobody",
    "network.py": "amy: just a tunnel",
    "raise_hand.py": "hands up: ann, ben, cat",
    "video_call.py": "amy: bob accepted",
}


def test_each_example_is_in_the_list() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(SHOWS)


@pytest.mark.parametrize("name", sorted(SHOWS))
def test_example_runs(name: str) -> None:
    run = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=EXAMPLES.parent,
    )
    assert run.returncode == 0, run.stderr
    assert SHOWS[name] in run.stdout
    assert not run.stderr
