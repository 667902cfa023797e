"""Invitations as SPEC §3 has them: dicts that are looked through from the beginning each time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

WITHOUT_DEADLINE_MAX: Final = 16

# What an event and what an invitation consist of, in the order of the tuples made here.
EVENT_FIELDS: Final = (
    "kind", "reason", "seq", "data_version", "time", "expires_at", "invite_id", "group_id",
    "inviter", "invitees", "data", "invitation_data", "actor", "device", "affected", "pending",
    "ends", "replayed", "online_only", "parties_only", "no_deadline",
)  # fmt: skip
INFO_FIELDS: Final = (
    "invite_id", "group_id", "inviter", "state", "reason", "statuses", "invitee_list", "pending",
    "data", "data_version", "seq", "opened_at", "expires_at", "ended_at", "online_only",
    "parties_only", "no_deadline",
)  # fmt: skip
Fields = tuple[Any, ...]
Device = str | int  # an ID in a hub; the machine knows numbers only, and tells no device


@dataclass(slots=True, eq=False)
class Call:
    """One invitation. `told` are users of whom a session was told of the opening."""

    number: int
    name: str
    inviter: str
    group: str
    status: dict[str, str]
    data: str
    opened_ms: int
    due_ms: int
    no_deadline: bool
    online_only: bool
    parties_only: bool
    state: str = "open"
    reason: str = ""
    ended_ms: int | None = None
    seq: int = 0
    version: int = 1
    answered_on: dict[str, Device] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)

    @property
    def pending(self) -> list[str]:
        return [user for user, status in self.status.items() if status == "pending"]

    @property
    def expires_at(self) -> int | None:
        return None if self.no_deadline else self.due_ms

    def is_party(self, user: str | None) -> bool:
        return user == self.inviter or user in self.status

    def info(self) -> Fields:
        """The invitation as it stands; what has ended has no data and no deadline any more."""
        is_open = self.state == "open"
        return (
            self.name, self.group, self.inviter, self.state, self.reason, self.status,
            list(self.status), self.pending, self.data if is_open else "", self.version, self.seq,
            self.opened_ms, self.expires_at if is_open else None, self.ended_ms, self.online_only,
            self.parties_only, self.no_deadline,
        )  # fmt: skip

    def opened_again(self) -> Fields:
        """The opening as a login tells it: with the data of now."""
        users = tuple(self.status)
        return (
            "opened", "", self.seq, self.version, self.opened_ms, self.expires_at, self.name,
            self.group, self.inviter, users, self.data, self.data, self.inviter, "", users,
            tuple(self.pending), False, True, self.online_only, self.parties_only,
            self.no_deadline,
        )  # fmt: skip


@dataclass(slots=True, eq=False)
class Fact:
    """What has happened to an invitation, and the event that tells it."""

    call: Call
    kind: str
    actor: str
    data: str
    affected: tuple[str, ...]
    ends: bool
    event: Fields


class Refusal(Exception):
    """An operation that is refused, in the words of the machine; `call` if it is remembered."""

    def __init__(self, result: str, call: Call | None = None) -> None:
        super().__init__(result)
        self.result = result
        self.call = call


class Calls:
    """All invitations, open and remembered, and the facts that nobody has taken yet."""

    def __init__(
        self,
        now_ms: int,
        *,
        ended_keep_ms: int = 60_000,
        ended_max: int = 100_000,
        lifetime_ms: int = 86_400_000,
        open_max: int = 1 << 24,
    ) -> None:
        self.now_ms = now_ms
        self.last_ms = 0  # when something has happened last
        self.late_ms = 0  # that have passed since, which no operation has met yet
        self.ended_keep_ms = ended_keep_ms
        self.ended_max = ended_max
        self.lifetime_ms = lifetime_ms
        self.open_max = open_max
        self.open: dict[str, Call] = {}  # in the order of opening
        self.ended: dict[str, Call] = {}  # in the order of ending
        self.names: list[str] = []  # of all that ever were
        self.created = 0  # invitees in all
        self.statuses: Counter[str] = Counter()  # invitees whose status is final
        self.facts: list[Fact] = []

    # -- operations --------------------------------------------------------------------------------

    def invite(
        self,
        name: str,
        inviter: str,
        invitees: list[str],
        data: str,
        timeout_ms: int,
        *,
        group: str = "",
        online_only: bool = False,
        parties_only: bool = False,
        device: Device = "",
    ) -> Call:
        no_deadline = timeout_ms == 0
        excess = None
        if no_deadline and not group and len(invitees) == 1:
            excess = self._excess(inviter, invitees[0])
        if len(self.open) >= self.open_max and excess is None:
            raise Refusal("table_full")
        assert name not in self.names, f"{name} is the ID of another one"
        if excess is not None:
            self._end_pending(excess, "timed_out", reason="lifetime")
        call = Call(
            len(self.names), name, inviter, group, dict.fromkeys(invitees, "pending"), data,
            self.now_ms, self.now_ms + (timeout_ms or self.lifetime_ms), no_deadline, online_only,
            parties_only,
        )  # fmt: skip
        self.names.append(name)
        self.created += len(invitees)
        self.open[name] = call
        self._happened(call, "opened", inviter, data, tuple(invitees), device=device)
        return call

    def _excess(self, inviter: str, invitee: str) -> Call | None:
        """The oldest from one user to the other, where one more would be too many."""
        alike = [
            call
            for call in self.open.values()
            if call.no_deadline and not call.group and call.inviter == inviter
            and list(call.status) == [invitee]
        ]  # fmt: skip
        return alike[0] if len(alike) >= WITHOUT_DEADLINE_MAX else None

    def answer(self, name: str, user: str, status: str, data: str, device: Device = "") -> None:
        call = self._find(name)
        if user not in call.status:
            raise Refusal("not_party", call)
        if call.status[user] != "pending":
            raise Refusal("answered", call)
        call.answered_on[user] = device
        call.status[user] = status
        self._happened(call, status, user, data, (user,), device=device)

    def cancel(self, name: str, user: str | None, data: str, device: Device = "") -> None:
        """Cancel as a user; as the server where the user is None."""
        call = self._find(name)
        if user is not None and user != call.inviter:
            raise Refusal("not_party", call)
        self._end_pending(
            call, "cancelled", actor=user or "", data=data, device=device,
            reason="" if user is not None else "server",
        )  # fmt: skip

    def modify(
        self, name: str, user: str, data: str, version: int | None, device: Device = ""
    ) -> None:
        call = self._find(name)
        if user != call.inviter:
            raise Refusal("not_party", call)
        if call.online_only:
            raise Refusal("not_modifiable", call)
        if version is not None and version != call.version:
            raise Refusal("conflict", call)
        call.data = data
        call.version += 1
        self._happened(call, "modified", user, data, (), device=device)

    def mark_told(self, name: str, user: str) -> None:
        call = self._find(name)
        if user not in call.status:
            raise Refusal("not_party", call)
        call.told.add(user)

    def leave(self, user: str, group: str) -> None:
        for call in self.open_in(group):
            if call.inviter == user:
                self._end_pending(call, "cancelled", actor=user, reason="left_group")
            elif call.status.get(user) == "pending":
                call.status[user] = "rejected"
                self._happened(call, "rejected", user, "", (user,), reason="left_group")

    def dismiss(self, group: str) -> None:
        for call in self.open_in(group):
            self._end_pending(call, "cancelled", reason="group_dismissed")

    def advance(self, now_ms: int) -> None:
        """Move time on: what is due ends, each at its deadline, in the order of deadlines."""
        due = [call for call in self.open.values() if call.due_ms <= now_ms]
        for call in sorted(due, key=lambda call: call.due_ms):
            self.now_ms = call.due_ms
            reason = "lifetime" if call.no_deadline else ""
            self._end_pending(call, "timed_out", reason=reason)
        self.now_ms = max(self.now_ms, now_ms)
        self.late_ms = 0
        self._forget()

    # -- what becomes of it ------------------------------------------------------------------------

    def _find(self, name: str) -> Call:
        call = self.open.get(name)
        if call is None:
            call = self.ended.get(name)
            raise Refusal("unknown" if call is None else "ended", call)
        return call

    def _end_pending(
        self,
        call: Call,
        status: str,
        *,
        actor: str = "",
        data: str = "",
        reason: str = "",
        device: Device = "",
    ) -> None:
        pending = tuple(call.pending)
        for user in pending:
            call.status[user] = status
        self._happened(call, status, actor, data, pending, reason=reason, device=device)

    def _happened(
        self,
        call: Call,
        kind: str,
        actor: str,
        data: str,
        affected: tuple[str, ...],
        *,
        reason: str = "",
        device: Device = "",
    ) -> None:
        """Note a fact; with nobody pending any more it is the end."""
        call.seq += 1
        self.last_ms = self.now_ms
        pending = tuple(call.pending)
        if kind not in ("opened", "modified"):
            self.statuses[kind] += len(affected)
        event = (
            kind, reason, call.seq, call.version, self.now_ms, call.expires_at, call.name,
            call.group, call.inviter, tuple(call.status), data, call.data, actor,
            device if isinstance(device, str) else "", affected, pending, not pending, False,
            call.online_only, call.parties_only, call.no_deadline,
        )  # fmt: skip
        self.facts.append(Fact(call, kind, actor, data, affected, not pending, event))
        if not pending:
            call.state = "cancelled" if kind == "cancelled" else "completed"
            call.reason = reason
            call.ended_ms = self.now_ms
            del self.open[call.name]
            self.ended[call.name] = call
            self._forget()

    def _forget(self) -> None:
        while self.ended:
            oldest = next(iter(self.ended.values()))
            age_ms = self.now_ms - (oldest.ended_ms or 0)
            if len(self.ended) <= self.ended_max and age_ms < self.ended_keep_ms:
                return
            del self.ended[oldest.name]

    # -- looking up --------------------------------------------------------------------------------

    def take(self) -> list[Fact]:
        facts, self.facts = self.facts, []
        return facts

    def get(self, name: str) -> Call | None:
        """An invitation that is open or remembered."""
        return self.open.get(name) or self.ended.get(name)

    def pending_of(self, user: str) -> list[Call]:
        return [call for call in self.open.values() if call.status.get(user) == "pending"]

    def opened_by(self, user: str) -> list[Call]:
        return [call for call in self.open.values() if call.inviter == user]

    def open_in(self, group: str) -> list[Call]:
        return [call for call in self.open.values() if call.group and call.group == group]
