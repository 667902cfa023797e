"""The situations of the table of operations: its axes, what cannot be, and how each comes about.

A situation is where one invitation stands when somebody does something. Every combination of the
axes either is one or is excluded by a rule with a name; nothing is left out in silence.

`amy` invites. `bob` is the invitee in question, if he is one at all; `carol` is invited beside him,
or in his place. `dave` is only a member of the group, and `eve` is not even that.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

INVITER, SUBJECT, OTHER, MEMBER, OUTSIDER, SERVER = "amy", "bob", "carol", "dave", "eve", ""
THIRD = "fred"  # invited with `carol` where `bob` is not, and never an actor
USERS = (INVITER, SUBJECT, OTHER, MEMBER, OUTSIDER)
MEMBERS = (INVITER, SUBJECT, OTHER, THIRD, MEMBER)
GROUP = "g"
TIMEOUT_MS = LIFETIME_MS = 1_000
OPENED_DATA, ANSWER_DATA = "opened", "answered"

# How many ms after the opening something arrives.
ARRIVALS = {
    "before the deadline": TIMEOUT_MS - 1,
    "at the deadline": TIMEOUT_MS,
    "after the deadline": TIMEOUT_MS + 1,
}

# State of the invitation: the reason and what became of those who had not answered (SPEC §3).
ENDS: dict[str, tuple[str, str, str]] = {
    "completed by answers": ("completed", "", "rejected"),
    "completed by leaving": ("completed", "left_group", "rejected"),
    "completed by timeout": ("completed", "", "timed_out"),
    "cancelled by inviter": ("cancelled", "", "cancelled"),
    "cancelled by server": ("cancelled", "server", "cancelled"),
    "cancelled by leaving": ("cancelled", "left_group", "cancelled"),
    "cancelled by dismissal": ("cancelled", "group_dismissed", "cancelled"),
    "ended by lifetime": ("completed", "lifetime", "timed_out"),
    "born completed": ("completed", "", ""),
}
OPEN = "open"
NOTHING = ("unknown ID", "malformed ID", "forged ID")
BY_TIME = ("completed by timeout", "ended by lifetime")
OF_GROUPS = (
    "completed by leaving", "cancelled by leaving", "cancelled by dismissal", "born completed",
)  # fmt: skip
ANSWERS = ("accepted", "rejected")
REMEMBERED = "remembered"

AXES: dict[str, tuple[Any, ...]] = {
    "state": (OPEN, *ENDS, *NOTHING),
    "memory": (REMEMBERED, "forgotten", "released", "slot in use again"),
    "status": ("pending", "accepted", "rejected", "cancelled", "timed_out", "not invited"),
    "shape": ("one", "list", "group"),
    "moment": tuple(ARRIVALS),
    "online_only": (False, True),
    "timed": (True, False),
    "parties_only": (False, True),
}


@dataclass(frozen=True)
class Situation:
    """Where an invitation stands when something arrives.

    Attributes:
        state: of the invitation, with what brought it about; or that an ID names none.
        memory: what is left of one that has ended.
        status: where the invitee in question stands.
        shape: one invitee without a group, several, or several in a group.
        moment: when it arrives; the timer has not run yet.
        online_only, parties_only: as it was opened.
        timed: whether it has a deadline; else its lifetime ends at the same time.
    """

    state: str
    memory: str
    status: str
    shape: str
    moment: str
    online_only: bool
    timed: bool
    parties_only: bool

    @property
    def is_due(self) -> bool:
        """Whether an invitation is open whose time is up."""
        return self.state in (OPEN, *NOTHING) and self.moment != "before the deadline"

    @property
    def after_time(self) -> Situation:
        """What becomes of it when the timer runs."""
        state = "completed by timeout" if self.timed else "ended by lifetime"
        status = "timed_out" if self.status == "pending" else self.status
        return replace(self, state=state, status=status)


def _ended_as(s: Situation) -> str:
    """What became of who was pending at the end."""
    return ENDS[s.state][2] if s.state in ENDS else "pending"


# Why a combination is no situation. The first rule that fits names it.
RULES: dict[str, Callable[[Situation], bool]] = {
    "what is open is remembered": lambda s: s.state not in ENDS and s.memory != REMEMBERED,
    "an ID of nothing has no invitee": lambda s: (
        s.state in NOTHING and s.status not in ("not invited", "pending")
    ),
    "only a group has members to tell": lambda s: s.shape != "group" and s.parties_only,
    "only a group is left, dismissed or told without invitees": lambda s: (
        s.shape != "group" and s.state in OF_GROUPS
    ),
    "nobody is invited in what is born completed": lambda s: (
        s.state == "born completed" and s.status != "not invited"
    ),
    "what has ended has nobody pending": lambda s: s.state in ENDS and s.status == "pending",
    "an end gives those who are pending its own status": lambda s: (
        s.status not in (*ANSWERS, "not invited") and s.status != _ended_as(s)
    ),
    "an answer of the only one ends it": lambda s: (
        s.shape == "one" and s.status in ANSWERS and s.state != "completed by answers"
    ),
    "nothing is timed out before its time": lambda s: (
        s.state in BY_TIME and s.moment == "before the deadline"
    ),
    "the deadline ends what has one, the lifetime what has none": lambda s: (
        s.state in BY_TIME and s.timed != (s.state == "completed by timeout")
    ),
}


def situations(**axes: tuple[Any, ...]) -> tuple[list[Situation], Counter[str]]:
    """Enumerate the axes.

    Args:
        axes: values in place of those of `AXES`.

    Returns:
        (the situations, how many combinations each rule excludes).
    """
    found: list[Situation] = []
    excluded: Counter[str] = Counter()
    for values in itertools.product(*(AXES | axes).values()):
        situation = Situation(*values)
        rule = next((name for name, fits in RULES.items() if fits(situation)), None)
        if rule is None:
            found.append(situation)
        else:
            excluded[rule] += 1
    return found, excluded


@dataclass(frozen=True)
class View:
    """What everybody may see of an invitation; what an operation changes, and nothing else."""

    state: str = "open"
    reason: str = ""
    statuses: dict[str, str] = field(default_factory=dict)
    data: str = OPENED_DATA
    data_version: int = 1

    @property
    def pending(self) -> tuple[str, ...]:
        return tuple(user for user, status in self.statuses.items() if status == "pending")


def view_of(info: Any) -> View:
    """What an engine shows of an invitation."""
    return View(info.state, info.reason, dict(info.statuses), info.data, info.data_version)


def invitees(s: Situation) -> list[str]:
    """Who was invited, in order."""
    if s.state == "born completed":
        return []
    if s.shape == "one":
        return [OTHER if s.status == "not invited" else SUBJECT]
    return [OTHER, THIRD] if s.status == "not invited" else [SUBJECT, OTHER]


def others(s: Situation) -> list[str]:
    """The invitees beside the one in question."""
    return [user for user in invitees(s) if user != SUBJECT]


def view(s: Situation) -> View:
    """What a situation looks like, said outright and not worked out from how it came about."""
    if s.state not in ENDS:
        return View(statuses={user: _status(s, user) for user in invitees(s)})
    state, reason, _ = ENDS[s.state]
    statuses = {user: _status(s, user) for user in invitees(s)}
    return View(state, reason, statuses, data="")


def _status(s: Situation, user: str) -> str:
    return s.status if user == SUBJECT else _ended_as(s)


def history(s: Situation) -> Iterator[tuple[str, str]]:
    """How it came about, after the opening: (operation, by whom), time being the last."""
    if s.status in ANSWERS:
        yield s.status, SUBJECT
    match s.state:
        case "completed by answers":
            yield from (("rejected", user) for user in others(s))
        case "completed by leaving":
            yield from (("leave", user) for user in others(s))
        case "cancelled by inviter":
            yield "cancel", INVITER
        case "cancelled by server":
            yield "cancel", SERVER
        case "cancelled by leaving":
            yield "leave", INVITER
        case "cancelled by dismissal":
            yield "dismiss", SERVER


# -- what operations do ----------------------------------------------------------------------------

# Who may, by name or as an invitee; who is not among them is not_party (8011).
ANSWERING = {"accept": "accepted", "reject": "rejected"}
INVITERS = ("cancel", "modify", "modify at its version", "modify at another version")


def refusal(s: Situation, operation: str, role: str) -> str:
    """What an operation on an invitation is told, in the order of SPEC §2; `""` where it is done.

    The results are the machine's: unknown, ended, answered are 8010, not_party 8011,
    not_modifiable 7014, conflict 8006.
    """
    if s.state in NOTHING or (s.state in ENDS and s.memory != REMEMBERED):
        return "unknown"
    if s.state in ENDS:
        return "ended"
    if operation in INVITERS:
        if role != INVITER and not (operation == "cancel" and role == SERVER):
            return "not_party"
        if operation != "cancel" and s.online_only:
            return "not_modifiable"
        return "conflict" if operation == "modify at another version" else ""
    if role not in invitees(s):
        return "not_party"
    return "answered" if operation in ANSWERING and _status(s, role) != "pending" else ""


@dataclass(frozen=True)
class Change:
    """What an operation that is done makes of an invitation, and what is told of it."""

    after: View
    kind: str
    actor: str
    affected: tuple[str, ...]
    reason: str = ""
    data: str = ANSWER_DATA

    @property
    def ends(self) -> bool:
        return self.after.state != "open"


def change(s: Situation, operation: str, role: str) -> Change | None:
    """What an operation that is not refused makes of an invitation; None for nothing."""
    now = view(s)
    if s.state in ENDS:
        return None
    if operation in ANSWERING:
        return _answered(now, ANSWERING[operation], role, "", ANSWER_DATA)
    if operation.startswith("modify"):
        after = replace(now, data=ANSWER_DATA, data_version=now.data_version + 1)
        return Change(after, "modified", role, ())
    if operation == "cancel":
        return _ended(now, "cancelled", role, "" if role else "server", ANSWER_DATA)
    if operation == "leave" and s.shape == "group":
        if role == INVITER:
            return _ended(now, "cancelled", role, "left_group", "")
        if role in now.pending:
            return _answered(now, "rejected", role, "left_group", "")
    if operation == "dismiss" and s.shape == "group":
        return _ended(now, "cancelled", "", "group_dismissed", "")
    if operation == "advance" and s.is_due:
        return _ended(now, "timed_out", "", "" if s.timed else "lifetime", "")
    return None


def _answered(now: View, status: str, role: str, reason: str, data: str) -> Change:
    after = replace(now, statuses=now.statuses | {role: status})
    if not after.pending:
        after = replace(after, state="completed", reason=reason, data="")
    return Change(after, status, role, (role,), reason, data)


def _ended(now: View, status: str, actor: str, reason: str, data: str) -> Change:
    statuses = now.statuses | dict.fromkeys(now.pending, status)
    state = "cancelled" if status == "cancelled" else "completed"
    after = View(state, reason, statuses, "", now.data_version)
    return Change(after, status, actor, now.pending, reason, data)
