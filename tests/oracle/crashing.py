"""Histories of a hub with a journal: it is left behind in the middle of operations, and begun anew.

Operations "under way" are begun and not waited for. What the model knows after each is kept with
the number of records that this rests on; the number that comes back says which of those states is
the right one. So what was acknowledged must be there, what was not is there wholly or not at all,
and never without what came before it.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Final, NamedTuple

from oracle.acts import Act, World
from oracle.calls import Call
from oracle.crash_model import leave_all, restore, saved
from oracle.ear import Ear
from oracle.hub_run import (
    OPENING,
    Expected,
    HubRun,
    Outcome,
    QuickClock,
    expectation,
    in_one_order,
    info_of,
    outcome,
)
from oracle.lives import replayed
from oracle.model import Place
from pysignal import Hub, SignalingEvent, SignalingListener
from pysignal.engine.machine import Machine

STEPPED_BACK_MS: Final = 7_200_000
# Refusals of calls that are wrong by themselves: they rest on nothing that was done before.
BY_LOOKS: Final = (6014, 6017, 8001)


class Mark(NamedTuple):
    """A moment from which the next life may go on: what the model knew, after so many records."""

    records: int
    state: bytes


class Begun(NamedTuple):
    """An operation under way: its outcome to come, what is right, and what that rests on."""

    task: asyncio.Task[Outcome]
    expected: Expected
    args: dict[str, Any]
    records: int


class Stuck(SignalingListener):
    """A listener that never comes to an end with its first call, so that the others wait."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        await self.gate.wait()


