"""Deadlines on a busy loop: how late a timeout is heard, and that none is heard early.

All invitations are open before the first deadline; the deadlines are spread over SPAN_S, while
other users invite and accept for half of the time that passes. Lateness is from the deadline of the
event to the moment at which the inviter's listener hears it.

The rival is one `call_later` an invitation, on the same kind of loop with the same load.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field

import operands
import pytest
import uvloop
from crowd import Crowd
from measure import COUNT, MS, SHARE, Measure, Row, Size

from pysignal import Hub, Session, SignalingEvent, SignalingListener

INVITERS = 1000
LOAD_USERS = 1000
IN_FLIGHT = 100  # of the load: some tenths of a millisecond
LOAD_CYCLES = 50_000
LOAD_SHARE = 0.5  # of the time that passes
LOAD_SHARE_MIN = 0.4  # what a run must have had
OPEN_PER_TURN = 200
SPAN_S = 10.0
SPAN_QUICK_S = 0.5
LEAD_S = 1.0
BEFORE_S = 0.1
LEAD_FACTORS = (1.5, 3.0, 6.0, 12.0)  # of the time that the set-up should take; tried in turn
UVLOOP_MAX = 100_000  # it takes half a minute to set a million
PROBES = 5000  # opened to estimate that time
PATIENCE_S = 60.0


NewLoop = Callable[[], asyncio.AbstractEventLoop]


@dataclass
class Heard:
    """What a run has heard.

    Attributes:
        late_ns: from the deadline of each to its callback.
        load_share: CPU time of the load, as a share of the time that passed.
        busy_share: likewise of everything.
        taken_share: of the time in which the load ran, that in which it waited for a core: other
            programs had them.
    """

    late_ns: list[int] = field(default_factory=list)
    load_share: float = 0.0
    busy_share: float = 0.0
    taken_share: float = 0.0

    @property
    def early(self) -> int:
        """How many were heard before their deadline."""
        return sum(late < 0 for late in self.late_ns)

    @property
    def late_ms_p99(self) -> float:
        """How late all but one in a hundred were heard at most."""
        return statistics.quantiles(self.late_ns, n=100)[-1] / 1e6


class Inviter(SignalingListener):
    """One whose invitations nobody answers."""

    def __init__(self, expiring: Expiring) -> None:
        self.expiring = expiring

    def on_signaling_event(self, event: SignalingEvent) -> None:
        """Hear that an invitation has timed out."""
        self.expiring.hear(time.monotonic_ns(), event)


class Load:
    """Users of a hub who invite and accept for LOAD_SHARE of the time."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        users = [f"load {user}" for user in operands.names(LOAD_USERS)]
        self.crowd = Crowd(users, LOAD_CYCLES, IN_FLIGHT)

    async def log_in(self) -> None:
        """Bring them online, and let them meet once."""
        await self.crowd.log_in(self.hub)
        await self.crowd.run()
        self.crowd.verify()

    async def run_until(self, is_over: Callable[[], bool], heard: Heard, within_s: float) -> None:
        """Run until something is so, which may take `within_s`; sets the shares of `heard`."""
        start_s, cpu_start_s = time.monotonic(), time.process_time()
        passed_s = busy_s = wave_s = 0.0
        waves = itertools.cycle(range(len(self.crowd.waves)))
        while not is_over():
            passed_s = time.monotonic() - start_s
            assert passed_s < within_s, "some were never heard"
            if busy_s > LOAD_SHARE * passed_s:
                await asyncio.sleep(0.001)
                continue
            wave_start_s, wave_cpu_start_s = time.monotonic(), time.process_time()
            await self.crowd.wave(next(waves))
            self.crowd.verify_wave()
            busy_s += time.process_time() - wave_cpu_start_s
            wave_s += time.monotonic() - wave_start_s
        heard.load_share = busy_s / passed_s
        heard.taken_share = 1 - busy_s / wave_s
        heard.busy_share = (time.process_time() - cpu_start_s) / passed_s


