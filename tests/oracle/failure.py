"""A history that failed: how it is told, and what of it is to blame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oracle.acts import Act


class HistoryFailed(AssertionError):
    """The real thing and the model differ; the cause is the exception behind it.

    Attributes:
        over: "hub" or "machine".
        setup: what the history took place in.
        acts: all that had happened.
    """

    def __init__(self, over: str, setup: Any, acts: list[Act]) -> None:
        super().__init__(f"a history of a {over} differs from the model after {len(acts)} acts")
        self.over = over
        self.setup = setup
        self.acts = acts
        self.add_note("\n".join(map(shown, acts)))


def shortest(acts: list[Act], fails: Callable[[list[Act]], bool]) -> list[Act]:
    """Leave out of a history what it fails without as well."""
    length = len(acts) + 1
    while len(acts) < length:
        length = len(acts)
        for at in reversed(range(length)):
            fewer = acts[:at] + acts[at + 1 :]
            if fails(fewer):
                acts = fewer
    return acts


def shown(act: Act) -> str:
    """An act on one line."""
    who = "/".join(map(str, act.by)) if act.by[0] else "server"
    args = ", ".join(f"{name}={value!r}" for name, value in act.args.items())
    return f"{who}: {act.kind}({args})"
