"""A whole hub with its users, journal and embedding server on a simulation loop, by one seed.

The chances of a world are drawn from its seed: how many events and steps a turn takes, how slow and
how faithful the journal is, who acts when, and when it all closes. An embedding server follows
every invitation from its opening: what it hears is the truth that logins are compared with.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import random
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from typing import Any
from unittest import mock

from simulation.acts import Acts
from simulation.heard import Trace, words
from simulation.judge import judge_life
from simulation.loop import LoopClock, SimulationLoop
from simulation.people import Login, Place

from pysignal import Hub, Invitation, Limits, SignalingError, SignalingEvent
from pysignal.journal import MemoryJournal
from pysignal.journal.entries import MACHINE

USERS = ["amy", "bob", "cy", "dee"]
LIFETIME_S = 40
TIMEOUT_MAX_S = 30
LATENCY_MAX_S = 0.2

# A commit at a deadline waits for the append under way and for its own; where the queue of a turn
# is tiny, it stands behind the commands that wait for room as well.
LATE_MAX_MS = 400
LATE_IN_TURN_MAX_MS = 2000
ROOMY = 512


class SimulatedJournal(MemoryJournal):
    """Keeps records after a while of virtual time; a failing append keeps all of them, or none.

    Attributes:
        decisions: how many commits of the machine are durable.
    """

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.decisions = 0
        self.fails_at: int | None = None
        self._rng = rng

    def restart(self, *, fails: bool) -> None:
        """Let a hub begin on what is there; a journal that fails does so after some records."""
        self.decisions = sum(record[:1] == MACHINE for record in self._records)
        self.fails_at = len(self._records) + self._rng.randint(2, 60) if fails else None

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        await asyncio.sleep(self._rng.choice([0, 0, 0.001, 0.02, LATENCY_MAX_S]))
        if self.fails_at is not None and len(self._records) >= self.fails_at:
            if self._rng.random() < 0.5:
                await super().append(records, expected_position)
            raise OSError("the disk of this world has failed")
        await super().append(records, expected_position)
        self.decisions += sum(record[:1] == MACHINE for record in records)


class Stopwatch:
    """Tells how long work takes, as drawn: some steps are quick, some use a whole turn up."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._now_ns = 0

    def __call__(self) -> int:
        self._now_ns += self._rng.choice([1_000, 10_000, 100_000, 2_000_000])
        return self._now_ns


