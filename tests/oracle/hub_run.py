"""Histories of a hub: each act is done to the hub and to the model, and all is compared."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from operator import attrgetter
from typing import Any, Final

from oracle.acts import BAD_IDS, USERS, Act, Nth, World
from oracle.calls import EVENT_FIELDS, INFO_FIELDS, Fields
from oracle.ear import Ear
from oracle.model import Device, Oracle, Place, Snapshot
from oracle.parameters import Failure
from oracle.watchers import Watchers
from pysignal import (
    Hub,
    Invitation,
    Session,
    SignalingError,
    SignalingEvent,
    SignalingInfo,
    VirtualClock,
)

fields_of = attrgetter(*EVENT_FIELDS)
info_of = attrgetter(*INFO_FIELDS)
group_of = attrgetter(
    "group_id", "group_type", "owner", "name", "introduction", "notification", "face_url",
    "member_count", "created_ms",
)  # fmt: skip
member_of = attrgetter("user_id", "role", "name_card", "joined_ms")

OF_SIGNALING: Final = frozenset(
    {"invite", "invite_in_group", "accept", "reject", "cancel", "modify_invitation"}
)
OPENING: Final = ("invite", "invite_in_group")
OF_SERVER_GROUPS: Final = frozenset({"put", "add", "remove", "dismiss"})


# What a call gives: 0 and a value, or the code of a refusal and its details.
Outcome = tuple[int, Any, dict[str, Any]]
Expected = tuple[int, Any, dict[str, Any] | None]


class QuickClock(VirtualClock):
    """A virtual clock for hubs whose listeners are plain: nothing but the hub has to settle."""

    async def settle(self) -> None:
        await asyncio.sleep(0)
        while any(is_busy() for is_busy in self._attached):  # noqa: ASYNC110 - turns of the loop
            await asyncio.sleep(0)

    def jump(self, ms: int) -> None:
        """Let time pass in which the event loop does nothing: timers come late."""
        self._now_ms += ms

    def run_due(self) -> None:
        """Call the timers that are due, and let nothing else run."""
        while self._timers and self._timers[0][0] <= self._now_ms:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                timer.call()


class HubRun:
    """A hub and its model, to which the same things happen.

    Attributes:
        acts: all that was done so far.
        codes: of the refusals that were met.
    """

    def __init__(self, hub: Hub, clock: QuickClock, world: World) -> None:
        self.hub = hub
        self.clock = clock
        self.oracle = Oracle(world.limits, hub.now_ms)
        self.watchers = Watchers()
        self.acts: list[Act] = []
        self.codes: set[int] = set()
        self.sessions: dict[Place, tuple[Session, Ear]] = {}
        self.offline: dict[Place, list[tuple[Session, Ear]]] = {}
        self.ears: list[Ear] = []
        self.replaced: list[Ear] = []  # those of replaced sessions, since the last comparison

    # -- acts --------------------------------------------------------------------------------------

    async def do(self, act: Act) -> None:
        """Do an act to both, and compare what it gave."""
        self.acts.append(act)
        kind, by, args = act
        if kind in ("wait", "jump"):
            await self._pass(kind, args["ms"])
            return
        if kind == "compare":
            await self.compare(whole=args["whole"])
            return
        self.oracle.tick(self.hub.now_ms)
        if kind == "login":
            await self._login(by, **args)
        elif kind == "offline":
            await self._call_offline()
        else:
            await self._operate(kind, by, self._named(args))

    def _named(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments of an act, with the ID of the invitation that it names."""
        name: Any = args.get("invite_id")
        if isinstance(name, Nth):
            return args | {"invite_id": name.among(self.oracle.calls.names)}
        return args

    async def _operate(self, kind: str, by: Place, args: dict[str, Any]) -> None:
        name: Any = args.get("invite_id")
        is_answer = kind in ("accept", "reject") and isinstance(name, str)
        before = self._statuses(name) if is_answer else None
        device = self.oracle.online.get(by) if kind == "logout" else None
        found = await outcome(self._call(kind, by, args))
        if kind in OPENING:
            self.oracle.next_name = "none" if found[1] is None else str.__str__(found[1])
        self._compare_outcome(found, self._expected(kind, by, args), args)
        if found[0]:
            return
        if before is not None:
            after = self._statuses(name)
            if after is not None:
                self.watchers.answered(name, by[0], before, after)
        if device is not None:
            self._end(by, device)

    def _expected(self, kind: str, by: Place, args: dict[str, Any]) -> Expected:
        """Do an act to the model."""
        is_of_server = kind in OF_SERVER_GROUPS or kind == "cancel_by_server"
        places = () if is_of_server else (by,)
        return expectation(getattr(self.oracle, kind), *places, **args)

    def _compare_outcome(self, found: Outcome, expected: Expected, args: dict[str, Any]) -> None:
        code, value, details = found
        assert code == expected[0], f"code {code} {details}, but {expected[0]} is right"
        if not code:
            assert value == expected[1], f"gave {value!r}, but {expected[1]!r} is right"
            return
        self.codes.add(code)
        # Of two wrong parameters either is named: where a request ID comes is not promised.
        if details.get("parameter") != "request_id" or args["request_id"] not in BAD_IDS:
            compare_details(details, expected[2], code)

    def _statuses(self, name: str) -> dict[str, str] | None:
        info = self.hub.shard.machine.info(name)
        return None if info is None else info.statuses

    async def _call(self, kind: str, by: Place, args: dict[str, Any]) -> Any:
        """Do an act to the hub."""
        if kind in OF_SERVER_GROUPS:
            return await getattr(self.hub.groups, kind)(**args)
        if kind == "cancel_by_server":
            return await self.hub.cancel_by_server(**args)
        actor: Any = self._session(by) if by[1] else self.hub.acting_as(by[0])
        if kind in OF_SIGNALING:
            return await getattr(actor.signaling, kind)(**args)
        if kind == "logout":
            return await actor.logout()
        if kind == "add_invited_signaling":
            args = dict(args)
            more = {"request_id": args.pop("request_id")} if "request_id" in args else {}
            return await actor.signaling.add_invited_signaling(SignalingInfo(**args), **more)
        if kind == "open_invitations":
            return [info_of(info) for info in await actor.signaling.open_invitations(**args)]
        value = await getattr(actor.groups, kind)(**args)
        if kind == "get_group_info":
            return group_of(value)
        if kind == "get_joined_group_list":
            return [group_of(info) for info in value]
        if kind == "get_group_member_list":
            assert value[1] == 0
            return [member_of(member) for member in value[0]]
        return value

    def _session(self, place: Place) -> Session:
        found = self.sessions.get(place)
        return self.hub.session(*place) if found is None else found[0]

    async def _login(self, place: Place, start: Any, anew: bool) -> None:
        """Log in, with a session that has logged out or was replaced, or with a new one."""
        session, ear = self._session_to_log_in(place, anew)
        device = self.oracle.online.get(place)
        found = await outcome(session.login(start))
        expected = expectation(self.oracle.login, *place, start)
        assert found[0] == expected[0], f"code {found[0]}, but {expected[0]} is right"
        if found[0]:
            self.codes.add(found[0])
        else:
            self._logged_in(place, session, ear, device, expected[1])

    def _session_to_log_in(self, place: Place, anew: bool) -> tuple[Session, Ear]:
        offline = self.offline.get(place)
        return self._new_session(place) if anew or not offline else offline[-1]

    def _logged_in(
        self, place: Place, session: Session, ear: Ear, device: Device | None, expected: Snapshot
    ) -> None:
        """Compare what a login found; `device` is the one whose session it has replaced."""
        offline = self.offline.get(place)
        if offline and offline[-1][0] is session:
            offline.pop()
        if device is not None:
            self.replaced.append(self.sessions[place][1])
            self._end(place, device)
        ear.logins += 1
        self.sessions[place] = session, ear
        snapshot = session.snapshot
        assert snapshot.now == expected.now, "the time of the snapshot"
        shown = [info_of(info) for info in snapshot.open]
        assert shown == expected.open, f"snapshot.open: {shown}, but {expected.open} is right"
        shown = sorted([info_of(info) for info in snapshot.ended], key=str)
        ended = sorted(expected.ended, key=str)
        assert shown == ended, f"snapshot.ended: {shown}, but {ended} is right"

    def _new_session(self, place: Place) -> tuple[Session, Ear]:
        session, ear = self.hub.session(*place), Ear()
        session.add_signaling_listener(ear)
        session.groups.add_group_listener(ear)
        session.add_connection_listener(ear)
        self.ears.append(ear)
        return session, ear

    def _end(self, place: Place, device: Device) -> None:
        """Compare what a session has heard when it ends; it will hear nothing more."""
        session, ear = self.sessions.pop(place)
        self._compare_heard(place, ear, device, Shared())
        self.offline.setdefault(place, []).append((session, ear))

    async def _call_offline(self) -> None:
        """Call of a session that is not logged in any more."""
        for place, ended in self.offline.items():
            for session, _ in ended[-1:]:
                code, _, _ = await outcome(session.signaling.accept("any"))
                assert code == 6014, f"a session of {place} that has ended met {code}"

    async def _pass(self, kind: str, ms: int) -> None:
        if kind == "jump":
            self.clock.jump(ms)
            self.oracle.calls.late_ms += ms
        else:
            await self.clock.advance(ms / 1000)
            self.oracle.tick(self.hub.now_ms)
            self.oracle.settle()

    # -- comparing ---------------------------------------------------------------------------------

    async def compare(self, *, whole: bool) -> None:
        """Let everything be delivered, and compare what was heard; as a whole, all there is."""
        await self._pass("wait", 0)
        shared = Shared()
        for place, device in self.oracle.online.items():
            self._compare_heard(place, self.sessions[place][1], device, shared)
        for place, ended in self.offline.items():
            for _, ear in ended:
                self.watchers.silent(place, ear.calls)
        for ear in self.ears:
            told, ear.connection = ear.connection, []
            assert told == [6208] * self.replaced.count(ear), f"the connection: {told}"
        self.replaced.clear()
        if whole:
            await self._compare_state()

    def _compare_heard(self, place: Place, ear: Ear, device: Device, shared: Shared) -> None:
        """Compare what a session heard; what others heard with it is one object for all."""
        if not (ear.calls or device.calls):
            return
        calls, ear.calls = ear.calls, []
        events, ear.events = ear.events, []
        right_calls, device.calls = device.calls, []
        right_events, device.events = device.events, []
        self.watchers.hear((place, ear, ear.logins), events)
        if calls != right_calls:
            calls, right_calls = in_one_order(calls), in_one_order(right_calls)
            assert calls == right_calls, f"{place} heard {calls}, but {right_calls} is right"
        if len(events) != len(right_events) or not all(map(shared.agree, events, right_events)):
            heard = in_one_order(list(map(fields_of, events)))
            right_events = in_one_order(right_events)
            assert heard == right_events, f"{place} heard {heard}, but {right_events} is right"

    async def _compare_state(self) -> None:
        hub, oracle = self.hub, self.oracle
        machine = hub.shard.machine
        for name in oracle.calls.names[-10:]:
            info = await hub.invitation(name)
            found = None if info is None else info_of(info)
            expected = oracle.invitation(name)
            assert found == expected, f"{name} is {found}, but {expected} is right"
            if info is not None and expected is not None:
                self.watchers.see(name, info.statuses)
                if info.state != "open":
                    end = await Invitation(name, hub.acting_as(info.inviter)).outcome()
                    told = end.state, end.reason, end.statuses
                    assert told == expected[3:6], f"the outcome of {name}: {told}"
        for user in USERS:
            pending = [info_of(info) for info in await hub.pending(user)]
            assert pending == oracle.pending(user), f"pending of {user}: {pending}"
        for group_id, group in oracle.groups.groups.items():
            assert await hub.groups.members(group_id) == list(group.members), "members"
        stats = hub.stats()
        self.watchers.count(stats, oracle.calls.created)
        compare_counts(stats, oracle)
        machine.check()


