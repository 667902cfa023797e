"""Every operation, by everybody, in every situation, at the hub (A2, A4, A10; SPEC §2 to §5).

As at the machine, but through sessions and the embedding server's acts, with the codes that callers
get and what each session hears. Every user has two devices that heard the opening, and one that
came online after it. Beside the invitation in question another one is open for everybody.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from ears import Ear, join
from refusals import picture
from table.situations import (
    ANSWER_DATA,
    ANSWERING,
    ARRIVALS,
    AXES,
    ENDS,
    GROUP,
    INVITER,
    INVITERS,
    LIFETIME_MS,
    MEMBERS,
    NOTHING,
    OPENED_DATA,
    OUTSIDER,
    REMEMBERED,
    SERVER,
    THIRD,
    TIMEOUT_MS,
    USERS,
    Change,
    Situation,
    change,
    history,
    invitees,
    refusal,
    situations,
    view,
    view_of,
)

from pysignal import Hub, Limits, Session, SignalingError, SignalingInfo, VirtualClock

pytestmark = pytest.mark.anyio

MEMORIES = (REMEMBERED, "forgotten")
ADDING = ("add", "add later", "add later, differently")
ASKING = ("open_invitations", "pending", "invitation")
OPERATIONS = (*ANSWERING, *INVITERS, *ADDING, *ASKING)
ROLES = (*USERS, SERVER)
MEANS = ("session", "acting_as")

CODES = {
    "": 0, "unknown": 8010, "ended": 8010, "answered": 8010, "not_party": 8011,
    "not_modifiable": 7014, "conflict": 8006,
}  # fmt: skip

Act = tuple[str, str, str]  # operation, role, means

RULES: dict[str, Callable[[str, str, str], bool]] = {
    "the server has no session": lambda _, role, means: role == SERVER and means == "session",
    "as itself the server only cancels, and asks for one by its ID": lambda operation, role, _: (
        role == SERVER and operation not in ("cancel", "invitation")
    ),
    "only the server asks what is pending": lambda operation, _, means: (
        operation == "pending" and means == "session"
    ),
    "one by its ID is asked for by the server alone": lambda operation, role, _: (
        operation == "invitation" and role != SERVER
    ),
    "only a session comes later": lambda operation, _, means: (
        operation in ADDING[1:] and means != "session"
    ),
}
# What the axes give: acts of each situation, and how many each rule excludes.
ACTS = 97
EXCLUDED_ACTS = {
    "the server has no session": 12,
    "as itself the server only cancels, and asks for one by its ID": 10,
    "only the server asks what is pending": 5,
    "one by its ID is asked for by the server alone": 10,
    "only a session comes later": 10,
}


def acts() -> tuple[list[Act], Counter[str]]:
    """All acts, and how many each rule excludes."""
    found: list[Act] = []
    excluded: Counter[str] = Counter()
    for act in itertools.product(OPERATIONS, ROLES, MEANS):
        rule = next((name for name, fits in RULES.items() if fits(*act)), None)
        if rule is None:
            found.append(act)
        else:
            excluded[rule] += 1
    return found, excluded


class Stage:
    """A hub on which one situation after another is brought about.

    Attributes:
        hub, clock: the hub and its time.
        name: the invitation in question; `other` is the one beside it.
        ids: the IDs to name it by.
    """

    def __init__(self, hub: Hub, clock: VirtualClock) -> None:
        self.hub = hub
        self.clock = clock
        self.name = self.other = ""
        self.ids: tuple[str, ...] = ()
        self.ears: dict[tuple[str, str], Ear] = {}
        self.sessions: dict[tuple[str, str], Session] = {}

    async def set_up(self) -> None:
        everybody = [*USERS, THIRD]
        for place in itertools.product(everybody, "12"):
            self.sessions[place], self.ears[place] = await join(self.hub, *place)
        await self.hub.groups.put("h", everybody)
        others = [user for user in everybody if user != OUTSIDER]
        self.other = await self.hub.invite_in_group_as(
            OUTSIDER, "h", others, "other", timeout=30 * 86_400
        )

    async def stand(self, s: Situation, late: bool) -> None:
        """Bring a situation about; `late` where a device of each actor comes online after it."""
        hub, clock = self.hub, self.clock
        if self.name and getattr(self.info(self.name), "state", "") == "open":
            await hub.cancel_by_server(self.name)
        if await hub.groups.members(GROUP) != list(MEMBERS):
            await hub.groups.put(GROUP, MEMBERS)
        self.name = await self.open(s)
        for step, user in history(s):
            await self.begin(step, user)
        self.ids = (self.name,)
        if s.state == "unknown ID":
            self.ids = ("0" * 26,)
        elif s.state == "malformed ID":
            self.ids = ("", self.name + "0", "ü" * 26)
        elif s.state == "forged ID":
            at = self.name[-1] == "1"
            self.ids = (self.name[:-1] + "12"[at], "1" + self.name[1:])
        if s.state == "open" and s.is_due:
            await self.come_late(late)
            await clock.settle()
            clock._now_ms += ARRIVALS[s.moment]  # no timer has run
        else:
            await clock.advance(ARRIVALS[s.moment] / 1000)
            await self.come_late(late)
        self.clear()

    async def open(self, s: Situation) -> str:
        amy = self.sessions[INVITER, "1"].signaling
        timeout, users = TIMEOUT_MS / 1000 if s.timed else 0, invitees(s)
        if s.shape != "group":
            one = users[0] if s.shape == "one" else users
            return await amy.invite(
                one, OPENED_DATA, timeout=timeout, online_user_only=s.online_only
            )
        return await amy.invite_in_group(
            GROUP, users, OPENED_DATA, timeout=timeout, online_user_only=s.online_only,
            notify="parties" if s.parties_only else "members",
        )  # fmt: skip

    async def begin(self, step: str, user: str) -> None:
        """One step of how a situation comes about."""
        hub = self.hub
        match step:
            case "accepted":
                await hub.accept_as(user, self.name)
            case "rejected":
                await hub.reject_as(user, self.name)
            case "leave":
                await hub.groups.remove(GROUP, [user])
            case "dismiss":
                await hub.groups.dismiss(GROUP)
            case "cancel" if user == SERVER:
                await hub.cancel_by_server(self.name)
            case "cancel":
                await hub.cancel_as(user, self.name)

    async def come_late(self, late: bool) -> None:
        """Let a device of each actor come online anew, and hear what a login tells."""
        if late:
            for user in USERS:
                self.sessions[user, "late"] = await self.hub.login(user, "late")
            await self.clock.settle()

    def clear(self) -> None:
        for ear in self.ears.values():
            ear.heard.clear()

    def info(self, name: str) -> Any:
        """How an invitation stands, without moving time."""
        return self.hub.shard.machine.info(str(name))

    def heard(self) -> dict[tuple[str, str], list[tuple[Any, ...]]]:
        return {place: heard for place, ear in self.ears.items() if (heard := ear.take())}

    def picture(self) -> tuple[object, ...]:
        """Everything that an act could change, who was told included."""
        presence = self.hub._presence
        told = [presence.is_told(session, self.name) for session in self.sessions.values()]
        return *picture(self.hub), told, view_of(self.info(self.other))

    def call(self, s: Situation, act: Act, name: str) -> Any:
        """Call an operation."""
        operation, role, means = act
        if operation == "invitation":
            return self.hub.invitation(name)
        if operation == "pending":
            return self.hub.pending(role)
        if role == SERVER:
            return self.hub.cancel_by_server(name, ANSWER_DATA)
        device = "late" if operation in ADDING[1:] else "1"
        actor = self.sessions[role, device] if means == "session" else self.hub.acting_as(role)
        who = actor.signaling
        if operation in ADDING:
            inviter = OUTSIDER if operation == "add later, differently" else INVITER
            group = GROUP if s.shape == "group" else ""
            return who.add_invited_signaling(SignalingInfo(name, inviter, group, invitees(s)))
        if operation in INVITERS[1:]:
            versions = {"modify at its version": 1, "modify at another version": 2}
            return who.modify_invitation(
                name, ANSWER_DATA, expected_version=versions.get(operation)
            )
        if operation == "open_invitations":
            return who.open_invitations(GROUP)
        return getattr(who, operation)(name, ANSWER_DATA)


# -- what is expected ------------------------------------------------------------------------------


def now(s: Situation) -> Situation:
    """What a situation is by the time that something which arrives is looked at."""
    return s.after_time if s.is_due and s.state == "open" else s


def code(s: Situation, act: Act) -> int:
    """What the caller is told; 0 where it is done."""
    operation, role, _ = act
    if operation == "open_invitations":
        if s.state == "cancelled by dismissal":
            return 10010
        return 0 if role in members(s) else 10007
    if operation in ASKING:
        return 0
    if operation not in ADDING:
        return CODES[refusal(now(s), operation, role)]
    if refused := refusal(now(s), "accept", role):
        return CODES[refused]
    # Who comes later is told by the login, or counts as told with the user's other devices; only
    # of what is online-only they know nothing (SPEC §7).
    if operation == "add" or not s.online_only:
        return 8012
    return 6017 if operation == "add later, differently" else 0


def members(s: Situation) -> set[str]:
    """Who is in the group."""
    if s.state == "cancelled by dismissal":
        return set()
    return set(MEMBERS) - {user for step, user in history(s) if step == "leave"}


def details(s: Situation, role: str) -> dict[str, str]:
    """What a refusal with 8010 tells a party about the end; others learn nothing."""
    s = now(s)
    if s.state in NOTHING or s.memory != REMEMBERED or role not in (INVITER, *invitees(s)):
        return {}
    seen = view(s)
    return {"status": seen.statuses.get(role, ""), "state": seen.state, "reason": seen.reason}


def answer(s: Situation, act: Act, stage: Stage) -> Any:
    """What an operation that is done answers."""
    operation, role, _ = act
    s = now(s)
    is_open = s.state == "open" or (s.state in NOTHING and not s.is_due)
    own = [stage.name] if is_open else []
    if operation == "pending":
        other = [] if role == OUTSIDER else [stage.other]
        return other + (own if role in view(s).pending else [])
    if operation == "open_invitations":
        return own if s.shape == "group" and not s.parties_only else []
    if operation == "invitation":
        return None if refusal(s, "accept", role) == "unknown" else view(s)
    return None


def plain(found: Any) -> Any:
    """An answer as `answer` gives it."""
    if isinstance(found, list):
        return [info.invite_id for info in found]
    return found if found is None else view_of(found)


Heard = dict[tuple[str, str], list[tuple[Any, ...]]]


def heard(s: Situation, stage: Stage, done: Change, acting: tuple[str, str] | None) -> Heard:
    """What each session hears of a change (SPEC §4)."""
    parties = {INVITER, *invitees(s)}
    audience = parties if s.shape != "group" or s.parties_only else set(MEMBERS)
    name = stage.name
    told = {
        "accepted": ("invitee_accepted", name, done.actor, done.data),
        "rejected": ("invitee_rejected", name, done.actor, done.data),
        "cancelled": ("invitation_cancelled", name, INVITER, done.data),
        "modified": ("invitation_modified", name, done.data),
        "timed_out": ("invitation_timeout", name, list(done.affected)),
    }
    if done.reason == "lifetime":
        return {}
    places = itertools.product(sorted(audience), "12")
    return {place: [told[done.kind]] for place in places if place != acting}


# -- checking --------------------------------------------------------------------------------------


async def told(call: Any) -> tuple[int, dict[str, Any], Any]:
    """Await a call: (code, details, answer)."""
    try:
        return 0, {}, plain(await call)
    except SignalingError as error:
        return error.code, dict(error.details), None


async def check_answer(stage: Stage, s: Situation, act: Act) -> None:
    """What the caller is told, and no more than the caller may know."""
    expected = code(s, act)
    for name in stage.ids:
        found, more, answered = await told(stage.call(s, act, name))
        assert found == expected, (s, act, found)
        if expected == 0:
            assert answered == answer(s, act, stage), (s, act)
        elif expected == 8010:
            how = more.pop("how", None)
            assert more == details(s, act[1]), (s, act)
            assert (how is None) == (not more)
        elif expected == 8011:
            assert not more


async def check_done(stage: Stage, s: Situation, act: Act, expected: Change) -> None:
    """What is done changes what it should, of that invitation alone, and is heard once."""
    _, role, means = act
    await stage.stand(s, late=False)
    before, groups = view_of(stage.info(stage.other)), stage.hub.shard.groups.state_hash()
    await check_answer(stage, s, act)
    await stage.clock.settle()
    where = (s, act)
    assert view_of(stage.info(stage.name)) == expected.after, where
    assert view_of(stage.info(stage.other)) == before, where
    assert stage.hub.shard.groups.state_hash() == groups, where
    acting = (role, "1") if means == "session" else None
    assert stage.heard() == heard(s, stage, expected, acting), where
    stage.hub.shard.machine.check()


async def check_added(stage: Stage, s: Situation, act: Act) -> None:
    """A push that is counted as told changes nothing else; told again, it is 8012."""
    await stage.stand(s, late=True)
    before = stage.picture()
    await check_answer(stage, s, act)
    assert (await told(stage.call(s, act, stage.name)))[0] == 8012
    after = stage.picture()
    assert [old for old, new in zip(before, after, strict=True) if old != new] == [before[-2]]
    assert stage.heard() == {}


async def check_overdue(stage: Stage, s: Situation, act: Act) -> None:
    """What arrives at the deadline or later finds it ended, and changes nothing else."""
    await stage.stand(s, late=act[0] in ADDING)
    await check_answer(stage, s, act)
    await stage.clock.settle()
    ended = change(s, "advance", SERVER)
    assert ended is not None
    if s.memory == REMEMBERED:
        assert view_of(stage.info(stage.name)) == ended.after == view(now(s)), (s, act)
    assert stage.heard() == heard(s, stage, ended, None), (s, act)


async def check_situation(stage: Stage, s: Situation) -> int:
    """Check all acts of a situation; returns how many."""
    found, _ = acts()
    silent: list[Act] = []
    for act in found:
        operation, role, _ = act
        done = change(s, operation, role) if operation in (*ANSWERING, *INVITERS) else None
        if s.is_due and s.state == "open":
            await check_overdue(stage, s, act)
        elif done is not None and code(s, act) == 0:
            await check_done(stage, s, act, done)
        elif operation in ADDING and code(s, act) == 0:
            await check_added(stage, s, act)
        else:
            silent.append(act)
    if silent:
        await check_silent(stage, s, silent)
    return len(found)


async def check_silent(stage: Stage, s: Situation, silent: list[Act]) -> None:
    """What is refused or only asks changes nothing, and nobody hears anything."""
    await stage.stand(s, late=True)
    before = stage.picture()
    for act in silent:
        await check_answer(stage, s, act)
        assert stage.picture() == before, (s, act)
    await stage.clock.settle()
    assert stage.heard() == {}, s


@pytest.mark.parametrize(
    ("state", "memory"),
    [
        (state, memory)
        for state, memory in itertools.product(AXES["state"], MEMORIES)
        if state in ENDS or memory == REMEMBERED
    ],
)
async def test_every_operation_by_everybody_in_every_situation(
    state: str, memory: str, clock: VirtualClock
) -> None:
    limits = Limits(
        lifetime_s=LIFETIME_MS / 1000, ended_keep_s=60, ended_max=2 if memory == REMEMBERED else 0
    )
    found, _ = situations(state=(state,), memory=(memory,))
    async with Hub(clock=clock, limits=limits) as hub:
        stage = Stage(hub, clock)
        await stage.set_up()
        assert sum([await check_situation(stage, s) for s in found]) == len(found) * ACTS
        hub.shard.machine.check()


def test_no_act_is_left_out() -> None:
    found, excluded = acts()
    assert (len(found), dict(excluded)) == (ACTS, EXCLUDED_ACTS)
    assert len(found) + excluded.total() == len(OPERATIONS) * len(ROLES) * len(MEANS)
