"""Limits are checked when they are made, and say which one makes no sense."""

from __future__ import annotations

from typing import Any

import pytest

from pysignal import Limits


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sessions_per_user", 0),
        ("queue_max", -1),
        ("invitees_max", 0),
        ("open_max", 1 << 40),
        ("lifetime_s", 31 * 86_400),
        ("lifetime_s", 0),
        ("ended_keep_s", float("nan")),
        ("told_keep_s", float("inf")),
        ("requests_max", 0),
    ],
)
def test_a_limit_that_makes_no_sense_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Limits(**{name: value})


@pytest.mark.parametrize(
    "name", ["ended_max", "ended_keep_s", "told_keep_s", "devices_remembered", "cold_group_s"]
)
def test_what_is_remembered_may_be_nothing(name: str) -> None:
    assert getattr(Limits(**{name: 0}), name) == 0


@pytest.mark.parametrize("value", [True, "16", None, 2.5])
def test_a_limit_of_another_type_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match="sessions_per_user: int is needed"):
        Limits(sessions_per_user=value)
