"""Histories meet each limit at its very edge: a model that is off by one is found out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from oracle import bulk, calls, hub_run
from oracle.model import Oracle
from pysignal import Limits

HISTORIES = 6_000  # most are found out in the first hundreds


def limits_found_out() -> list[str]:
    not_drawn = {"queue_max", "users_max", "groups_max"}  # other tests cross these
    return [name for name in Limits.__dataclass_fields__ if name not in not_drawn]


@pytest.mark.parametrize("name", limits_found_out())
def test_a_limit_that_is_off_by_one_is_found_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_model(limits: Limits, now_ms: int) -> Oracle:
        value: Any = getattr(limits, name)
        if name == "group_members":
            value = value and {kind: most + 1 for kind, most in value.items()}
        else:
            value += 0.001 if name.endswith("_s") else 1
        return Oracle(replace(limits, **{name: value}), now_ms)

    monkeypatch.setattr(hub_run, "Oracle", wrong_model)
    with pytest.raises(SystemExit):
        bulk.run_here(range(HISTORIES), "hub")


@pytest.mark.parametrize("over", ["machine", "hub"])
def test_a_seventeenth_notice_is_met(over: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "WITHOUT_DEADLINE_MAX", 17)
    with pytest.raises(SystemExit):
        bulk.run_here(range(HISTORIES), over)
