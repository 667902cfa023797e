"""Each watcher finds what it watches for, and says by which name."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from oracle.watchers import Watchers

STATS = {
    "open": 1, "ended_remembered": 2, "free": 3, "slots": 6, "timers": 1,
    "invitees_pending": 1, "invitees_accepted": 2,
}  # fmt: skip


def event(kind: str = "opened", **fields: Any) -> Any:
    given = {"invite_id": "i", "seq": 1, "position": 1, "ends": False, "replayed": False}
    given |= {"actor": "bob", "affected": ()}
    return SimpleNamespace(kind=kind, **(given | fields))


def heard(*events: Any) -> Callable[[Watchers], None]:
    return lambda watchers: watchers.hear("amy/1", events)


def heard_by_two(first: Any, second: Any) -> Callable[[Watchers], None]:
    def hear(watchers: Watchers) -> None:
        watchers.hear("amy/1", [first])
        watchers.hear("bob/1", [second])

    return hear


def seen(*statuses: str) -> Callable[[Watchers], None]:
    def see(watchers: Watchers) -> None:
        for status in statuses:
            watchers.see("i", {"bob": status})

    return see


BROKEN: list[tuple[str, Callable[[Watchers], None]]] = [
    ("A1", heard_by_two(
        event("accepted", affected=("bob",)), event("rejected", affected=("bob",), position=2)
    )),
    ("A1", seen("accepted", "pending", "rejected")),
    ("A9", heard_by_two(event("cancelled", ends=True, seq=2), event(ends=True, seq=3))),
    ("A10", heard(event("accepted", affected=("bob", "carol")))),
    ("A10", lambda watchers: watchers.answered(
        "i", "bob", {"bob": "pending", "carol": "pending"}, {"bob": "accepted", "carol": "accepted"}
    )),
    ("B1", heard(
        event("accepted", affected=("bob",)),
        event("cancelled", affected=("bob",), seq=2, position=2),
    )),
    ("B2", heard(event("cancelled", ends=True), event("modified", seq=2, position=2))),
    ("B2", lambda watchers: watchers.silent("amy/1", [event()])),
    ("B3", heard(event("modified", seq=2), event(seq=3, position=2))),
    ("B3", heard(event(position=2), event(invite_id="j", position=1))),
    ("B3", heard(event(), event("modified", seq=1, position=2))),
    ("E1", lambda watchers: watchers.count(STATS, created=4)),
    ("E2", lambda watchers: watchers.count(STATS | {"free": 2}, created=3)),
    ("E3", lambda watchers: watchers.count(STATS | {"timers": 0}, created=3)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "watch"), BROKEN)
def test_a_broken_invariant_is_named(name: str, watch: Callable[[Watchers], None]) -> None:
    with pytest.raises(AssertionError, match=f"^{name}: "):
        watch(Watchers())


def test_what_is_right_passes() -> None:
    watchers = Watchers()
    watchers.hear("amy/1", [
        event(), event("modified", seq=2, position=2),
        event("accepted", seq=3, position=3, affected=("bob",), ends=True),
    ])  # fmt: skip
    watchers.hear("bob/1", [event(replayed=True, seq=2)])
    watchers.hear("bob/2", [event(replayed=True, seq=2)])
    watchers.see("i", {"bob": "accepted", "carol": "pending"})
    watchers.answered("i", "bob", {"bob": "pending"}, {"bob": "accepted"})
    watchers.silent("amy/1", [])
    watchers.count(STATS, created=3)
