"""Histories of a machine alone: what reaches it of a hub's acts, and what only a journal asks.

The same model of invitations stands beside it. In between, facts are recorded and taken piecemeal,
and at times all that happened is repeated in a fresh machine: by its records, or from a snapshot.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from oracle.acts import GROUPS, USERS, Act, Drawing, Nth
from oracle.calls import EVENT_FIELDS, INFO_FIELDS, Calls, Refusal
from oracle.failure import HistoryFailed
from oracle.hub_run import in_one_order
from oracle.source import Bytes, Exhausted, Source, pick, some
from oracle.watchers import Watchers
from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused
from pysignal.engine.views import InvitationInfo

OPERATIONS: Final = 40
START_MS: Final = 2**32 - 30_000  # so that a history may cross what 32 bits can count
KEY: Final = b"sixteen bytes..."
NO_IDS: Final = ("", "x", "no-such-id", "0" * 26, "é" * 13, "a" * 65)

fields_of = attrgetter(*EVENT_FIELDS)
info_of = attrgetter(*INFO_FIELDS)


@dataclass(frozen=True)
class Setup:
    """What a history takes place in: as `World`, for a machine."""

    limits: dict[str, Any]
    journaled: bool
    seed: int
    same_ms: bool
    notices: bool


def draw_setup(source: Source) -> Setup:
    """Draw the limits of SPEC §5, or such small ones that a short history crosses them."""
    try:
        return _draw_setup(source)
    except Exhausted:
        return _draw_setup(Bytes(bytes(100)))


def _draw_setup(source: Source) -> Setup:
    limits: dict[str, Any] = {
        "key": KEY,
        "shard": pick(source, (0, 7, 4095)),
        "ended_max": pick(source, (100_000, 100_000, 3, 1, 0)),
        "ended_keep_ms": pick(source, (60_000, 60_000, 1_000, 0)),
        "lifetime_ms": pick(source, (86_400_000, 2_000)),
        "capacity": pick(source, (1 << 24, 1 << 24, 16, 3)),
    }
    return Setup(
        limits,
        journaled=source.below(2) == 0,
        seed=source.below(1 << 16),
        same_ms=limits["ended_max"] > 100 and source.below(4) == 0,
        notices=source.below(12) == 0,
    )


class MachineDrawer(Drawing):
    """Draws what happens to a machine."""

    def __init__(self, source: Source, calls: Calls, setup: Setup) -> None:
        super().__init__(source, calls, same_ms=setup.same_ms, notices=setup.notices)

    def next(self) -> Act:
        if self.notices and self.below(4):
            return self.invite()
        act: Act = self.pick(KINDS)(self)
        return act

    def user(self) -> tuple[str, Any]:
        """A user, and the number of a device of theirs."""
        return self.pick(USERS), self.below(3)

    def name(self) -> tuple[Any, Any]:
        name, call = self.call()
        return (name if isinstance(name, (Nth, str)) else self.pick(NO_IDS)), call

    def invite(self) -> Act:
        user, device = self.user()
        others = [other for other in USERS if other != user]
        kind = self.below(8)
        group = "" if kind < 4 else self.pick(GROUPS)
        if self.notices and kind < 7:
            group = ""
            user, users = "amy", ["bob"]
        elif kind < 3:
            users = [self.pick(others)]
        else:
            users = some(self.source, others, 0 if group and self.below(4) == 0 else 1, 3)
        args = {
            "invitees": users, "data": self.text(), "group": group,
            "timeout_ms": self.timeout_ms(),
        }  # fmt: skip
        flags = self.below(8)
        if flags < 2:
            args["online_only"] = True
        if flags in (1, 2):
            args["parties_only"] = True
        return Act("invite", (user, device), args)

    def accept(self) -> Act:
        return self._on("accept", inviter=False)

    def reject(self) -> Act:
        return self._on("reject", inviter=False)

    def cancel(self) -> Act:
        return self._on("cancel", inviter=True)

    def modify(self) -> Act:
        act = self._on("modify", inviter=True)
        if self.below(3) == 0:
            act.args["version"] = 1 + self.below(3)
        return act

    def _on(self, kind: str, *, inviter: bool) -> Act:
        name, call = self.name()
        user = self.party(call, inviter=inviter) if self.below(24) else "nobody"
        return Act(kind, (user, self.pick((0, 1, 2))), {"name": name, "data": self.text()})

    def cancel_by_server(self) -> Act:
        return Act("cancel", ("", 0), {"name": self.name()[0], "data": self.text()})

    def mark(self) -> Act:
        name, call = self.name()
        return Act("mark", (self.party(call, inviter=False), 0), {"name": name})

    def leave(self) -> Act:
        user, _ = self.user()
        return Act("leave", (user, 0), {"group": self.pick(GROUPS), "budget": self.budget()})

    def dismiss(self) -> Act:
        return Act("dismiss", ("", 0), {"group": self.pick(GROUPS), "budget": self.budget()})

    def wait(self) -> Act:
        return Act("wait", ("", 0), {"ms": self.span_ms(), "budget": self.budget()})

    def settle(self) -> Act | None:
        """Draw what is read after an act: nothing, some facts, or all."""
        kind = self.below(24)
        if kind < 4:
            return Act("compare", ("", 0), {"whole": kind == 0})
        return Act("read", ("", 0), {"behind": self.below(4)}) if kind < 10 else None

    def move(self) -> Act:
        """Let a copy take over, as after a crash or where a follower becomes the leader."""
        return Act("move", ("", 0), {"slots": 1 + self.below(8)})

    def budget(self) -> int:
        budget: int = self.pick((1, 2, 5, 1 << 40))
        return budget


class MachineRun:
    """A machine and its model, to which the same things happen.

    Attributes:
        acts: all that was done so far.
        refusals: that were met.
    """

    def __init__(self, setup: Setup) -> None:
        limits, self.journaled = setup.limits, setup.journaled
        self.limits = limits
        self.machine = Machine(
            entropy=Entropy(setup.seed), journaled=setup.journaled, now_ms=START_MS, **limits
        )
        self.calls = Calls(
            START_MS,
            ended_keep_ms=limits["ended_keep_ms"],
            ended_max=limits["ended_max"],
            lifetime_ms=limits["lifetime_ms"],
            open_max=limits["capacity"],
        )
        self.now_ms = START_MS
        self.records: list[bytes] = []
        self.events: list[Event] = []
        self.watchers = Watchers()
        self.acts: list[Act] = []
        self.refusals: set[str] = set()

    # -- acts --------------------------------------------------------------------------------------

    def do(self, act: Act) -> None:
        """Do an act to both, and compare what it gave."""
        self.acts.append(act)
        kind, (user, device), args = act
        if kind == "wait":
            self.now_ms += args["ms"]
            self.advance(args["budget"])
            return
        if kind == "read":
            self.read(args["behind"])
            return
        if kind in ("compare", "move"):
            self.compare(whole=args.get("whole", False))
            if kind == "move":
                self.repeat(args["slots"], goes_on=True)
            return
        name = args.get("name")
        if isinstance(name, Nth):
            name = name.among(self.calls.names)
        args = args | {"name": name}
        value, refused = self._try_machine(kind, user, device, args)
        self.calls.advance(self.now_ms)
        if kind == "invite":
            args["name"] = value
        refusal = self._try_model(kind, user, device, args)
        found = "" if refused is None else refused.result
        right = "" if refusal is None else refusal.result
        assert found == right, f"refused as {found!r}, but {right!r} is right"
        if refused is not None and refusal is not None:
            self.refusals.add(found)
            self._compare_refusal(kind, user, refused, refusal)

    def _try_machine(
        self, kind: str, user: str, device: int, args: dict[str, Any]
    ) -> tuple[str | None, Refused | None]:
        """Do it to the machine, which may first have to let end what is due."""
        try:
            try:
                return self._to_machine(kind, user, device, args), None
            except Refused as refused:
                if refused.result != "due":
                    raise
                self.advance(1 << 40)
                return self._to_machine(kind, user, device, args), None
        except Refused as refused:
            return None, refused

    def _try_model(self, kind: str, user: str, device: int, args: dict[str, Any]) -> Refusal | None:
        try:
            self._to_model(kind, user, device, args)
        except Refusal as refusal:
            return refusal
        return None

    def _compare_refusal(self, kind: str, user: str, refused: Refused, refusal: Refusal) -> None:
        """Compare what a refusal tells beside its word: to a party, how it has ended."""
        if kind == "mark" or refusal.result in ("not_party", "not_modifiable"):
            return
        call = refusal.call
        right = call.info() if call is not None and call.is_party(user) else None
        found = None if refused.info is None else info_of(refused.info)
        assert found == right, f"told {found}, but {right} is right"
        if right is not None and call is not None and refusal.result != "conflict":
            on = call.answered_on.get(user, 0)
            assert refused.device == on, f"answered on {refused.device}, but {on} is right"

    def _to_machine(self, kind: str, user: str, device: int, args: dict[str, Any]) -> str | None:
        machine, now_ms, name = self.machine, self.now_ms, args["name"]
        if kind == "invite":
            users, group = args["invitees"], args["group"]
            return machine.open(
                now_ms, user, users[0] if len(users) == 1 and not group else users, args["data"],
                args["timeout_ms"], group_id=group, device=device,
                online_only=args.get("online_only", False),
                parties_only=args.get("parties_only", False),
            )  # fmt: skip
        if kind == "accept":
            machine.accept(now_ms, name, user, args["data"], device=device)
        elif kind == "reject":
            machine.reject(now_ms, name, user, args["data"], device=device)
        elif kind == "cancel":
            machine.cancel(now_ms, name, user or None, args["data"], device=device)
        elif kind == "modify":
            version = args.get("version", 0)
            machine.modify(
                now_ms, name, user, args["data"], expected_version=version, device=device
            )
        elif kind == "mark":
            machine.mark_told(now_ms, name, user)
        else:
            # Whoever calls this has let end what was due.
            self.advance(1 << 40)
            while (
                machine.leave(now_ms, user, args["group"], args["budget"])
                if kind == "leave"
                else machine.dismiss(now_ms, args["group"], args["budget"])
            ):
                machine.check()
        return None

    def _to_model(self, kind: str, user: str, device: int, args: dict[str, Any]) -> None:
        calls, name = self.calls, args["name"]
        if kind == "invite":
            calls.invite(
                name, user, args["invitees"], args["data"], args["timeout_ms"],
                group=args["group"], device=device, online_only=args.get("online_only", False),
                parties_only=args.get("parties_only", False),
            )  # fmt: skip
        elif kind == "accept":
            calls.answer(name, user, "accepted", args["data"], device)
        elif kind == "reject":
            calls.answer(name, user, "rejected", args["data"], device)
        elif kind == "cancel":
            calls.cancel(name, user or None, args["data"], device)
        elif kind == "modify":
            calls.modify(name, user, args["data"], args.get("version"), device)
        elif kind == "mark":
            calls.mark_told(name, user)
        elif kind == "leave":
            calls.leave(user, args["group"])
        else:
            calls.dismiss(args["group"])

    def advance(self, budget: int) -> None:
        while self.machine.advance(self.now_ms, budget):
            self.machine.check()
        self.calls.advance(self.now_ms)

    # -- comparing ---------------------------------------------------------------------------------

    def read(self, behind: int) -> None:
        """Record facts, and take all but the latest few, as with a journal that falls behind."""
        if self.journaled:
            self.records += self.machine.records()
        self.events += self.machine.take(max(self.machine.position - behind, 0))

    def compare(self, *, whole: bool) -> None:
        """Take what is left, and compare the events; as a whole, all there is."""
        machine, calls = self.machine, self.calls
        self.advance(1 << 40)
        if self.journaled:
            self.records += machine.records()
        events = self.events + machine.take()
        self.events = []
        self.advance(1 << 40)  # lets go of what nobody has to be told of any more
        self.watchers.hear("all", events)
        heard = list(map(fields_of, events))
        right = [fact.event for fact in calls.take()]
        if heard != right:
            heard, right = in_one_order(heard), in_one_order(right)
            assert heard == right, f"told {heard}, but {right} is right"
        stats = machine.stats()
        self.watchers.count(stats, calls.created)
        final = calls.statuses
        found = [stats[name] for name in COUNTED]
        counts = [
            len(calls.open), len(calls.ended), len(calls.names),
            calls.created - sum(final.values()), final["accepted"], final["rejected"],
            final["cancelled"], final["timed_out"], 0,
        ]  # fmt: skip
        assert found == counts, f"counts {COUNTED} are {found}, but {counts} is right"
        machine.check()
        if whole:
            self._compare_state()

    def _compare_state(self) -> None:
        machine, calls = self.machine, self.calls
        for name in calls.names:
            info, call = machine.info(name), calls.get(name)
            found = None if info is None else info_of(info)
            right = None if call is None else call.info()
            assert found == right, f"{name} is {found}, but {right} is right"
            if call is not None and call.state == "open":
                for user in call.status:
                    told = machine.is_told(name, user)
                    assert told == (user in call.told), f"{user} told of {name}: {told}"
        for user in USERS:
            assert named(machine.pending_of(user)) == [c.name for c in calls.pending_of(user)]
            assert named(machine.opened_by(user)) == [c.name for c in calls.opened_by(user)]
        for group in GROUPS:
            assert named(machine.open_in(group)) == [c.name for c in calls.open_in(group)]

    def finish(self) -> None:
        """Compare all there is at the end; and now and then, whether it can be repeated."""
        self.compare(whole=True)
        if len(self.calls.names) % 4 == 0:
            self.repeat(1 + len(self.calls.names) % 7, goes_on=False)

    def repeat(self, slots: int, *, goes_on: bool) -> None:
        """Make copies: by all records; and from a snapshot in slices of so many slots.

        Args:
            slots: in one slice.
            goes_on: whether one of the copies takes over from here.
        """
        copies = [self._restored(slots), self._replayed()] if self.journaled else []
        copies = copies or [self._restored(slots)]
        for copy in copies:
            copy.check()
            copy.advance(self.now_ms)
            assert copy.state_hash() == self.machine.state_hash(), "C5: a copy is another machine"
        if goes_on:
            self.machine = copies[slots % len(copies)]

    def _fresh(self, now_ms: int) -> Machine:
        return Machine(
            entropy=Entropy(len(self.acts)), journaled=self.journaled, now_ms=now_ms, **self.limits
        )

    def _replayed(self) -> Machine:
        copy = self._fresh(START_MS)
        for record in self.records:
            assert snapshot.apply(copy, record), "C5: a record was not applied"
        return copy

    def _restored(self, slots: int) -> Machine:
        restore = snapshot.Restore(self._fresh(0))
        at: int | None = 0
        while at is not None:
            piece, at = snapshot.take_slice(self.machine, at, slots)
            restore.load(piece)
        return restore.finish()


def named(infos: list[InvitationInfo]) -> list[str]:
    return [info.invite_id for info in infos]


COUNTED: Final = (
    "open", "ended_remembered", "invitations", "invitees_pending", "invitees_accepted",
    "invitees_rejected", "invitees_cancelled", "invitees_timed_out", "facts_waiting",
)  # fmt: skip

_D = MachineDrawer
KINDS: Final = (
    *[_D.invite] * 30, *[_D.accept] * 22, *[_D.reject] * 10, *[_D.cancel] * 7, *[_D.modify] * 8,
    *[_D.cancel_by_server] * 2, *[_D.mark] * 5, *[_D.leave] * 5, *[_D.dismiss] * 2,
    *[_D.wait] * 14, _D.move,
)  # fmt: skip


def run_history(source: Source, operations: int = OPERATIONS) -> MachineRun:
    """Draw one history and let it happen.

    Returns:
        What has happened.

    Raises:
        HistoryFailed: the machine and the model differ.
    """
    setup = draw_setup(source)
    run = MachineRun(setup)
    drawer = MachineDrawer(source, run.calls, setup)
    try:
        try:
            for _ in range(operations):
                run.do(drawer.next())
                settle = drawer.settle()
                if settle is not None:
                    run.do(settle)
        except Exhausted:
            pass
        run.finish()
    except Exception as error:
        raise HistoryFailed("machine", setup, run.acts) from error
    return run


def replay(setup: Setup, acts: list[Act]) -> None:
    """Let acts happen that were drawn before."""
    run = MachineRun(setup)
    for act in acts:
        run.do(act)
    run.finish()