class LogToTrace(logging.Handler):
    """Puts what the hub logs into the trace; a logged AssertionError is a broken promise."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self.world.trace.note("log", f"{record.getMessage()} {type(error).__name__}")
        if isinstance(error, AssertionError):
            self.world.broken.append(f"logged: {error!r}")


class World(Acts):
    """One history.

    Args:
        seed: everything is drawn from it.

    Attributes:
        trace: what everybody heard and was answered, in order.
        broken: promises that were broken, in words.
        truth: every event of every invitation that the embedding server knows of, by ID.
        logins: all of this hub, the oldest first.
        consents: (user, invite ID) of those who tried to accept.
        openings: IDs that a call was answered with.
        openers: which session opened an invitation, by its ID, as others have heard.
        is_in_call: whether a call of the hub is at work, and has not waited for anything since.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(f"history {seed}")
        in_order = self.rng.random() < 0.5
        self.loop = SimulationLoop(None if in_order else random.Random(f"order {seed}"))
        self.clock = LoopClock(self.loop)
        self.trace = Trace(lambda: self.loop.now_ns)
        self.broken: list[str] = []
        self.truth: dict[str, list[SignalingEvent]] = {}
        self.journal = SimulatedJournal(self.rng) if self.rng.random() < 0.5 else None
        self.limits = Limits(
            lifetime_s=LIFETIME_S, queue_max=self.rng.choice([4, 32, 1024]),
            requests_keep_s=86_400, cold_group_s=self.rng.choice([1, 30]),
        )  # fmt: skip
        self.backlog_max = self.rng.choice([1, 3, ROOMY])
        self.consents: set[tuple[str, str]] = set()
        self.openings: set[str] = set()
        self.openers: dict[str, str] = {}
        self.is_in_call = False
        self._cancels = self.rng.random() < 0.5
        # asyncio promises an order, and a call that was not cancelled has an answer: so it is
        # known whether the answer came before the events that follow it.
        self._answers_come_first = in_order and not self._cancels

    # -- a life of the hub after the other ---------------------------------------------------------

    def run(self) -> None:
        """Live through it.

        Raises:
            AssertionError: a promise was broken; the message tells which.
        """
        with self._tuned(), _without_collector(), _log_to(LogToTrace(self)):
            try:
                self.loop.run_until_complete(self._live())
            finally:
                self.loop.cancel_all()
                self.loop.close()
        assert not self.broken, "\n".join(self.broken)
        assert not self.loop.failures, self.loop.failures

    @contextlib.contextmanager
    def _tuned(self) -> Iterator[None]:
        """Let turns take as long, and be as full, as this seed says."""
        rng, stopwatch = self.rng, Stopwatch(random.Random(f"stopwatch {self.seed}"))
        constants = {
            "pysignal.commands.BACKLOG_MAX": self.backlog_max,
            "pysignal.commands.RUN_NS": rng.choice([0, 1_000_000]),
            "pysignal.commands.stopwatch_ns": stopwatch,
            "pysignal.hub.TURN_NS": rng.choice([0, 1_000_000]),
            "pysignal.hub.stopwatch_ns": stopwatch,
            "pysignal.shard.STEPS_MAX": rng.choice([1, 1024]),
        }
        with contextlib.ExitStack() as stack:
            for name, value in constants.items():
                stack.enter_context(mock.patch(name, value))
            yield

    async def _live(self) -> None:
        for life in range(self.rng.choice([1, 1, 2, 3]) if self.journal is not None else 1):
            if self.journal is not None:
                if self.journal.fails_at is not None:  # what it kept then, nobody was told
                    self.truth = {invite_id: [] for invite_id in self.truth}
                self.journal.restart(fails=self.rng.random() < 0.3)
            await self._live_once(life)

    async def _live_once(self, life: int) -> None:
        self.calls: list[asyncio.Task[None]] = []
        self._may_be_cancelled: list[asyncio.Task[None]] = []
        self.logins: list[Login] = []
        self.results: dict[str, str] = {}
        self.followed: set[str] = set()
        seed = self.seed * 8 + life
        self.hub = Hub(clock=self.clock, journal=self.journal, limits=self.limits, seed=seed)
        closes_early = self.rng.random() < 0.3
        async with self.hub:
            self._opened_ms = self.hub.now_ms
            self.trace.note("hub", f"opened at position {self.hub.shard.machine.position}")
            for user in USERS:  # what a restart has brought back ends in time as well
                for info in self.hub.shard.machine.opened_by(user):
                    due_ms = info.expires_at or info.opened_at + LIFETIME_S * 1000
                    if due_ms + self.limits.ended_keep_s * 1000 > self._opened_ms:
                        self.follow(info.invite_id)  # else it is forgotten as soon as it ends
            await self._answered("server puts g", self.hub.groups.put("g", USERS))
            places = [Place(self, user, device) for user in USERS for device in "12"]
            for _ in range(self.rng.randint(20, 60)):
                self.act(self.rng.choice(places))
                if self._cancels and self._may_be_cancelled and self.rng.random() < 0.1:
                    self.rng.choice(self._may_be_cancelled[-8:]).cancel()
                await asyncio.sleep(self.rng.choice([0, 0, 0, 0, 0.001, 0.1, 0.9, 4]))
                self.hub.shard.machine.check()
            if not closes_early:
                await asyncio.sleep(LIFETIME_S + TIMEOUT_MAX_S)
                assert not self.broken, "\n".join(self.broken)
                judge_life(self)
        self.trace.note("hub", "closed")
        await asyncio.sleep(LIFETIME_S)
        unanswered = [call.get_name() for call in self.calls if not call.done()]
        assert not unanswered, f"never answered: {unanswered}"
        left = asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]
        assert not left, f"tasks are left: {left}"

    # -- calls -------------------------------------------------------------------------------------

    def begin(
        self, name: str, call: Coroutine[Any, Any, Any], may_be_cancelled: bool = True
    ) -> None:
        """Make a call in a task of its own, and write down what it gives."""
        task = self.loop.create_task(self._answered(name, call), name=name)
        task.add_done_callback(lambda _: call.close())  # it may never have begun
        self.calls.append(task)
        if may_be_cancelled:
            self._may_be_cancelled.append(task)

    async def _answered(self, name: str, call: Coroutine[Any, Any, Any]) -> None:
        try:
            result = await _Steps(self, call)
        except asyncio.CancelledError:
            self.trace.note(name, "cancelled")
            raise
        except SignalingError as error:
            self.trace.note(name, f"refused {error.code} {error.details.get('how', '')}")
        except BaseException as error:
            self.broken.append(f"{name} raised {error!r}")
        else:
            self.trace.note(name, f"answered {result!s}")

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note a broken promise where a raise would only be logged."""
        try:
            yield
        except AssertionError as error:
            self.broken.append(str(error) or repr(error))

    # -- the truth ---------------------------------------------------------------------------------

    def follow(self, invite_id: str) -> None:
        """Follow an invitation for the embedding server, from its first event known on."""
        if invite_id not in self.followed:
            self.followed.add(invite_id)
            self.begin(
                f"server follows {invite_id}", self._follow(invite_id), may_be_cancelled=False
            )

    async def _follow(self, invite_id: str) -> None:
        events = self.truth.setdefault(invite_id, [])
        async for event in Invitation(invite_id, self.hub.acting_as("server")):
            if events:
                assert event.position > events[-1].position, "the server hears out of order"
                assert event.seq == events[-1].seq + 1, f"the server misses one: {words(event)}"
            events.append(event)
            self._judge_time(event)

    def _judge_time(self, event: SignalingEvent) -> None:
        """No timeout is early, and none is late but for the journal."""
        if event.kind != "timed_out":
            return
        opened = self.truth[event.invite_id][0]
        due_ms = event.expires_at
        if due_ms is None and opened.kind == "opened":
            due_ms = opened.time + LIFETIME_S * 1000
        if due_ms is None or (event.reason == "lifetime" and event.time < due_ms):
            return  # told before a restart, or the oldest of too many without a deadline
        assert event.time >= due_ms, f"early: {words(event)}"
        assert self.hub.now_ms >= due_ms, f"told early: {words(event)}"
        late_ms = self.hub.now_ms - max(due_ms, self._opened_ms)
        late_max_ms = LATE_MAX_MS if self.backlog_max == ROOMY else LATE_IN_TURN_MAX_MS
        late_max_ms = 0 if self.journal is None else late_max_ms
        assert late_ms <= late_max_ms, f"{late_ms} ms late: {words(event)}"

    def judge_telling(self, place: Place, event: SignalingEvent) -> None:
        """What anybody is told is durable, comes after the answer, and was consented to."""
        if self.journal is not None:
            assert event.position <= self.journal.decisions, f"not durable: {words(event)}"
        if event.kind == "accepted":
            for user in event.affected:
                assert (user, event.invite_id) in self.consents, f"no consent: {words(event)}"
        self.follow(event.invite_id)
        if event.kind == "opened" and event.device:
            self.openers[event.invite_id] = f"{event.actor}/{event.device}"
        if self._answers_come_first and self.openers.get(event.invite_id) == str(place):
            assert event.invite_id in self.openings, f"told before the answer: {words(event)}"


class _Steps:
    """Awaits a call, and tells the world while the call itself is at work."""

    def __init__(self, world: World, call: Coroutine[Any, Any, Any]) -> None:
        self._world = world
        self._call = call

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._call.send(None)  # noqa: E731
        while True:
            was_in_call, self._world.is_in_call = self._world.is_in_call, True
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            finally:
                self._world.is_in_call = was_in_call
            try:
                yield waits_for
            except BaseException as error:
                thrown = error
                step = lambda: self._call.throw(thrown)  # noqa: B023, E731
            else:
                step = lambda: self._call.send(None)  # noqa: E731


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Let no garbage be collected at times that depend on what ran before.

    What was there before is left alone, so that looking at the rest in the end is quick.
    """
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.collect()
        gc.unfreeze()
        gc.enable()


@contextlib.contextmanager
def _log_to(handler: logging.Handler) -> Iterator[None]:
    log = logging.getLogger("pysignal")
    propagate, log.propagate = log.propagate, False
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.propagate = propagate