class SetUpTooSlowError(Exception):
    """The first deadline has passed before all were set up."""


class Running(ABC):
    """What runs out on a loop half busy with others.

    Args:
        size: how many.
        span_s: over which their deadlines are spread.
        lead_factor: how many times as long as it should take the set-up may take.
    """

    def __init__(self, size: int, span_s: float, lead_factor: float) -> None:
        self.size = size
        self.span_s = span_s
        self.lead_factor = lead_factor
        self.hub = Hub()
        self.heard = Heard()
        self.load = Load(self.hub)

    @abstractmethod
    async def run(self) -> Heard:
        """Set all up, wait until all have run out, and return what was heard."""

    def first_deadline_s(self, probes_start_s: float) -> float:
        """Return when the first deadline is to be, s of the monotonic clock.

        Args:
            probes_start_s: when it was begun to set up PROBES of them, which has just ended.
        """
        now_s = time.monotonic()
        each_s = (now_s - probes_start_s) / PROBES
        return now_s + LEAD_S + self.lead_factor * each_s * self.size

    async def until_shortly_before(self, first_s: float) -> None:
        """Sleep until the load should begin: BEFORE_S before a moment of the monotonic clock."""
        left_s = first_s - BEFORE_S - time.monotonic()
        if left_s < 0:
            raise SetUpTooSlowError
        await asyncio.sleep(left_s)
        assert not self.heard.late_ns


class Expiring(Running):
    """A hub in which invitations run out."""

    def __init__(self, size: int, span_s: float, lead_factor: float) -> None:
        super().__init__(size, span_s, lead_factor)
        self.users = operands.names(size)
        self.texts = operands.texts(size, "invite")
        self.ids: list[str] = []
        self.ended: list[str] = []
        self.inviters: list[Session] = []

    def hear(self, at_ns: int, event: SignalingEvent) -> None:
        """Note when an event was heard; `at_ns` is of the monotonic clock."""
        if event.kind == "timed_out" and event.expires_at is not None:
            self.heard.late_ns.append(at_ns - event.expires_at * 1_000_000)
            self.ended.append(event.invite_id)

    async def run(self) -> Heard:
        """Open all, wait until all have run out, and return what was heard."""
        async with self.hub:
            offset_ns = engine_offset_ns(self.hub)
            await self.load.log_in()
            for k in range(INVITERS):
                inviter = await self.hub.login(f"inviter {k}", listener=Inviter(self))
                self.inviters.append(inviter)
            first_s = await self.open_all()
            await self.until_shortly_before(first_s)
            await self.load.run_until(
                lambda: len(self.ended) >= self.size, self.heard, self.span_s + PATIENCE_S
            )
            self.heard.late_ns = [late_ns + offset_ns for late_ns in self.heard.late_ns]
            self.verify()
        return self.heard

    async def open_all(self) -> float:
        """Open all; returns when the first deadline is, s of the monotonic clock."""
        start_s = time.monotonic()
        for k in range(PROBES):
            signaling = self.inviters[k % INVITERS].signaling
            await (await signaling.invite(self.users[k % self.size])).cancel()
        first_s = self.first_deadline_s(start_s)
        pick = random.Random(8).random
        for k, (user, text) in enumerate(zip(self.users, self.texts, strict=True)):
            timeout_s = first_s + pick() * self.span_s - time.monotonic()
            signaling = self.inviters[k % INVITERS].signaling
            self.ids.append(str(await signaling.invite(user, text, timeout=timeout_s)))
            if k % OPEN_PER_TURN == 0:
                await asyncio.sleep(0)
        return first_s

    def verify(self) -> None:
        """Check that each was heard of once, and that the loop was as busy as it should be."""
        assert sorted(self.ended) == sorted(self.ids)
        assert self.heard.load_share > LOAD_SHARE_MIN
        stats = self.hub.stats()
        assert stats["invitees_timed_out"] == self.size
        assert stats["open"] == stats["deliveries_waiting"] == 0
        self.hub.shard.machine.check()


