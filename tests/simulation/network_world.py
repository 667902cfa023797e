"""A server, its clients and the network between them, as one function of a seed.

Clients are the real ones, on connections in memory; the server is the real one, on a hub in virtual
time. Each has a process of its own, which may be killed. What the people of a world do, and what
becomes of their connections, is drawn. Twice in a world the network becomes quiet; then everything
is compared with the truth, which is what the handles of an embedding server hear.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import random
import warnings
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any
from unittest import mock

from simulation.client_acts import STRANGER, USERS, Called, ClientActs
from simulation.clients import Client, GroupEar, Heard, ObserverEar
from simulation.heard import Trace
from simulation.loop import LoopClock, SimulationLoop
from simulation.network_judge import Watched, judge_calls, judge_end, judge_life, judge_login
from simulation.processes import Process
from simulation.stand_ins import START_MS, CrashingJournal, Tokens
from simulation.wires import Network
from simulation.world import LogToTrace, Stopwatch, _log_to, _without_collector

from pysignal import Hub, Invitation, Limits, SignalingError, SignalingEvent
from pysignal.server import Server, Settings

# What looks at how long its turn has taken.
TIMED = ("commands", "hub", "server.connection", "server.outbox", "client.intake")

OBSERVER = "observer"
LIFETIME_S = 40
CALM_S = 75.0  # a connection that died in silence is found out by then, by either side


class InOrder(dict[Any, None]):
    """A set in the order of its making, so that one seed has one history."""

    def add(self, item: Any) -> None:
        """Put something in."""
        self[item] = None

    def discard(self, item: Any) -> None:
        """Take something out, if it is there."""
        self.pop(item, None)


class Complaints(LogToTrace):
    """Takes what is logged as an error for a broken promise, but for the last words of the dead."""

    def emit(self, record: logging.LogRecord) -> None:
        """Take what was logged."""
        loop = asyncio._get_running_loop()
        if isinstance(loop, Process) and loop.is_dead:
            return
        error = record.exc_info[1] if record.exc_info else None
        self.world.trace.note("log", f"{record.getMessage()} {error!r}")
        if record.levelno >= logging.ERROR:
            self.world.broken.append(f"logged: {record.getMessage()} {error!r}")


class Life:
    """One process of the server, from its start to its end.

    Attributes:
        hub, server: of this life; None until it has started.
        truth: what the embedding server heard of each invitation.
        entered: the commit position at which each session came.
        observers: what an embedded session of each user hears.
    """

    def __init__(self, world: NetworkWorld, number: int) -> None:
        self.world = world
        self.process = Process(world.loop, f"server {number}")
        self.number = number
        self.truth: dict[str, list[SignalingEvent]] = {}
        self.entered: dict[Any, int] = {}
        self.observers: dict[str, Heard] = {}
        self.is_ready = False
        self.hub: Hub
        self.server: Server

    async def start(self) -> None:
        """Open the hub, and let clients in."""
        world = self.world
        clock = LoopClock(self.process, START_MS)
        seed = world.seed * 8 + self.number
        self.hub = Hub(clock=clock, journal=world.journal, limits=world.limits, seed=seed)
        await self.hub.open()
        self._watch_logins()
        groups = self.hub.acting_as("amy").groups
        if not await groups.get_joined_group_list():
            await groups.create_group("Meeting", "g", member_list=[*USERS[1:], STRANGER])
        self.server = Server(self.hub, world.tokens, settings=world.settings, clock=clock)
        connections: Any = InOrder()
        self.server.connections = connections
        if world.has_observers:
            for user in (*USERS, STRANGER):
                session = self.hub.session(user, OBSERVER)
                heard = self.observers[user] = Heard(world, f"{user}/{OBSERVER}", user, OBSERVER)
                session.add_signaling_listener(ObserverEar(heard))
                session.add_group_listener(GroupEar(heard))
                await session.login()
                heard.since = self.hub.shard.machine.position
        for invite_id in list(world.known):
            self.follow(invite_id)
        self.is_ready = True
        world.life = self
        world.network.listen(self.process, self.server.connect)
        world.trace.note("server", f"begins at position {self.hub.shard.machine.position}")

    def _watch_logins(self) -> None:
        """Note from which commit on each session has to be told, and judge its snapshot."""
        hub: Any = self.hub
        enter = hub._enter

        def entering(now_ms: int, session: Any, *more: Any) -> Any:
            result = enter(now_ms, session, *more)
            if result is None:
                self.entered[session] = self.hub.shard.machine.position
                self.world.note_login(session)
                with self.world.noting():
                    judge_login(self, session)
            return result

        hub._enter = entering

    def begin(self, work: Coroutine[Any, Any, Any]) -> None:
        """Let the embedding server do something, whatever comes of it."""

        async def run() -> None:
            with contextlib.suppress(SignalingError):
                await work

        task = self.process.spawn(run(), "embedded")
        task.add_done_callback(lambda _: work.close())

    def follow(self, invite_id: str) -> None:
        """Hear all of an invitation from now on."""
        if invite_id not in self.truth:
            events = self.truth[invite_id] = []
            self.begin(self._follow(invite_id, events))

    async def _follow(self, invite_id: str, events: list[SignalingEvent]) -> None:
        async for event in Invitation(invite_id, self.hub.acting_as("server")):
            events.append(event)
            self.world.note_truth(self, event)

    def look_around(self) -> None:
        """Learn of invitations that nobody was told of."""
        machine = self.hub.shard.machine
        machine.check()
        for user in USERS:
            for invite_id in machine.open_ids_of(user):
                self.world.learn(invite_id)

    async def stop(self) -> None:
        """End properly."""
        self.world.network.refuse()
        await self.server.close()
        await self.hub.close()


class NetworkWorld(ClientActs):
    """One history.

    Args:
        seed: everything is drawn from it.

    Attributes:
        trace: what everybody heard and was answered, in order.
        broken: promises that were broken, in words.
        last_come: which process of each device was the last to log in.
        known: IDs of all invitations, in the order in which they were learned.
        opened: the data with which each invitation was opened.
        effects: how often the data of an operation was in an event of its kind, by life.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = random.Random(f"network {seed}")
        in_order = rng.random() < 0.5
        self.loop = SimulationLoop(None if in_order else random.Random(f"order {seed}"))
        self.trace = Trace(lambda: self.loop.now_ns)
        self.broken: list[str] = []
        self.network = Network(self.loop, random.Random(f"wires {seed}"))
        self.tokens = Tokens(self.loop)
        self.journal = CrashingJournal(rng) if rng.random() < 0.6 else None
        self.has_observers = rng.random() < 0.5
        self.limits = Limits(
            lifetime_s=LIFETIME_S,
            ended_keep_s=86_400,
            requests_keep_s=86_400,
            sessions_per_user=rng.choice([16, 16, 1]) + self.has_observers,
        )
        self.settings = Settings(
            resume_window_s=rng.choice([3.0, 60.0]),
            history_max=rng.choice([3, 1024, 1024]),
            waiting_max=rng.choice([2, 8, 1024]),
            history_s=rng.choice([5.0, 120.0]),
        )
        self.trouble = rng.choice([0.0, 0.15, 0.3, 0.45])
        self.crashes = rng.choice([0, 0, 1, 2])
        self.clients: list[Client] = []
        self.last_come: dict[tuple[str, str], Client] = {}
        self.calls: list[Called] = []
        self.waiting: dict[str, list[Called]] = {}
        self.waits: list[asyncio.Task[Any]] = []
        self.lives = 0
        self.starts_ms: list[int] = []
        self.life: Life | None = None
        self.stopping: asyncio.Task[Any] | None = None
        self.processes: list[Process] = []
        self.known: dict[str, None] = {}
        self.effects: Counter[tuple[int, str, str]] = Counter()
        self.opened: dict[str, str] = {}
        self.consents: set[tuple[str, str]] = set()
        self.outcomes: dict[tuple[str, int], Any] = {}
        self.pace = rng.choice([(0, 0, 0, 0.001), (0, 0.001, 0.05, 0.3), (0, 0.1, 0.9, 4)])
        self.watched = Watched(self)

    # -- the course of it --------------------------------------------------------------------------

    def run(self) -> None:
        """Live through it.

        Raises:
            AssertionError: a promise was broken; the message tells which.
        """
        log: Any = Complaints(self)  # type: ignore[arg-type]
        with _coroutines_may_die(), self._tuned(), _without_collector(), _log_to(log):
            try:
                self.loop.run_until_complete(self._live())
            finally:
                for process in self._all_processes():
                    process.kill()
                self.loop.cancel_all()
                self.loop.close()
        assert not self.broken, "\n".join(self.broken)

    @contextlib.contextmanager
    def _tuned(self) -> Iterator[None]:
        """Let turns take as long as this seed says."""
        stopwatch = Stopwatch(random.Random(f"stopwatch {self.seed}"))
        with contextlib.ExitStack() as stack:
            for module in TIMED:
                stack.enter_context(mock.patch(f"pysignal.{module}.stopwatch_ns", stopwatch))
            looks = self.rng.choice([1, 2, 16])
            stack.enter_context(mock.patch("pysignal.server.connection.TAKEN_PER_LOOK", looks))
            yield

    async def _live(self) -> None:
        rng = self.rng
        await self.start_life()
        for user in USERS:
            client = Client(self, len(self.clients), user, "1")
            self.clients.append(client)
            client.process.spawn(client.come("cold"), "login")
        await asyncio.sleep(rng.choice([0, 1, 3]))
        for _ in range(2):
            for _ in range(rng.randint(12, 25)):
                self.act()
                await asyncio.sleep(rng.choice(self.pace))
                if self.life is not None:
                    self.life.look_around()
                elif rng.random() < 0.5 and not self._stops():
                    await self.start_life()
            await self._settle()
            assert not self.broken, "\n".join(self.broken)
        await self._end()

    async def start_life(self) -> None:
        """Start a process of the server, at a time that tells its life from the last one."""
        await asyncio.sleep(0.002)
        life = Life(self, self.lives)
        self.processes.append(life.process)
        self.starts_ms.append(START_MS + self.loop.now_ns // 1_000_000)
        self.lives += 1
        task = life.process.spawn(life.start(), "start")
        await self._until(lambda: task.done(), "the server does not start")
        task.result()

    def end_life(self) -> None:
        """Let the server crash."""
        life, self.life = self.life, None
        assert life is not None
        life.look_around()
        self.network.refuse()
        life.process.kill()
        if self.journal is not None:
            self.journal.crash()
        self.network.crash(life.process)

    def stop_life(self) -> None:
        """Let the server end properly."""
        life, self.life = self.life, None
        assert life is not None
        life.look_around()
        self.stopping = life.process.spawn(life.stop(), "stop")

    def _stops(self) -> bool:
        return self.stopping is not None and not self.stopping.done()

    async def _until(
        self, is_so: Callable[[], bool], problem: str, patience_s: float = 100
    ) -> None:
        until_ns = self.loop.now_ns + round(patience_s * 1e9)
        pause_s = 0.0
        while not is_so():
            assert self.loop.now_ns < until_ns, problem
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s + 0.001, 0.5)

    # -- quiet moments -----------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Let everything arrive and everybody be connected, and judge."""
        self.network.calm()
        self.trace.note("world", "calms down")
        await self._until(lambda: not self._stops(), "the server does not stop")
        if self.life is None:
            await self.start_life()
        if self.network.had_silence:
            await asyncio.sleep(CALM_S)
            self.network.had_silence = False
        there = [client for client in self.clients if not client.is_gone]
        for _ in range(4):  # a connection may have broken just before
            await self._until(
                lambda: all(map(_is_settled, there)),
                f"not connected: {[c for c in there if not _is_settled(c)]}",
            )
            if await self._sync([client for client in there if client.session.online]):
                break
        else:
            raise AssertionError("who is connected gets no answer to sync")
        self.is_quiet = True
        await asyncio.sleep(12)  # the longest wait for an answer, and slow listeners
        assert self.life is not None
        self.life.look_around()
        until = self.life.hub.shard.machine.position
        await asyncio.sleep(3)  # for what is under way
        judge_calls(self)
        judge_life(self, until)
        self.is_quiet = False

    async def _sync(self, online: list[Client]) -> bool:
        """Let clients wait for all that the server has to tell; False when one had no answer."""
        syncs = [client.process.spawn(client.session.sync(), "sync") for client in online]
        await self._until(lambda: all(sync.done() for sync in syncs), "sync is not answered")
        errors = [sync.exception() for sync in syncs]
        return not any(
            error is not None and client.session.online
            for client, error in zip(online, errors, strict=True)
        )

    async def _end(self) -> None:
        """Let everybody leave, and see that nothing is left."""
        for client in self.clients:
            if client.is_gone:
                continue
            if self.rng.random() < 0.3:
                self.end_client(client)
            elif client.session.online:
                client.process.spawn(client.go(), "logout")
        await asyncio.sleep(200)  # dead connections are found out, and resume windows end
        life = self.life
        assert life is not None
        judge_end(self, life)
        stopping = life.process.spawn(life.stop(), "stop")
        await self._until(stopping.done, "the server does not stop")
        stopping.result()
        assert not life.hub._delivery.watchers, "handles are left"
        await asyncio.sleep(30)
        for process in self._all_processes():
            assert not process.failures, process.failures
            assert not process.left(), f"{process.name} leaves {process.left()}"

    def _all_processes(self) -> list[Process]:
        return [*self.processes, *(client.process for client in self.clients)]

    # -- the truth ---------------------------------------------------------------------------------

    def life_at(self, time_ms: int) -> int:
        """In which life something happened; with a journal all are one."""
        if self.journal is not None:
            return 0
        return bisect.bisect_right(self.starts_ms, time_ms) - 1

    def learn(self, invite_id: str) -> None:
        """Follow an invitation that somebody has heard of."""
        if invite_id not in self.known:
            self.known[invite_id] = None
            if self.life is not None:
                self.life.follow(invite_id)

    def note_login(self, session: Any) -> None:
        """Note who has a device now; what its last process was not told of, this one is told."""
        device = session.user_id, session.device_id
        for client in self.clients:
            if client.client_name == getattr(session, "client", None):
                if self.last_come.get(device) is not client:
                    client.heard.begin_cold()
                self.last_come[device] = client

    def note_truth(self, life: Life, event: SignalingEvent) -> None:
        """Note what has happened."""
        self.trace.note("truth", f"{event.position} {event.kind} {event.invite_id} {event.data}")
        self.effects[0 if self.journal is not None else life.number, event.kind, event.data] += 1
        if event.kind == "opened":
            self.opened[event.invite_id] = event.data
        with self.noting():
            if self.journal is not None:
                assert event.position <= self.journal.decisions, f"not durable: {event!r}"
            if event.kind == "accepted":
                for user in event.affected:
                    assert (user, event.invite_id) in self.consents, f"no consent: {event!r}"

    def judge_call(self, called: Called) -> None:
        """Judge an answer as it comes."""
        Watched.judge_call(self, called)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note a broken promise where a raise would only be logged."""
        try:
            yield
        except AssertionError as error:
            self.broken.append(str(error) or repr(error))


@contextlib.contextmanager
def _coroutines_may_die() -> Iterator[None]:
    """Let nobody be warned of what a killed process has begun and not awaited."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
        yield


def _is_settled(client: Client) -> bool:
    """Whether a client is connected, or has come to its end."""
    link = client.session._link
    return link is None or (client.session.online and link.connection is not None)
