"""How tests talk to a machine: make one, be refused, and read what it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


def make(**limits: Any) -> Machine:
    return Machine(**({"entropy": Entropy(1), "now_ms": START_MS} | limits))


def refused(
    machine: Machine, result: str, operation: Callable[..., object], *args: Any, **kw: Any
) -> Refused:
    """Call what must be refused, and check that nothing was changed."""
    before, position, waiting = machine.state_hash(), machine.position, machine.waiting
    with pytest.raises(Refused) as caught:
        operation(*args, **kw)
    machine.check()
    assert caught.value.result == result
    assert (machine.state_hash(), machine.position, machine.waiting) == (before, position, waiting)
    return caught.value


def statuses(machine: Machine, invite_id: str) -> dict[str, str]:
    info = machine.info(invite_id)
    assert info is not None
    return info.statuses


def kinds(machine: Machine) -> list[tuple[str, str, tuple[str, ...]]]:
    """Take all events: kind, reason and whom each affected."""
    machine.check()
    return [(event.kind, event.reason, event.affected) for event in machine.take()]
