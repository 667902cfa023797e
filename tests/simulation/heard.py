"""What the people of a simulation hear and are answered, written down and judged at once.

`Heard` is one stream of events of one login, as a listener or a reader gets it, and knows what must
never be in one. `Trace` is everything in order with the virtual time: two runs of one seed have the
same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from pysignal import SignalingEvent

if TYPE_CHECKING:
    from simulation.people import Login


class Trace:
    """Lines with the time of each, in order.

    Args:
        now_ns: tells virtual time.
    """

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self.lines: list[str] = []
        self._now_ns = now_ns

    def note(self, who: str, what: str) -> None:
        """Write down what somebody heard, was answered, or did."""
        self.lines.append(f"{self._now_ns()} {who}: {what}")

    def digest(self) -> str:
        """Return a hash of all lines."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()


def words(event: SignalingEvent) -> str:
    """Say what an event says."""
    return (
        f"{event.position} {event.kind} {event.invite_id} #{event.seq} by {event.actor!r} "
        f"on {event.device!r} at {event.time}, affected {','.join(event.affected)}, "
        f"pending {','.join(event.pending)}, data {event.data!r}, reason {event.reason!r}"
        f"{', ends' if event.ends else ''}{', replayed' if event.replayed else ''}"
    )


class Heard:
    """The events that one listener or reader of a login got.

    Args:
        login: whose it is.
        name: which listener or reader, for the trace.
    """

    def __init__(self, login: Login, name: str) -> None:
        self.login = login
        self.name = name
        self.positions: set[int] = set()
        self._rung: set[str] = set()
        self._ended: set[str] = set()
        self._settled: set[tuple[str, str]] = set()
        self._last = 0

    def take(self, event: SignalingEvent) -> None:
        """Write down an event.

        Raises:
            AssertionError: it must not have been told, or not now.
        """
        place = self.login.place
        place.world.trace.note(f"{place} {self.name}", words(event))
        assert event.invite_id not in self._ended, f"{place} hears after the end: {words(event)}"
        if event.kind == "opened":
            assert event.invite_id not in self._rung, f"{place} is rung twice: {words(event)}"
            self._rung.add(event.invite_id)
        if event.kind in ("accepted", "rejected", "timed_out", "cancelled"):
            for invitee in event.affected:
                pair = event.invite_id, invitee
                assert pair not in self._settled, f"{place} hears two ends: {words(event)}"
                self._settled.add(pair)
        if event.ends:
            self._ended.add(event.invite_id)
        if not event.replayed:
            assert event.position > self._last, f"{place}, out of order: {words(event)}"
            assert event.position > self.login.begun_at, f"{place}, too old: {words(event)}"
            assert (event.actor, event.device) != (place.user, place.device), (
                f"{place} hears of what it did: {words(event)}"
            )
            self._last = event.position
            self.positions.add(event.position)
        place.world.judge_telling(place, event)