class CallLater(Running):
    """The rival: a `call_later` for each, with the same load."""

    def hear(self, deadline_ns: int) -> None:
        """Note when one was called."""
        self.heard.late_ns.append(time.monotonic_ns() - deadline_ns)

    async def run(self) -> Heard:
        """Set all, wait until all have been called, and return what was heard."""
        loop = asyncio.get_running_loop()
        heard = self.heard
        async with self.hub:
            await self.load.log_in()
            start_s = time.monotonic()
            for _ in range(PROBES):
                loop.call_later(3600, self.hear, 0).cancel()
            first_s = self.first_deadline_s(start_s)
            pick = random.Random(8).random
            for k in range(self.size):
                deadline_s = first_s + pick() * self.span_s
                loop.call_later(deadline_s - time.monotonic(), self.hear, int(deadline_s * 1e9))
                if k % OPEN_PER_TURN == 0:
                    await asyncio.sleep(0)
            await self.until_shortly_before(first_s)
            await self.load.run_until(
                lambda: len(heard.late_ns) >= self.size, heard, self.span_s + PATIENCE_S
            )
        assert len(heard.late_ns) == self.size
        assert heard.load_share > LOAD_SHARE_MIN
        return heard


def engine_offset_ns(hub: Hub) -> int:
    """Return what engine time is ahead of the monotonic clock, ns.

    Where a millisecond begins; what comes between the two looks at the clocks makes it less.
    """
    offsets = []
    for _ in range(10):
        before = hub.now_ms
        while (now_ms := hub.now_ms) == before:
            pass
        offsets.append(now_ms * 1_000_000 - time.monotonic_ns())
    return max(offsets)


def run_once(new_loop: NewLoop, kind: type[Running], size: int, span_s: float) -> Heard:
    """Run one of them on a loop of its own; anew with more time where the set-up was too slow."""
    for factor in LEAD_FACTORS:
        gc.collect()
        with asyncio.Runner(loop_factory=new_loop) as runner:
            try:
                return runner.run(kind(size, span_s, factor).run())
            except SetUpTooSlowError:
                continue
    raise SetUpTooSlowError


@pytest.mark.sizes(100_000, 1_000_000)
def test_late(measure: Measure, size: Size) -> None:
    """So many run out, while others invite and accept."""
    span_s = SPAN_QUICK_S if measure.quick else SPAN_S * size / 1_000_000
    kinds: dict[str, tuple[NewLoop, type[Running]]] = {
        "asyncio call_later": (asyncio.new_event_loop, CallLater),
        "uvloop call_later": (uvloop.new_event_loop, CallLater),
        "ours": (uvloop.new_event_loop, Expiring),
    }
    if size > UVLOOP_MAX:
        del kinds["uvloop call_later"]
    runs: dict[str, list[Heard]] = {name: [] for name in kinds}

    def run() -> None:
        for _ in range(measure.rounds(size, slow=True)):
            for name, (new_loop, kind) in kinds.items():
                runs[name].append(run_once(new_loop, kind, size, span_s))

    def add(what: str, unit: str, figure: Callable[[Heard], float]) -> Row:
        figures = {name: [figure(heard) for heard in runs[name]] for name in kinds}
        return measure.add(Row(what, size, unit, figures.pop("ours"), figures))

    measure.run(run)
    early = add("timeouts heard early", COUNT, lambda heard: heard.early)
    early.ours = [max(early.ours)]  # of all runs: none may be
    late = add("timeout late, p99, half busy", MS, lambda heard: heard.late_ms_p99)
    add("timeout late, median, half busy", MS, lambda heard: statistics.median(heard.late_ns) / 1e6)
    add("cores that the load had meanwhile", SHARE, lambda heard: heard.load_share)
    add("cores that all had meanwhile", SHARE, lambda heard: heard.busy_share)
    add("time that other programs took", SHARE, lambda heard: heard.taken_share)
    measure.figure(f"timer_early_{size.name}", early)
    measure.figure(f"timer_late_ms_p99_{size.name}", late)
