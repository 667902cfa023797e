"""What must hold of any hub, whatever a model says. Each failure begins with the invariant's name.

* A1: a status that is final never changes. A9: an invitation ends once. A10: an answer changes the
  status of who answered and of nobody else.
* B1: a session hears at most one end of each invitee. B2: nothing after the end, nothing after the
  logout. B3: the opening comes first, and everything in the order of commits.
* E1: what was created is the sum over all statuses. E2: open, ended and free slots are all slots.
  E3: every open invitation has a timer, and nothing else has.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pysignal import SignalingEvent

FINAL = frozenset({"accepted", "rejected", "cancelled", "timed_out"})


@dataclass(slots=True)
class Heard:
    """What one session has heard so far."""

    position: int = 0
    seqs: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    final: set[tuple[str, str]] = field(default_factory=set)


class Watchers:
    """Watches one hub: give it everything that is heard, and the statuses that are seen."""

    def __init__(self) -> None:
        self.final: dict[tuple[str, str], str] = {}
        self.ends: dict[str, int] = {}
        self._sessions: dict[Hashable, Heard] = {}

    def hear(self, session: Hashable, events: Iterable[SignalingEvent]) -> None:
        """Watch what a session heard, in order. A new login is another session."""
        heard = self._sessions.get(session)
        if heard is None:
            heard = self._sessions[session] = Heard()
        for event in events:
            name, seq, kind = event.invite_id, event.seq, event.kind
            last = heard.seqs.get(name)
            assert name not in heard.ended, f"B2: {event} after the end"
            if kind == "opened":
                assert last is None, f"B3: {event} after others of it"
            else:
                assert last is None or seq > last, f"B3: {event} after seq {last}"
            if not event.replayed:
                assert event.position > heard.position, f"B3: {event} out of the order of commits"
                heard.position = event.position
            heard.seqs[name] = seq
            if event.ends:
                heard.ended.add(name)
                assert self.ends.setdefault(name, seq) == seq, f"A9: {event} ends it again"
            if kind in FINAL:
                affected = event.affected
                if kind in ("accepted", "rejected"):
                    assert affected == (event.actor,), f"A10: {event} changes {affected}"
                for user in affected:
                    key = name, user
                    assert key not in heard.final, f"B1: {event} is another end of {user}"
                    heard.final.add(key)
                    first = self.final.setdefault(key, kind)
                    assert first == kind, f"A1: {user} had {first}, now {kind} in {name}"

    def silent(self, session: Hashable, heard: Collection[object]) -> None:
        """Watch that a session which has ended heard nothing since."""
        assert not heard, f"B2: {session} heard after its logout: {heard}"

    def see(self, name: str, statuses: Mapping[str, str]) -> None:
        """Watch the statuses of an invitation."""
        for user, status in statuses.items():
            if status != "pending":
                first = self.final.setdefault((name, user), status)
                assert first == status, f"A1: {user} had {first}, now {status} in {name}"

    def answered(
        self, name: str, user: str, before: Mapping[str, str], after: Mapping[str, str]
    ) -> None:
        """Watch an answer that was taken: what the statuses were before it and after."""
        others = {other: status for other, status in before.items() if other != user}
        now = {other: status for other, status in after.items() if other != user}
        assert others == now, f"A10: the answer of {user} in {name} made {others} into {now}"

    def count(self, stats: Mapping[str, Any], created: int) -> None:
        """Watch the counts of a hub or a machine; `created` are the invitees of all openings."""
        total = sum(count for key, count in stats.items() if key.startswith("invitees_"))
        assert total == created, f"E1: {created} invitees were created, {total} are counted"
        slots = stats["open"] + stats["ended_remembered"] + stats["free"]
        assert slots == stats["slots"], f"E2: {slots} slots are accounted for of {stats['slots']}"
        timers, is_open = stats["timers"], stats["open"]
        assert timers == is_open, f"E3: {timers} timers for {is_open} open invitations"
