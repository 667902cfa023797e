"""Seeded histories of a machine: every operation, by anybody, on anything, and time in between.

A history keeps what a journal and a listener would have: the records and the events. From the
events alone it knows where every invitee stands, and compares that with the machine.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

KEY = b"sixteen bytes..."
USERS = [f"user-{i}" for i in range(7)] + ["ü\U0001f600"]
GROUPS = ["g1", "g2"]
REFUSALS = {"unknown", "ended", "answered", "not_party", "not_modifiable", "conflict"}
TEXTS = ["", "plain", "é", "漢字", "\U0001f600", "\ud800 alone", "\x00"]
STATUS_OF = {
    "accepted": "accepted",
    "rejected": "rejected",
    "cancelled": "cancelled",
    "timed_out": "timed_out",
}


class History:
    """A machine that things happen to.

    Attributes:
        machine: the original, journaled.
        records, events: all so far.
        statuses: where each invitee of each invitation stands, as told by events.
        refusals: how often each kind of refusal was met.
    """

    def __init__(self, seed: int, now_ms: int = 2**32 - 500) -> None:
        self.random = random.Random(seed)
        self.limits: dict[str, Any] = {
            "key": KEY,
            "shard": self.random.choice([0, 7, 4095]),
            "ended_max": self.random.choice([0, 3, 100]),
            "ended_keep_ms": self.random.choice([0, 50, 60_000]),
            "lifetime_ms": 2_000,
        }
        self.machine = Machine(entropy=Entropy(seed), journaled=True, now_ms=now_ms, **self.limits)
        self.started_ms = now_ms
        self.now_ms = now_ms
        self.ids: list[str] = []
        self.records: list[bytes] = []
        self.events: list[Event] = []
        self.statuses: dict[str, dict[str, str]] = {}
        self.seqs: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()

    def copy(self) -> Machine:
        """Make a fresh machine that records of this one can be applied to."""
        return Machine(now_ms=self.started_ms, **self.limits)

    def step(self) -> None:
        """Do one thing, and read what came of it now and then."""
        act = self.random.choices(
            [self.open, self.answer, self.cancel, self.modify, self.mark, self.leave, self.wait],
            [30, 30, 5, 8, 6, 4, 17],
        )[0]
        try:
            act()
        except Refused as refused:
            self.refusals[refused.result] += 1
        if self.random.random() < 0.3:
            self.read(take=self.random.random() < 0.5)

    def open(self) -> None:
        inviter, *others = self.random.sample(USERS, len(USERS))
        invitees: str | list[str] = others[: self.random.randrange(1, len(USERS))]
        group = ""
        if self.random.random() < 0.5:
            invitees = others[0]
        elif self.random.random() < 0.6:
            group = self.random.choice(GROUPS)
            invitees = invitees if self.random.random() < 0.9 else []
        self.ids.append(
            self.machine.open(
                self.now_ms,
                inviter,
                invitees,
                self.random.choice(TEXTS),
                self.random.choice([0, 5, 100, 100_000]),
                group_id=group,
                online_only=self.random.random() < 0.2,
                parties_only=self.random.random() < 0.2,
                device=self.random.randrange(3),
            )
        )

    def pick(self) -> str:
        """Choose an ID: mostly a recent one, at times one of long ago or of nothing."""
        recent = self.ids[-40:] if self.random.random() < 0.8 else self.ids
        return self.random.choice(recent or ["0" * 26])

    def answer(self) -> None:
        operation = self.random.choice([self.machine.accept, self.machine.reject])
        operation(
            self.now_ms, self.pick(), self.random.choice(USERS), self.random.choice(TEXTS),
            device=self.random.randrange(3),
        )  # fmt: skip

    def cancel(self) -> None:
        inviter = self.random.choice([*USERS, None])
        self.machine.cancel(self.now_ms, self.pick(), inviter, self.random.choice(TEXTS))

    def modify(self) -> None:
        self.machine.modify(
            self.now_ms, self.pick(), self.random.choice(USERS), self.random.choice(TEXTS),
            expected_version=self.random.choice([0, 0, 1, 2]),
        )  # fmt: skip

    def mark(self) -> None:
        self.machine.mark_told(self.now_ms, self.pick(), self.random.choice(USERS))

    def leave(self) -> None:
        group = self.random.choice(GROUPS)
        budget = self.random.choice([1, 3, 1 << 40])
        if self.random.random() < 0.2:
            while self.machine.dismiss(self.now_ms, group, budget):
                self.machine.check()
        else:
            user = self.random.choice(USERS)
            while self.machine.leave(self.now_ms, user, group, budget):
                self.machine.check()

    def wait(self, span_ms: int | None = None) -> None:
        """Let time pass, in slices."""
        self.now_ms += self.random.choice([1, 1, 10, 100, 3_000]) if span_ms is None else span_ms
        while self.machine.advance(self.now_ms, self.random.choice([1, 5, 100])):
            self.machine.check()

    def read(self, take: bool = True) -> None:
        """Read records, and events as far as they are durable."""
        self.records += self.machine.records()
        if not take:
            return
        durable = self.random.randint(0, len(self.records))
        up_to = self.random.choice([durable, len(self.records)])
        for event in self.machine.take(up_to):
            assert event.position <= up_to
            self.hear(event)

    def hear(self, event: Event) -> None:
        """Follow an event as somebody who hears everything."""
        self.seqs[event.invite_id] += 1
        assert event.seq == self.seqs[event.invite_id]
        if event.kind == "opened":
            assert event.invite_id not in self.statuses
            self.statuses[event.invite_id] = dict.fromkeys(event.invitees, "pending")
        statuses = self.statuses[event.invite_id]
        assert list(statuses) == list(event.invitees)
        if event.kind in STATUS_OF:
            assert event.affected
            for user in event.affected:
                assert statuses[user] == "pending"
                statuses[user] = STATUS_OF[event.kind]
        assert event.pending == tuple(user for user in statuses if statuses[user] == "pending")
        assert event.ends == (not event.pending)
        self.events.append(event)

    def check(self) -> None:
        """Compare all that was heard with what the machine says, and its counts with theirs."""
        assert set(self.refusals) <= REFUSALS
        self.records += self.machine.records()
        for event in self.machine.take():
            self.hear(event)
        self.machine.check()
        stats = self.machine.stats()
        told = Counter(status for each in self.statuses.values() for status in each.values())
        for status in ("waiting", "pending", "accepted", "rejected", "cancelled", "timed_out"):
            assert stats[f"invitees_{status}"] == told[status]
        created = sum(len(each) for each in self.statuses.values())
        assert created == sum(n for name, n in stats.items() if name.startswith("invitees_"))
        assert stats["invitations"] == len(self.statuses)
        assert stats["open"] + stats["ended_remembered"] + stats["free"] == stats["slots"]
        assert stats["timers"] == stats["open"]
        is_open = {name for name, each in self.statuses.items() if "pending" in each.values()}
        assert stats["open"] == len(is_open)
        for name, statuses in self.statuses.items():
            info = self.machine.info(name)
            assert (info is not None and info.state == "open") == (name in is_open)
            if info is not None:
                assert info.statuses == statuses
                assert info.seq == self.seqs[name]


def replay(history: History) -> Machine:
    """Apply all records of a history to a fresh machine."""
    copy = history.copy()
    for record in history.records:
        assert snapshot.apply(copy, record)
    return copy