class CrashingRun(HubRun):
    """A hub with a journal and its model; each crash begins another hub on what was durable."""

    def __init__(self, world: World, journal: Any, clock: QuickClock, hub: Hub) -> None:
        super().__init__(hub, clock, world)
        self._world = world
        self._journal = journal
        self._marks: list[Mark] = []
        self._begun: list[Begun] = []
        self._is_under_way = False
        self._stuck: list[tuple[Any, Stuck]] = []
        self._opened: list[str] = []  # since the last operation has begun
        self._enter(hub)

    def _enter(self, hub: Hub) -> None:
        """Watch a hub: time stands still while anything is to be done, and IDs are noted."""
        self.hub = hub
        self.clock.attach(self._is_busy)
        for name in OPENING:
            setattr(hub.shard, name, self._noting(getattr(hub.shard, name)))

    def _noting(self, command: Any) -> Any:
        def note(*args: Any) -> Any:
            made = command(*args)
            if isinstance(made, str):
                self._opened.append(made)
            return made

        return note

    def _is_busy(self) -> bool:
        """Whether anything is not durable yet, or not delivered."""
        hub = self.hub
        writer = hub._writer
        assert writer is not None
        assert writer._failure is None, f"the journal failed: {writer._failure}"
        return bool(
            writer.durable < writer.accepted
            or hub._publisher.is_behind
            or len(hub._delivery)
            or hub._delivery.told
            or hub._couriers
        )

    @property
    def _accepted(self) -> int:
        """How many records all that was done so far rests on."""
        self.hub._publish()
        assert self.hub._writer is not None
        return self.hub._writer.accepted

    # -- acts --------------------------------------------------------------------------------------

    async def do(self, act: Act) -> None:
        kind, _, args = act
        if kind == "begin":
            self.acts.append(act)
            await self._begin(args["is_stuck"])
        elif kind == "turns":
            self.acts.append(act)
            for _ in range(args["count"]):
                await asyncio.sleep(0)
        elif kind == "crash":
            self.acts.append(act)
            await self._crash(**args)
        elif self._is_under_way and kind not in ("wait", "compare", "offline"):
            await super().do(act)
            self._mark()
        else:
            await self._settle()
            await super().do(act)
            if kind != "jump":
                await super()._pass("wait", 0)

    async def _settle(self) -> None:
        """Let everything become durable and be delivered; nothing is under way any more."""
        self._is_under_way = False
        for _, stuck in self._stuck:
            stuck.gate.set()
        await self.clock.settle()
        for session, stuck in self._stuck:
            session.remove_signaling_listener(stuck)
        self._stuck.clear()
        for begun in self._begun:
            self._compare_outcome(await begun.task, begun.expected, begun.args)
        self._begun.clear()
        self._marks.clear()
        self.oracle.settle()

    async def _begin(self, is_stuck: bool) -> None:
        """Let the operations from here on be under way; of some sessions a listener is stuck."""
        await self._stand_still()
        self._is_under_way = True
        if is_stuck:
            for session, _ in self.sessions.values():
                stuck = Stuck()
                session.add_signaling_listener(stuck)
                self._stuck.append((session, stuck))

    async def _stand_still(self) -> None:
        """Let all that is due be done, and all that was done be durable."""
        await self._settle()
        await super()._pass("wait", 0)
        self._mark()

    async def _pass(self, kind: str, ms: int) -> None:
        await super()._pass(kind, ms)
        if self._is_under_way:
            self.clock.run_due()
            self.oracle.tick(self.hub.now_ms)

    def _mark(self) -> None:
        self._marks.append(Mark(self._accepted, saved(self.oracle)))

    async def _operate(self, kind: str, by: Place, args: dict[str, Any]) -> None:
        if not self._is_under_way:
            await super()._operate(kind, by, args)
            return
        device = self.oracle.online.get(by) if kind == "logout" else None
        self._opened.clear()
        task = at_once(outcome(self._call(kind, by, args)))
        if kind in OPENING:
            self.oracle.next_name = self._name_of_new(by[0])
        expected = self._expected(kind, by, args)
        self._note_begun(task, expected, args)
        if device is not None:
            self._end(by, device)

    def _name_of_new(self, user: str) -> str:
        """The ID of the invitation that a user has just opened; `none` where there is none."""
        known = self.oracle.calls.names
        names = [*self._opened]
        names += [info.invite_id for info in self.hub.shard.machine.opened_by(user)]
        return next((name for name in names if name not in known), "none")

    async def _login(self, place: Place, start: Any, anew: bool) -> None:
        if not self._is_under_way:
            await super()._login(place, start, anew)
            return
        session, ear = self._session_to_log_in(place, anew)
        device = self.oracle.online.get(place)
        task = at_once(outcome(session.login(start)))
        expected = expectation(self.oracle.login, *place, start)
        if not expected[0]:
            self._logged_in(place, session, ear, device, expected[1])
            expected = 0, None, None
        self._note_begun(task, expected, {})

    def _note_begun(
        self, task: asyncio.Task[Outcome], expected: Expected, args: dict[str, Any]
    ) -> None:
        rests_on = 0 if expected[0] in BY_LOOKS else self._accepted
        # What the model gave is its own, and changes with it.
        self._begun.append(Begun(task, copy.deepcopy(expected), args, rests_on))

    async def close(self) -> None:
        """End the last life."""
        await self._abandon(self.hub)

    # -- a crash -----------------------------------------------------------------------------------

    async def _crash(self, ms: int, how: str, back: bool, look: bool) -> None:
        """Leave the hub behind, and go on with another after some time.

        Args:
            ms: how long there is no hub.
            how: "power cut", "kill", or "close" where it comes to an orderly end.
            back: whether the clock is behind afterwards, where it may be.
            look: whether all that is due is done before anything else, and compared.
        """
        if not self._marks:
            await self._stand_still()
        old, now_ms = self.hub, self.hub.now_ms
        writer = old._writer
        assert writer is not None
        closed_ms = None
        if how == "close" and self._stuck:
            how = "kill"  # what a listener had not heard at the close would count as untold
        if how == "close":
            closed_ms = old.now_ms
            await self._close(old)
        durable, before = writer.durable, len(self._journal.history)
        done = [begun for begun in self._begun if begun.task.done()]
        heard = {place: (ear, list(ear.calls)) for place, (_, ear) in self.sessions.items()}
        journal = self._journal.crash(power=how == "power cut")
        await self._abandon(old)
        calls = self.oracle.calls
        can_go_back = len(self._marks) == 1 and calls.last_ms == calls.now_ms == now_ms
        now_ms += ms - STEPPED_BACK_MS * (back and can_go_back)
        self._journal, self.clock = journal, QuickClock(now_ms)
        hub = Hub(
            journal=journal, clock=self.clock, limits=self._world.limits, seed=self._world.seed
        )
        await hub.open()
        self._enter(hub)
        position = hub._writer.durable  # type: ignore[union-attr]
        assert durable <= position <= before, f"{position} records of {before}, {durable} durable"
        mark = max((mark for mark in self._marks if mark.records <= position), key=_records)
        self._compare_acknowledged(done, position)
        self._begun.clear()
        restore(self.oracle, mark.state)
        self._compare_heard_before(heard, is_all=how == "close")
        self._take_up(now_ms, position, mark, closed_ms)
        if look:
            await self._look()

    async def _close(self, hub: Hub) -> None:
        """End a hub: all that was under way is acknowledged, and everything is heard."""
        await hub.close()
        writer = hub._writer
        assert writer is not None
        assert writer.durable == writer.accepted, "something was not durable when it ended"
        await asyncio.gather(*(begun.task for begun in self._begun))

    async def _abandon(self, hub: Hub) -> None:
        """Do away with a hub that is left behind, with all that waits for it."""
        self.clock.detach(self._is_busy)
        for begun in self._begun:
            begun.task.cancel()
        for _, stuck in self._stuck:
            stuck.gate.set()
        self._stuck.clear()
        self.sessions.clear()
        self.offline.clear()
        self.ears.clear()
        self.replaced.clear()
        await hub.close()

    def _compare_acknowledged(self, done: list[Begun], position: int) -> None:
        for begun in done:
            if begun.task.cancelled():
                continue
            assert begun.records <= position, (
                f"{begun.args} was acknowledged, and rests on {begun.records} records; {position} "
                "are back"
            )
            self._compare_outcome(begun.task.result(), begun.expected, begun.args)

    def _compare_heard_before(
        self, heard: dict[Place, tuple[Ear, list[tuple[Any, ...]]]], *, is_all: bool
    ) -> None:
        """Compare what was heard before the crash: nothing that isn't durable, all in order."""
        for place, (_, found) in heard.items():
            device = self.oracle.online.get(place)
            if device is None:
                assert not found, f"{place} heard {found}, and its login is not durable"
                continue
            right = device.calls + [called for called, _, _ in device.queue]
            assert not is_all or len(found) == len(right), f"{place} heard {found} of {right}"
            if not self._world.same_ms and found != right[: len(found)]:
                found, right = in_one_order(found), in_one_order(right[: len(found)])
                assert found == right, f"{place} heard {found}, but {right} is durable"

    def _take_up(self, now_ms: int, position: int, mark: Mark, closed_ms: int | None) -> None:
        """Compare what is back, and let the model go on from there.

        Args:
            now_ms: by the clock.
            position: how many records are back.
            mark: what the model knew then.
            closed_ms: engine time of an orderly end, at which everybody left; else None.
        """
        hub, oracle, calls = self.hub, self.oracle, self.oracle.calls
        right_ms = max(now_ms, calls.last_ms)
        assert hub.now_ms == right_ms, f"the time is {hub.now_ms}, but {right_ms} is right"
        calls.late_ms = hub.now_ms - calls.now_ms
        machine = hub.shard.machine
        found = {info.invite_id: info_of(info) for info in self._open_infos(machine)}
        right = {call.name: call.info() for call in calls.open.values()}
        assert found == right, f"open are {found}, but {right} is right"
        for call in calls.open.values():
            self._take_up_told(machine, call)
        unended = Mark(position, saved(oracle))
        accounts = hub._presence._accounts
        remembered = {user: list(account.devices) for user, account in accounts.items()}
        leave_all(oracle, hub.now_ms if closed_ms is None else closed_ms, remembered)
        keep_ms = round(self._world.limits.told_keep_s * 1000)
        for user in {*remembered, *(user for user, _ in oracle.away)}:
            right_devices = {
                place[1]
                for place, device in oracle.away.items()
                if place[0] == user and device.left_ms + keep_ms > hub.now_ms
            }
            devices = set(remembered.get(user, ()))
            assert devices == right_devices, f"{devices} of {user}, but {right_devices} is right"
        self._is_under_way = False
        # That everybody left is recorded at an orderly end, else when the next hub is open.
        self._marks = [unended] if closed_ms is None else []
        self._mark()

    def _open_infos(self, machine: Machine) -> list[Any]:
        names = self.oracle.calls.names
        infos = [machine.info(name) for name in names]
        is_open = [info for info in infos if info is not None and info.state == "open"]
        count = machine.stats()["open"]
        assert count == len(is_open), f"{count} are open, of which {len(is_open)} are known"
        return is_open

    def _take_up_told(self, machine: Machine, call: Call) -> None:
        """Who was told of what without a deadline just before the crash is known, or not yet."""
        if not call.no_deadline or call.group:
            return
        told = {user for user in call.status if machine.is_told(call.name, user)}
        missing = call.told & call.status.keys() - told
        assert not missing, f"{missing} were told of {call.name}, and it is forgotten"
        call.told |= told

    async def _look(self) -> None:
        """Let what is due be done; it is as the model says, and as a replay of all records."""
        await self._settle()
        await self.compare(whole=True)
        hub = self.hub
        machine, groups = await replayed(hub, self._journal.history)
        while machine.advance(hub.shard.machine.now_ms):
            pass
        assert machine.state_hash() == hub.shard.machine.state_hash(), "the state of the machine"
        assert groups.state_hash() == hub.shard.groups.state_hash(), "the state of the groups"


def _records(mark: Mark) -> int:
    return mark.records


def at_once(call: Coroutine[Any, Any, Outcome]) -> asyncio.Task[Outcome]:
    """Begin a call now: all that it does before it first waits, it has done."""
    try:
        waits_for = call.send(None)
    except StopIteration as end:
        return asyncio.ensure_future(_given(end.value))
    return asyncio.ensure_future(_rest(_Rest(call, waits_for)))


async def _given(value: Outcome) -> Outcome:
    return value


async def _rest(rest: Awaitable[Outcome]) -> Outcome:
    return await rest


class _Rest:
    """What is left of a coroutine that has begun already."""

    def __init__(self, call: Coroutine[Any, Any, Outcome], waits_for: Any) -> None:
        self._call = call
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, Outcome]:
        waits_for = self._waits_for
        while True:
            thrown: BaseException | None = None
            sent = None
            try:
                sent = yield waits_for
            except BaseException as error:
                thrown = error
            try:
                waits_for = self._call.send(sent) if thrown is None else self._call.throw(thrown)
            except StopIteration as end:
                found: Outcome = end.value
                return found