class Shared:
    """The events that were compared: each is one object for all who heard it."""

    def __init__(self) -> None:
        self._events: dict[int, tuple[Fields, SignalingEvent]] = {}

    def agree(self, event: SignalingEvent, right: Fields) -> bool:
        """Whether an event is as it should be."""
        known = self._events.get(id(right))
        if known is not None and known[1] is event:
            return True
        fields: Fields = fields_of(event)
        if fields != right:
            return False
        assert known is None, f"{event} is another object for another session"
        self._events[id(right)] = right, event
        return True


async def outcome(call: Coroutine[Any, Any, Any]) -> Outcome:
    """Await a call of the hub: (0, what it gives, {}) or (code, None, details)."""
    try:
        return 0, await call, {}
    except SignalingError as error:
        return error.code, None, error.details


def expectation(call: Callable[..., Any], *args: Any, **options: Any) -> Expected:
    """The same of a call of the model; the details are None where none are promised."""
    try:
        return 0, call(*args, **options), None
    except Failure as failure:
        return failure.code, None, failure.details


def compare_counts(stats: dict[str, int], oracle: Oracle) -> None:
    """Compare counts with what the model has."""
    calls = oracle.calls
    final = calls.statuses
    expected = {
        "open": len(calls.open),
        "invitations": len(calls.names),
        "invitees_pending": calls.created - sum(final.values()),
        "invitees_accepted": final["accepted"],
        "invitees_rejected": final["rejected"],
        "invitees_cancelled": final["cancelled"],
        "invitees_timed_out": final["timed_out"],
        "ended_remembered": len(calls.ended),
        "sessions": len(oracle.online),
        "groups_existing": len(oracle.groups.groups),
        "commands_waiting": 0,
        "deliveries_waiting": 0,
        "watches": 0,
    }
    found = {name: stats[name] for name in expected}
    assert found == expected, f"counts are {found}, but {expected} is right"


def compare_details(found: dict[str, Any], expected: dict[str, Any] | None, code: int) -> None:
    """Compare what an error says beside its code."""
    if expected is None:
        return
    if expected.get("how", "") is None:
        assert isinstance(found.get("how"), str), f"{code} without a sentence: {found}"
        assert found["how"], f"{code} with an empty sentence"
        expected = expected | {"how": found["how"]}
    if code == 6017:
        found = {"parameter": found.get("parameter")}
    assert found == expected, f"details of {code} are {found}, but {expected} is right"


def in_one_order(entries: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sort timeouts that follow one another, as those of one millisecond come in either order."""
    ordered: list[tuple[Any, ...]] = []
    run: list[tuple[Any, ...]] = []
    for entry in entries:
        if entry[0] in ("timed_out", "invitation_timeout"):
            run.append(entry)
            continue
        ordered += sorted(run, key=repr)
        ordered.append(entry)
        run = []
    return ordered + sorted(run, key=repr)
