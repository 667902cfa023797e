"""The judge: what was ever told of a history, and what must hold of all that is told later.

A line is knowledge: an answer, a callback, what a login found, what a restart has brought back. The
servers that told it are killed; what they told stays true. So a contradiction between any two lines
is an error, however many servers stood in between.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

# Refusals after which nobody knows, or that are worth another try.
UNSETTLED = {6012, 6013, 6014, 7008}
ENDED = 8010
GROUP_OPS = {"put", "add", "remove", "dismiss"}
STATUS_OF_OP = {"accept": "accepted", "reject": "rejected"}


@dataclass
class Ask:
    """What somebody asked, and what came of it: ("done", result), ("refused", code) or None."""

    number: int
    op: str
    user: str
    details: dict[str, Any]
    line: int
    up_ms: int
    outcome: tuple[str, Any] | None = None


@dataclass
class Call:
    """What is known of an invitation.

    Attributes:
        ask: by which it was opened.
        known: the line by which it became known.
        ends: how invitees ended, and the line that told it first.
        ended: the line that told first that nobody is pending any more.
        settled: who is known not to be pending, though not how they ended.
        opened_ms: when it was opened; 0 as long as that is not known.
        events: what was heard, by its number in the invitation.
        modified: the numbers of the modifications that were acknowledged.
    """

    invite_id: str
    ask: Ask
    known: int
    ends: dict[str, tuple[str, int]] = field(default_factory=dict)
    ended: int | None = None
    settled: set[str] = field(default_factory=set)
    opened_ms: int = 0
    events: dict[int, Any] = field(default_factory=dict)
    modified: set[int] = field(default_factory=set)

    @property
    def due_ms(self) -> int | None:
        """The deadline, as far as it is known when it was opened; None where there is none."""
        timeout_ms = round(self.ask.details["timeout"] * 1000)
        return self.opened_ms + timeout_ms if self.opened_ms and timeout_ms else None

    @property
    def invitees(self) -> list[str]:
        to = self.ask.details["to"]
        return [to] if isinstance(to, str) else to


@dataclass
class Login:
    """A session: whose, when it was asked for, what it found, and which ends it heard."""

    user: str
    device: str
    line: int
    found: set[str] | None = None
    finished: set[str] = field(default_factory=set)


class Judge:
    """Hears the lines of one server after the other, all on the same folder.

    Args:
        keep_ms: how long a server remembers what has ended.
    """

    def __init__(self, keep_ms: int) -> None:
        self._keep_ms = keep_ms
        self._line = 0
        self._up_ms = 0
        self._durable_ms = 0
        self._logins: dict[int, Login] = {}
        self._earlier: list[Login] = []
        self._calls_of: dict[int, str] = {}
        self._tried: set[tuple[str, str, str]] = set()
        self._rung: dict[tuple[str, str], set[str]] = {}
        self._told_ends: set[tuple[str, str, str, str]] = set()
        self._members: dict[str, list[set[str]]] = {}
        self._shown: set[str] = set()
        self._expected: set[str] = set()
        self.asks: dict[int, Ask] = {}
        self.calls: dict[str, Call] = {}
        self.rings = 0

    def begin(self, expected: list[str]) -> None:
        """Note that another server begins, which is to tell of these invitations."""
        self._earlier = list(self._logins.values())
        self._logins = {}
        self._shown = set()
        self._expected = set(expected)

    def hear(self, line: list[Any]) -> None:
        """Take a line.

        Raises:
            AssertionError: it contradicts an earlier one, or a promise.
        """
        self._line += 1
        METHODS[line[0]](self, *line[1:])

    # -- what a server tells of itself -------------------------------------------------------------

    def _ignore(self, *_: Any) -> None:
        pass

    def _failed(self, trace: str) -> None:
        raise AssertionError(f"the server failed: {trace}")

    def _logged(self, level: str, message: str) -> None:
        raise AssertionError(f"the server complained: {level}: {message}")

    def _late(self, by_ms: int) -> None:
        raise AssertionError(f"what was due {by_ms} ms ago has not ended")

    def _up(self, now_ms: int, has_snapshot: bool) -> None:
        assert now_ms >= self._durable_ms, (
            f"engine time stepped back by {self._durable_ms - now_ms} ms"
        )
        self._up_ms = now_ms

    def _members_of(self, group_id: str) -> list[set[str]]:
        return self._members.setdefault(group_id, [set()])

    def _members_told(self, group_id: str, members: list[str]) -> None:
        may_be = self._members_of(group_id)
        assert set(members) in may_be, f"{group_id} has {members}, not one of {may_be}"
        self._members[group_id] = [set(members)]

    def _gone(self, invite_id: str, now_ms: int) -> None:
        call = self.calls[invite_id]
        since_ms = call.opened_ms or call.ask.up_ms
        assert self._may_have_ended(call, now_ms), f"{invite_id} is lost: {call}"
        assert now_ms >= since_ms + self._keep_ms, f"{invite_id} was forgotten early"
        self._shown.add(invite_id)
        self._note_end(call)

    def _may_have_ended(self, call: Call, now_ms: int) -> bool:
        timeout_ms = call.ask.details["timeout"] * 1000
        return bool(
            call.ended is not None
            or call.ask.details["group_id"]
            or timeout_ms == 0
            or call.ask.up_ms + timeout_ms <= now_ms
            or any(invite_id == call.invite_id for _, invite_id, _ in self._tried)
        )

    def _found(
        self, invite_id: str, inviter: str, online_only: bool, shown: dict[str, Any]
    ) -> None:
        is_open = shown["state"] == "open"
        if not is_open and invite_id not in self.calls:
            return  # what has ended is remembered without its data, which leads to who asked for it
        call = self._call(invite_id, shown["data"]) if is_open else self.calls[invite_id]
        self._shown.add(invite_id)
        assert inviter == call.ask.user
        assert online_only == call.ask.details["online_only"]
        assert list(shown["statuses"]) == call.invitees
        assert shown["group_id"] == call.ask.details["group_id"]
        self._note_opening(call, shown["opened_at"])
        assert shown["expires_at"] == (call.due_ms if is_open else None)
        self._at(shown["opened_at"])
        assert shown["data_version"] > len(call.modified), f"a modification is lost: {call}"
        pending = {user for user, status in shown["statuses"].items() if status == "pending"}
        if is_open:
            self._check_open(call, shown, pending)
        else:
            assert not pending, f"{shown} has ended with someone pending"
            self._note_end(call)
            self._at(shown["ended_at"])
        for user, status in shown["statuses"].items():
            if status != "pending":
                self._note_status(call, user, status)
        if "timed_out" in shown["statuses"].values():
            self._check_due(call, shown["ended_at"], shown["reason"])

    def _check_open(self, call: Call, shown: dict[str, Any], pending: set[str]) -> None:
        assert call.ended is None, f"it had ended and is open again: {shown}, {call}"
        assert pending, f"open, and nobody is pending: {shown}"
        known = pending & (call.ends.keys() | call.settled)
        assert not known, f"{known} had answered and are pending again: {shown}, {call}"
        due_ms = shown["expires_at"]
        assert due_ms is None or due_ms > self._up_ms, f"due and still open: {shown}"
        group_id = shown["group_id"]
        if group_id:
            (members,) = self._members_of(group_id)
            assert pending <= members, f"{pending - members} left and are pending: {shown}"
            assert call.ask.user in members, f"the inviter left and it is open: {shown}"
        if call.ask.details["online_only"]:
            return
        for login in self._earlier:
            if login.found is None or login.line <= call.known:
                continue
            if login.user in pending or login.user == call.ask.user:
                assert call.invite_id in login.found, f"{login} did not find {call}"

    def _check_due(self, call: Call, at_ms: int, reason: str) -> None:
        if call.ask.details["timeout"]:
            due_ms = call.due_ms or call.ask.up_ms
            assert due_ms <= at_ms, f"it timed out {due_ms - at_ms} ms early: {call}"
        else:
            assert reason == "lifetime", f"it has no deadline and timed out: {call}"

    def _shown_all(self, now_ms: int, opened: int) -> None:
        missing = self._expected - self._shown
        assert not missing, f"{missing} were not told of"
        invites = [ask for ask in self.asks.values() if ask.op == "invite"]
        least = len(self.calls)
        most = sum(not ask.outcome or ask.outcome[0] == "done" for ask in invites)
        assert least <= opened <= most, f"{opened} were opened, not {least} to {most}"

    # -- what people ask ---------------------------------------------------------------------------

    def _asked(self, number: int, op: str, user: str, details: dict[str, Any]) -> None:
        assert number not in self.asks
        self.asks[number] = Ask(number, op, user, details, self._line, self._up_ms)
        if op == "again":
            # The first try may have left nothing behind, not even its time.
            first = self.asks[details["first"]]
            first.up_ms = min(first.up_ms, self._up_ms)
        if op == "login":
            device = details["device"]
            self._logins[number] = Login(user, device, self._line)
            if details["start"] == "cold":
                self._rung.pop((user, device), None)
        elif op in GROUP_OPS:
            may_be = self._members_of(details["group_id"])
            may_be.append(_changed(may_be[0], op, set(details["users"])))
        elif "invite_id" in details:
            self._tried.add((op, details["invite_id"], user))

    def _done(self, number: int, result: Any) -> None:
        ask = self._settle(number, ("done", result))
        if ask.op == "invite":
            self._call(result, ask.details["data"])
        elif ask.op == "login":
            self._note_login(self._logins[number], *result)
        elif ask.op in GROUP_OPS:
            self._members[ask.details["group_id"]] = [self._members_of(ask.details["group_id"])[1]]
        else:
            call = self.calls[ask.details["invite_id"]]
            if ask.op == "modify_invitation":
                call.modified.add(ask.number)
            elif ask.op == "cancel":
                self._note_end(call)
            else:
                self._note_status(call, ask.user, STATUS_OF_OP[ask.op])

    def _refused(self, number: int, code: int) -> None:
        if code in UNSETTLED:
            return
        ask = self._settle(number, ("refused", code))
        if ask.op in GROUP_OPS:
            self._members[ask.details["group_id"]] = [self._members_of(ask.details["group_id"])[0]]
        elif code == ENDED:
            call = self.calls[ask.details["invite_id"]]
            if ask.op in STATUS_OF_OP and ask.user in call.invitees:
                call.settled.add(ask.user)
            else:
                self._note_end(call)

    def _settle(self, number: int, outcome: tuple[str, Any]) -> Ask:
        """Note what came of an ask, which is that of an earlier one where it was asked again."""
        ask = self.asks[number]
        if ask.op == "again":
            ask = self.asks[ask.details["first"]]
        assert ask.outcome in (None, outcome), f"asked again: {outcome}, not {ask}"
        ask.outcome = outcome
        return ask

    def _note_login(self, login: Login, found: list[str], ended: list[str]) -> None:
        login.found = set(found)
        for invite_id in found:
            call = self.calls.get(invite_id)
            if call is not None and call.ended is not None:
                assert call.ended > login.line, f"{login} found {call} open, which had ended"
        for invite_id in ended:
            call = self.calls.get(invite_id)
            if call is not None:
                self._note_end(call)

    # -- what sessions hear ------------------------------------------------------------------------

    def _rung_at(self, number: int, invite_id: str, inviter: str, data: str) -> None:
        self.rings += 1
        login, call = self._logins[number], self._call(invite_id, data)
        assert inviter == call.ask.user
        rung = self._rung.setdefault((login.user, login.device), set())
        assert invite_id not in rung, f"{login} is rung again by {call}"
        rung.add(invite_id)
        status, since = call.ends.get(login.user, ("", self._line))
        assert since > login.line, f"{login} is rung by {call}, which it has {status}"
        assert (call.ended or self._line) > login.line, f"{login} is rung by {call}: it had ended"
        assert invite_id not in login.finished, f"{login} heard the end of {call} before"

    def _heard(self, number: int, invite_id: str, told: dict[str, Any]) -> None:
        login = self._logins[number]
        call = self.calls.get(invite_id)
        if call is None:
            # Who was not told of the opening hears what follows; its number is not in that.
            return
        same = [told[name] for name in ("kind", "time", "affected", "reason")]
        first = call.events.setdefault(told["seq"], same)
        assert first == same, f"event {told['seq']} of {call} was {first} and is {told}"
        self._at(told["time"])
        if told["kind"] == "opened":
            self._note_opening(call, told["time"])
        due_ms = call.due_ms
        assert due_ms is None or told["expires_at"] == due_ms, f"{told}, not {due_ms}: {call}"
        if told["kind"] not in ("opened", "modified"):
            for invitee in told["affected"]:
                self._note_status(call, invitee, told["kind"])
                once = (login.user, login.device, invite_id, invitee)
                assert once not in self._told_ends, f"{login} heard twice how {invitee} ended"
                self._told_ends.add(once)
        if told["kind"] == "timed_out":
            self._check_due(call, told["time"], told["reason"])
        assert invite_id not in login.finished, f"{login} heard {told} after the end"
        if told["ends"]:
            login.finished.add(invite_id)
            self._note_end(call)

    # -- what is known -----------------------------------------------------------------------------

    def _call(self, invite_id: str, data: str) -> Call:
        """The invitation of an ID, which its data leads to."""
        ask = self.asks[int(data.partition(":")[0])]
        assert ask.outcome is None or ask.outcome[0] == "done", f"{ask} was refused, and has effect"
        if ask.op != "invite":
            assert ask.op == "modify_invitation"
            assert ask.details["invite_id"] == invite_id
            return self.calls[invite_id]
        call = self.calls.get(invite_id)
        if call is None:
            call = self.calls[invite_id] = Call(invite_id, ask, self._line)
        assert call.ask is ask, f"{invite_id} is the ID of two: {call}, {ask}"
        first = self._calls_of.setdefault(ask.number, invite_id)
        assert first == invite_id, f"{ask} opened {first} and {invite_id}"
        return call

    def _note_opening(self, call: Call, opened_ms: int) -> None:
        assert call.opened_ms in (0, opened_ms), f"{call} was opened at {opened_ms} too"
        call.opened_ms = opened_ms

    def _at(self, time_ms: int) -> None:
        self._durable_ms = max(self._durable_ms, time_ms)

    def _note_end(self, call: Call) -> None:
        if call.ended is None:
            call.ended = self._line

    def _note_status(self, call: Call, user: str, status: str) -> None:
        """Note how an invitee has ended, and that somebody wanted it so."""
        known, _ = call.ends.setdefault(user, (status, self._line))
        assert known == status, f"{user} was {known} and is {status}: {call}"
        assert user in call.invitees
        if len(call.ends) == len(call.invitees):
            self._note_end(call)
        wanted = {
            "accepted": ("accept", user), "rejected": ("reject", user),
            "cancelled": ("cancel", call.ask.user),
        }.get(status)  # fmt: skip
        if wanted is not None and (status == "accepted" or not call.ask.details["group_id"]):
            op, who = wanted
            assert (op, call.invite_id, who) in self._tried, f"nobody has {status} {call}"


def _changed(members: set[str], op: str, users: set[str]) -> set[str]:
    if op == "put":
        return users
    if op == "add":
        return members | users
    return members - users if op == "remove" else set()


METHODS: dict[str, Callable[..., None]] = {
    "began": Judge._ignore,
    "up": Judge._up,
    "members": Judge._members_told,
    "found": Judge._found,
    "gone": Judge._gone,
    "shown": Judge._shown_all,
    "asked": Judge._asked,
    "done": Judge._done,
    "refused": Judge._refused,
    "left": Judge._ignore,
    "rung": Judge._rung_at,
    "heard": Judge._heard,
    "late": Judge._late,
    "saving": Judge._ignore,
    "saved": Judge._ignore,
    "logged": Judge._logged,
    "failed": Judge._failed,
    "closed": Judge._ignore,
}
