"""What happens in a history, as plain data: mostly what may be done, now and then what may not.

A `Drawer` looks at the model to know what is worth doing: who is pending, what has just ended, when
the next deadline is. Its choices come from a `Source`, so that a seed, the bytes of a fuzzer and
hypothesis all draw the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from oracle import groups
from oracle.calls import Call, Calls
from oracle.group_acts import TEXTS
from oracle.lives import JOURNALS
from oracle.model import Oracle, Place
from oracle.source import Exhausted, Source, pick, some
from pysignal import Limits

USERS: Final = ("amy", "bob", "carol", "дэйв")
DEVICES: Final = ("1", "2", "phone")
GROUPS: Final = ("g", "h")
MALFORMED: Final = ("", "x", "no-such-id", "0" * 26, "é" * 13, "a" * 65, None, 7, b"x")
BAD_IDS: Final = ("", "a\nb", "x" * 129, "é" * 65, "\ud800", 5, None, "\x85")
BAD_TIMEOUTS: Final = (-1, -0.001, 2_592_000.0001, True, "5", math.nan, math.inf, None)
TIMEOUTS_MS: Final = (1, 2, 50, 1_000, 5_000, 30_000, 30_000, 60_000, 2_592_000_000)
SMALL_GROUPS: Final[Any] = {"Work": 3, "Meeting": 2}
TYPES: Final = ("Work", "Public", "Meeting", "AVChatRoom", "Community")


class Nth(NamedTuple):
    """The ID of the invitation that was opened as this one; with one character changed.

    After a crash there may be fewer: one that is not there any more is as good as none.
    """

    number: int
    flipped: bool = False

    def among(self, names: Sequence[str]) -> str:
        name = names[self.number] if self.number < len(names) else "lost"
        if not self.flipped:
            return name
        at = self.number % len(name)
        return name[:at] + ("1" if name[at] == "0" else "0") + name[at + 1 :]


class Act(NamedTuple):
    """One operation: what, by whom (`""` is the device of an act of the server), and how."""

    kind: str
    by: tuple[str, Any]
    args: dict[str, Any]


@dataclass(frozen=True)
class World:
    """What a history takes place in.

    Attributes:
        limits: of the hub.
        seed: of the IDs of invitations.
        same_ms: whether deadlines may fall into one millisecond, and so come in either order.
        notices: whether most invitations are from one user to one other, without a deadline.
        journal: of which sort (see `lives`), where the hub has one: then it also crashes.
    """

    limits: Limits
    seed: int
    same_ms: bool
    notices: bool
    journal: str = ""


def draw_world(source: Source) -> World:
    """Draw the limits of SPEC §5, or such small ones that a short history crosses them."""
    try:
        return _draw_world(source)
    except Exhausted:
        return World(Limits(), seed=0, same_ms=False, notices=False)


def _draw_world(source: Source) -> World:
    notices, seed = source.below(12) == 0, source.below(1 << 16)
    if source.below(2):
        same_ms = source.below(4) == 0
        return World(Limits(), seed, same_ms, notices, _journal_of(seed))
    ended_max = pick(source, (100_000, 100_000, 0, 1, 3))
    limits = Limits(
        sessions_per_user=pick(source, (16, 2)),
        data_bytes_max=pick(source, (12_288, 16)),
        invitees_max=pick(source, (10_000, 2)),
        open_max=pick(source, (1 << 24, 1 << 24, 16, 3)),
        ended_max=ended_max,
        ended_keep_s=pick(source, (60, 60, 1, 0)),
        lifetime_s=pick(source, (86_400, 40, 2)),
        cold_group_s=pick(source, (30, 5, 0)),
        told_keep_s=pick(source, (86_400, 10, 0)),
        devices_remembered=pick(source, (16, 2, 1, 0)),
        requests_max=pick(source, (1_000, 2)),
        requests_keep_s=pick(source, (120, 3)),
        group_members=SMALL_GROUPS if source.below(3) == 0 else None,
    )
    same_ms = ended_max > 100 and source.below(4) == 0
    return World(limits, seed, same_ms, notices, _journal_of(seed))


def _journal_of(seed: int) -> str:
    """The sort of journal of one world in 64, as such histories take long; the others have none."""
    sorts = [*JOURNALS]
    at = seed % (64 * len(sorts))
    return sorts[at] if at < len(sorts) else ""


class Drawing:
    """What histories of a hub and of a machine draw alike."""

    def __init__(self, source: Source, calls: Calls, *, same_ms: bool, notices: bool) -> None:
        self.source = source
        self.below = source.below
        self.calls = calls
        self.same_ms = same_ms
        self.notices = notices

    def pick(self, items: Sequence[Any]) -> Any:
        return items[self.below(len(items))]

    def call(self) -> tuple[Any, Call | None]:
        """Choose an ID: mostly of what is open, or has just ended; at times of nothing."""
        names, kind = self.calls.names, self.below(20)
        if kind < 13 and self.calls.open:
            call = self.pick(list(self.calls.open.values())[-6:])
            return Nth(call.number), call
        if kind == 19 or not names:
            return self.pick(MALFORMED), None
        at = self.below(len(names) if kind == 18 else min(len(names), 8))
        number = len(names) - 1 - at
        return Nth(number, flipped=kind == 17), self.calls.get(names[number])

    def party(self, call: Call | None, *, inviter: bool) -> str:
        """Choose a user: mostly one who may act."""
        if call is None or self.below(5) == 0:
            user: str = self.pick(USERS)
        elif inviter:
            user = call.inviter
        else:
            user = self.pick(call.pending or list(call.status) or USERS)
        return user

    def text(self) -> str:
        kind = self.below(8)
        if kind < 5:
            return f"d{self.below(1000)}"
        text: str = self.pick(("", "é", "漢字", "\U0001f600", "\x00", "plain"))
        return text

    def timeout_ms(self) -> int:
        """Choose a timeout; no two ends in one millisecond, where their order would matter."""
        if self.below(8) < (7 if self.notices else 2):
            ms = 0
        else:
            ms = self.pick(TIMEOUTS_MS) if self.below(2) else 1 + self.below(20_000)
        if self.same_ms:
            return ms
        while self.is_taken(ms):
            ms = ms - 1 if ms > 1_000_000 else ms + 1
        return ms

    def is_taken(self, ms: int) -> bool:
        """Whether something ends just when an invitation of so long a timeout would."""
        due_ms = self.calls.now_ms + self.calls.late_ms + (ms or self.calls.lifetime_ms)
        return any(call.due_ms == due_ms for call in self.calls.open.values())

    def moments(self) -> list[int]:
        """When something is about to change, and did not yet."""
        calls = self.calls
        ends = [call.due_ms for call in calls.open.values()]
        return ends + [(call.ended_ms or 0) + calls.ended_keep_ms for call in calls.ended.values()]

    def span_ms(self) -> int:
        """Choose how long to wait: to just before, at, or just after what is about to change."""
        kind = self.below(8)
        moments = self.moments() if kind < 5 else []
        if moments:
            moment: int = self.pick(moments)
            return max(moment - self.calls.now_ms + self.below(3) - 1, 0)
        if kind == 7:
            return 0
        span: int = self.pick((1, 1, 10, 500, 3_000, 30_000))
        return span


class Drawer(Drawing):
    """Draws what happens to a hub."""

    def __init__(self, source: Source, world: World, oracle: Oracle) -> None:
        super().__init__(source, oracle.calls, same_ms=world.same_ms, notices=world.notices)
        self.world = world
        self.oracle = oracle
        self.requested: list[Act] = []

    def next(self, kinds: Sequence[Callable[[Drawer], Act]] | None = None) -> Act:
        """Draw the next act: one of some kinds, where they are given."""
        is_notice = self.notices and self.below(4)
        act: Act = self.invite() if is_notice else self.pick(kinds or KINDS)(self)
        if "request_id" in act.args:
            self.requested.append(act)
        return act

    def begin(self) -> list[Act]:
        """Draw what stands at the beginning: some are online, and mostly there is a group."""
        acts = [
            Act("login", (user, DEVICES[0]), {"start": "cold", "anew": True})
            for user in USERS[: 2 + self.below(3)]
        ]
        if self.below(2):
            acts.append(
                Act("login", (self.pick(USERS), DEVICES[1]), {"start": "cold", "anew": True})
            )
        if self.below(4):
            members = some(self.source, USERS, 2, 4)
            if self.below(2):
                acts.append(Act("put", ("", ""), {"group_id": "g", "members": members}))
            else:
                acts.append(self._create("g", members[0], members[1:]))
                owner, role = (members[0], ""), 200 + 100 * self.below(2)
                for user in members[1:3]:
                    args = {"group_id": "g", "user": user, "role": role}
                    acts.append(Act("set_group_member_role", owner, args))
        return acts

    def settle(self) -> Act | None:
        """Draw what follows an act: nothing, or that all is delivered and compared."""
        kind = self.below(12)
        return Act("compare", ("", ""), {"whole": kind == 0}) if kind < 4 else None

    # -- who and what ------------------------------------------------------------------------------

    def by(self, user: str) -> Place:
        """Choose a session of a user, or the server for them; at times one that is offline."""
        places = [place for place in self.oracle.online if place[0] == user]
        kind = self.below(24)
        if places and kind < 20:
            place: Place = self.pick(places)
            return place
        return user, "" if kind < 23 else self.pick(DEVICES)

    def odd(self, value: Any, bad: Sequence[Any], one_in: int = 50) -> Any:
        """Take a good value, or now and then a bad one."""
        return value if self.below(one_in) else self.pick(bad)

    def data(self) -> Any:
        text = self.text()
        if self.below(40):
            return text
        most = self.world.limits.data_bytes_max
        fits = "x" * most, "é" * (most // 2), None
        return self.pick((*fits, "x" * (most + 1), "é" * (most // 2 + 1), "\ud800", 5, b"x"))

    def act(self, kind: str, user: str, args: dict[str, Any]) -> Act:
        """Make an act of a user, at times with a request ID."""
        if self.below(12) == 0:
            args["request_id"] = self.odd(self.pick(("r1", "r2", "r3", "r4")), BAD_IDS, 30)
        return Act(kind, self.by(user), args)

    def timeout(self) -> Any:
        ms = self.timeout_ms()
        # Such as are rounded to the same; what is above 0 is 1 ms at least.
        rounded = ((ms - 0.4) / 1000, (ms + 0.4) / 1000) if ms > 1 else (0.0004,) * ms
        return self.odd(ms / 1000, (*BAD_TIMEOUTS, *rounded), 60)

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"data": self.data(), "timeout": self.timeout()}
        if self.below(4) == 0:
            options["online_user_only"] = self.odd(True, (1, None, "yes"), 20)
        return options

    def group(self) -> Any:
        existing = list(self.oracle.groups.groups)
        if existing and self.below(16):
            return self.pick(existing)
        return self.pick((*GROUPS, *GROUPS, "nope", *BAD_IDS[:4]))

    # -- invitations -------------------------------------------------------------------------------

    def invite(self) -> Act:
        user = self.pick(USERS)
        others = [other for other in USERS if other != user]
        invitee: Any = self.pick(others)
        kind = self.below(40)
        if self.notices and kind < 36:
            user, invitee = "amy", "bob"
        elif kind > 30:
            invitee = some(self.source, others, 1, 3)
        elif kind == 0:
            bad: Any = [], [user, invitee], {invitee}, [invitee, 5], user, ["a", "b", "c", "d"]
            invitee = self.pick((*bad, (invitee, invitee), "é" * 64, *BAD_IDS))
        return self.act("invite", user, {"invitee": invitee, **self.options()})

    def invite_in_group(self) -> Act:
        group = self.group()
        members = list(self.oracle.groups.members(group)) if isinstance(group, str) else []
        user = self.pick(members if members and self.below(12) else USERS)
        others = [other for other in members if other != user]
        users: Any = some(self.source, others, 0 if self.below(6) == 0 else 1, 3)
        if self.below(24) == 0:
            users = self.pick(([user], [*users, "nobody"], tuple(users), "bob", {"bob"}, ["", 5]))
        args = {"group_id": group, "invitee_list": users, **self.options()}
        if self.below(3) == 0:
            args["notify"] = self.odd("parties", ("members", "nobody", None), 20)
        return self.act("invite_in_group", user, args)

    def accept(self) -> Act:
        return self._answer("accept")

    def reject(self) -> Act:
        return self._answer("reject")

    def _answer(self, kind: str) -> Act:
        name, call = self.call()
        user = self.party(call, inviter=False)
        return self.act(kind, user, {"invite_id": name, "data": self.data()})

    def cancel(self) -> Act:
        name, call = self.call()
        user = self.party(call, inviter=True)
        return self.act("cancel", user, {"invite_id": name, "data": self.data()})

    def modify_invitation(self) -> Act:
        name, call = self.call()
        args = {"invite_id": name, "data": self.data()}
        if self.below(4) == 0:
            version = 1 if call is None else call.version
            args["expected_version"] = self.odd(
                version, (version + 1, max(version - 1, 1), 1, 2**40, 0, -1, True, "1", 1.0), 3
            )
        return self.act("modify_invitation", self.party(call, inviter=True), args)

    def cancel_by_server(self) -> Act:
        name, _ = self.call()
        return Act("cancel_by_server", ("", ""), {"invite_id": name, "data": self.data()})

    def add_invited_signaling(self) -> Act:
        name, call = self.call()
        args = {"invite_id": name, "inviter": "amy", "group_id": "", "invitee_list": ["bob"]}
        if call is not None:
            users = list(call.status)
            args |= {"inviter": call.inviter, "group_id": call.group, "invitee_list": users}
            wrong = self.below(24)
            if wrong < 3:
                which = ("inviter", "group_id", "invitee_list")[wrong]
                args[which] = [*users, "eve"] if which == "invitee_list" else "eve"
        return self.act("add_invited_signaling", self.party(call, inviter=False), args)

    def open_invitations(self) -> Act:
        return Act("open_invitations", self.by(self.pick(USERS)), {"group_id": self.group()})

    def again(self) -> Act:
        """Repeat a call with a request ID, from any device of the user, or change it a little."""
        if not self.requested:
            return self.accept()
        kind, by, args = self.pick(self.requested[-4:])
        # It is done once more where the request is too old, or a crash has lost it.
        if not self.same_ms and self._is_taken_too(args.get("timeout")):
            return self.accept()
        if self.below(4) == 0 and "data" in args:
            args = args | {"data": self.data()}
        return Act(kind, self.by(by[0]), args)

    def _is_taken_too(self, timeout: Any) -> bool:
        is_number = isinstance(timeout, float) and math.isfinite(timeout)
        return is_number and self.is_taken(round(timeout * 1000))

    # -- sessions, time ----------------------------------------------------------------------------

    def login(self) -> Act:
        place = self.pick(USERS), self.pick(DEVICES)
        start = self.odd("hot" if self.below(5) < 3 else "cold", ("warm", None), 60)
        return Act("login", place, {"start": start, "anew": self.below(3) == 0})

    def logout(self) -> Act:
        places = list(self.oracle.online)
        if places and self.below(12):
            return Act("logout", self.pick(places), {})
        return Act("logout", (self.pick(USERS), self.pick(DEVICES)), {})

    def offline(self) -> Act:
        """Calls of sessions that have logged out, or that another login has replaced."""
        return Act("offline", ("", ""), {})

    def wait(self) -> Act:
        return Act("wait", ("", ""), {"ms": self.span_ms()})

    def jump(self) -> Act:
        """Let time pass while the event loop is kept: no timer runs."""
        return Act("jump", ("", ""), {"ms": self.span_ms()})

    def moments(self) -> list[int]:
        limits, oracle = self.world.limits, self.oracle
        moments = super().moments()
        cold_ms = round(limits.cold_group_s * 1000)
        moments += [call.opened_ms + cold_ms for call in self.calls.open.values() if call.group]
        told_ms = round(limits.told_keep_s * 1000)
        moments += [device.left_ms + told_ms for device in oracle.away.values()]
        keep_ms = round(limits.requests_keep_s * 1000)
        for kept in oracle.requests.values():
            moments += [request.at_ms + keep_ms for request in kept.values()]
        return [moment for moment in moments if moment >= self.calls.now_ms]

    # -- groups ------------------------------------------------------------------------------------

    def _create(self, group: Any, user: str, members: list[str]) -> Act:
        kind = self.odd(self.pick(TYPES), ("Server", "work", ""), 30)
        args: dict[str, Any] = {"group_type": kind, "group_id": group}
        if members and kind != "AVChatRoom":
            args["member_list"] = members
        if self.below(6) == 0:
            args["name"] = self.odd("a name", ("n" * 101, "é" * 50, 5), 3)
        return self.act("create_group", user, args)

    def change_group(self) -> Act:
        """A change by a session: mostly by somebody who may, as most do not."""
        missing = [group for group in GROUPS if group not in self.oracle.groups.groups]
        if missing and self.below(2):
            return self._create(
                self.pick(missing), self.pick(USERS), some(self.source, USERS, 0, 4)
            )
        kind, group = self.pick(GROUP_KINDS), self.group()
        known = self.oracle.groups.groups.get(group) if isinstance(group, str) else None
        members = [] if known is None else list(known.members)
        user = self.pick(members) if members and self.below(4) else self.pick(USERS)
        rank = self.pick((groups.OWNER, groups.OWNER, groups.ADMIN, groups.MEMBER))
        if known is not None:
            may = [user for user, member in known.members.items() if member.role == rank]
            user = self.pick(may or [user])
        if kind == "join_group" and self.below(4):
            user = self.pick([each for each in USERS if each not in members] or USERS)
        other = self.pick(members or USERS) if self.below(4) else self.pick(USERS)
        users: Any = some(self.source, USERS, 1, 2) if self.below(2) else [other]
        bad_users: Any = other, tuple(users), [], {"bob"}, [5]
        args: dict[str, Any] = {"group_id": group}
        if kind == "kick_group_member":
            args["user"] = self.odd(users, bad_users if known else (other,), 12)
        elif kind == "invite_user_to_group":
            args["user_list"] = self.odd(users, bad_users if known else (other,), 12)
        elif kind == "set_group_member_role":
            args |= {
                "user": other,
                "role": self.odd(300 if self.below(3) else 200, (400, 0, "x"), 20),
            }
        elif kind == "transfer_group_owner":
            args["user"] = self.odd(other, BAD_IDS, 30)
        elif kind == "set_group_info":
            value = self.odd(self.text(), ("n" * 101, "n" * 501, 5, "\ud800"), 12)
            args[self.pick(TEXTS)] = value
        elif kind == "set_group_member_info":
            args |= {"user": other, "name_card": self.odd(self.text(), ("c" * 51, "c" * 50, 5), 12)}
        return self.act(kind, user, args)

    def ask_group(self) -> Act:
        kind = self.pick(("get_group_info", "get_joined_group_list", "get_group_member_list"))
        args = {} if kind == "get_joined_group_list" else {"group_id": self.group()}
        return Act(kind, self.by(self.pick(USERS)), args)

    def change_by_server(self) -> Act:
        group, users = self.group(), some(self.source, USERS, 0, 3)
        kind = self.pick(("put", "put", "add", "add", "remove", "remove", "dismiss"))
        if kind == "put":
            group = self.odd(self.pick(GROUPS), BAD_IDS, 30)
            args = {"group_id": group, "members": self.odd(users, ("bob", {"bob"}, [5]), 30)}
            if users and self.below(3) == 0:
                args["owner"] = self.pick(users)
        else:
            args = {"group_id": group} | ({} if kind == "dismiss" else {"users": users})
        return Act(kind, ("", ""), args)


GROUP_KINDS: Final = (
    "join_group", "join_group", "quit_group", "quit_group", "dismiss_group", "kick_group_member",
    "kick_group_member", "invite_user_to_group", "invite_user_to_group", "set_group_member_role",
    "set_group_member_role", "transfer_group_owner", "set_group_info", "set_group_member_info",
)  # fmt: skip

WEIGHTS: Final[dict[Callable[[Drawer], Act], int]] = {
    Drawer.invite: 17, Drawer.invite_in_group: 13, Drawer.accept: 14, Drawer.reject: 6,
    Drawer.cancel: 5, Drawer.modify_invitation: 6, Drawer.cancel_by_server: 2,
    Drawer.add_invited_signaling: 3, Drawer.open_invitations: 2, Drawer.again: 4, Drawer.login: 11,
    Drawer.logout: 6, Drawer.offline: 1, Drawer.wait: 9, Drawer.jump: 3, Drawer.change_group: 10,
    Drawer.ask_group: 1, Drawer.change_by_server: 4,
}  # fmt: skip
KINDS: Final = tuple(kind for kind, weight in WEIGHTS.items() for _ in range(weight))
