"""The hub: sessions, commands and delivery on one event loop; what a server embeds.

Data goes one way. A command comes in with its actor and the time of its arrival; the shard decides
and applies it at once; what was committed is published: each event finds the sessions that hear it
as of then. Once a turn of the loop the events are delivered. With a journal, answers and events
leave only when the records that they rest on are durable.

Most commands run in the call itself, without suspending. They queue up, first come first served,
only while something must come first: a mass expiry that takes more than one slice, or more events
than a turn has delivered. A command that waits keeps the time of its arrival, and is carried out
even if its caller has stopped waiting.

One loop timer stands for all deadlines: it is set to the next thing that is due.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import orjson

from pysignal import text
from pysignal.clock import Clock, Timer, stopwatch_ns
from pysignal.delivery import Call, Delivery
from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.views import InvitationInfo
from pysignal.errors import HubClosed, InvalidParameter, InvitationEnded, KickedOff, SignalingError
from pysignal.group_events import callbacks
from pysignal.group_records import GroupRecord
from pysignal.groups import ServerGroups
from pysignal.invitation import Actor, Outcome, Watch
from pysignal.journal.writer import Writer
from pysignal.limits import Limits
from pysignal.listeners import Courier, SignalingListener, log_failure
from pysignal.membership import Groups
from pysignal.presence import Presence
from pysignal.requests import Requests
from pysignal.server_acts import ServerActs
from pysignal.session import Session, Start
from pysignal.shard import MORE, Shard

if TYPE_CHECKING:
    from pysignal.journal import Journal

# How long a drain of deliveries, or a run of queued commands, keeps the loop.
TURN_NS: Final = 1_000_000

# Entries waiting for delivery above which commands wait in turn: it keeps the queue bounded.
BACKLOG_MAX: Final = 512

# How often memory of what has ended is given back.
FORGET_EVERY_MS: Final = 1000

# First byte of a record in a journal: whose it is.
_KEY, _MACHINE, _GROUPS = b"K", b"M", b"G"


class Sink(Protocol):
    """Where events go, in place of the sessions' listeners: `Hub(sink=…)`."""

    def deliver(self, events: list[Event | Call], receivers: list[list[Session]]) -> None:
        """Take the events of one turn, in commit order.

        Args:
            events: each made once, read-only; a `Call` for a callback of a group.
            receivers: for each event, the sessions that hear it.
        """


class Hub(ServerActs):
    """Invitations, groups and sessions of one server, on one event loop.

    Use it as `async with Hub() as hub`.

    Args:
        journal: keeps what is decided; None to keep nothing.
        clock: the source of time; a `VirtualClock` for tests.
        limits: what is allowed.
        sink: takes the events instead of the sessions' listeners.
        shard: 0 to 4095, part of every invite ID; each hub of a cluster has its own.
        seed: makes invite IDs repeatable, for simulations only; None for unpredictable ones.
    """

    def __init__(
        self,
        *,
        journal: Journal | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        sink: Sink | None = None,
        shard: int = 0,
        seed: int | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.is_open = False
        self.groups = ServerGroups(self)
        self.couriers: set[Courier] = set()
        self._journal = journal
        self._clock = clock or Clock()
        self._sink = sink
        self._shard_number = shard
        self._seed = seed
        self._was_open = False

    # -- opening and closing -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        """Begin, on the running event loop; with a journal, from what it holds."""
        if self._was_open:
            raise HubClosed("a hub is opened once: make a new one")
        self._was_open = True
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.delivery = Delivery(log_failure)
        self.requests = Requests(
            lambda: self.now_ms,
            round(self.limits.requests_keep_s * 1000),
            self.limits.requests_max,
        )
        self._writer = None
        self._queue: deque[_Waiting] = deque()
        self._audiences: dict[str, list[Session]] = {}
        self._turn_scheduled = False
        self._timer: Timer | None = None
        self._timer_ms: int | None = None
        records = [] if self._journal is None else list(self._journal.replay())
        machine = self._new_machine(records)
        self.shard = Shard(
            machine, Groups(self.limits.group_members), self.publish, self._publish_group
        )
        self._presence = Presence(machine, self.delivery, self.limits)
        for record in records:
            self._replay(record)
        # Engine time goes on from the last commit, even where the clock has stepped back since.
        self._ahead_ms = max(machine.now_ms - self._clock.now_ms(), 0)
        self.delivery.fed = machine.position
        self._presence.note_answers(machine.open_lists())
        if self._journal is not None:
            self._writer = Writer(self._journal, self._records_durable, self._journal_failed)
            self.delivery.durable = self._writer.durable
            if not records:
                self._writer.write([_KEY + machine.id_key])
        self._clock.attach(self._is_busy)
        self.is_open = True
        self._schedule()

    def _new_machine(self, records: list[bytes]) -> Machine:
        limits = self.limits
        key = records[0][1:] if records else None
        return Machine(
            key=key,
            entropy=Entropy(self._seed),
            shard=self._shard_number,
            now_ms=0 if records else self._clock.now_ms(),
            capacity=limits.open_max,
            users_max=limits.users_max,
            groups_max=limits.groups_max,
            invitees_max=limits.invitees_max,
            ended_max=limits.ended_max,
            ended_keep_ms=round(limits.ended_keep_s * 1000),
            lifetime_ms=round(limits.lifetime_s * 1000),
            journaled=self._journal is not None,
        )

    def _replay(self, record: bytes) -> None:
        owner, body = record[:1], record[1:]
        if owner == _MACHINE:
            snapshot.apply(self.shard.machine, body)
        elif owner == _GROUPS:
            self.shard.groups.apply(GroupRecord.from_builtins(orjson.loads(body)))

    async def close(self) -> None:
        """End: deliver what was committed, then log every session out. Invitations stay open."""
        if not self.is_open:
            return
        self.require_thread()
        self.publish()
        await self._settle_journal()
        while self.delivery.drain(stopwatch_ns() + TURN_NS, stopwatch_ns):  # noqa: ASYNC110
            await asyncio.sleep(0)
        self._note_told()
        self.publish()
        await self._settle_journal()
        self.is_open = False
        self._clock.detach(self._is_busy)
        if self._timer is not None:
            self._timer.cancel()
        error = HubClosed("the hub was closed")
        while self._queue:
            self._queue.popleft().fail(error)
        sessions = self._presence.sessions
        for session in sessions:
            self._presence.leave(session)
            session.ended(error, "on_disconnected")
        for watches in list(self.delivery.watchers.values()):
            for watch in list(watches):
                watch.fail(error)
        await asyncio.sleep(0)
        for courier in list(self.couriers):
            await courier.stop()

    async def _settle_journal(self) -> None:
        if self._writer is not None:
            await self._writer.close()
            self.delivery.durable = self._writer.durable

    def require(self) -> None:
        """Refuse a call to a hub that is not open, or from another thread."""
        if not self.is_open:
            raise HubClosed("the hub is not open: use it inside `async with Hub() as hub`")
        self.require_thread()

    def require_thread(self) -> None:
        """Refuse a call from another thread than the hub's."""
        if self._was_open and threading.get_ident() != self._thread:
            raise RuntimeError(
                "called from another thread than the hub's: use "
                "asyncio.run_coroutine_threadsafe(…, loop) or loop.call_soon_threadsafe(…)"
            )

    @property
    def now_ms(self) -> int:
        """Engine time, ms since the epoch."""
        return self._clock.now_ms() + self._ahead_ms

    # -- sessions ----------------------------------------------------------------------------------

    def session(self, user_id: str, device_id: str = "1") -> Session:
        """Make a session that is not logged in yet: add listeners, then `login`.

        Args:
            user_id: 1 to 128 bytes of UTF-8 without control characters.
            device_id: likewise; tells the user's devices apart.
        """
        return Session(
            self, text.user_id(user_id, "user_id"), text.device_id(device_id, "device_id")
        )

    async def login(
        self,
        user_id: str,
        device_id: str = "1",
        start: Start = "cold",
        listener: SignalingListener | None = None,
    ) -> Session:
        """Make a session and log it in (SPEC §7).

        Args:
            user_id: the user; the embedding server decides who is who.
            device_id: the device; a newer login of the same one replaces the older.
            start: see `Session.login`.
            listener: heard from the first callback on.

        Raises:
            HubClosed, InvalidParameter, LimitExceeded.
        """
        session = self.session(user_id, device_id)
        if listener is not None:
            session.add_signaling_listener(listener)
        await session.login(start)
        return session

    async def log_in(self, session: Session, cold: bool) -> None:
        """Bring a session online; called by `Session.login`."""
        self.require()
        await self.perform(self._enter, session, cold)

    def _enter(self, now_ms: int, session: Session, cold: bool) -> Any:
        if session.online:
            raise InvalidParameter("session", "it is logged in already: log it out first")
        if self.shard.tick(now_ms):
            return MORE
        self.publish()
        rests_on = 0 if self._writer is None else self._writer.accepted
        replaced = self._presence.enter(session, cold, rests_on)
        self._forget_audiences(session.user_id)
        if replaced is not None:
            replaced.ended(
                KickedOff("another login of the same device took its place"), "on_kicked_offline"
            )
        return None

    def log_out(
        self,
        session: Session,
        error: SignalingError,
        callback: str = "",
        missed: Sequence[Event] = (),
    ) -> None:
        """Take a session offline; called by the session."""
        self.publish()
        self._presence.leave(session, missed)
        self._forget_audiences(session.user_id)
        session.ended(error, callback)

    def is_told(self, actor: Any, invite_id: str) -> bool:
        """Whether a session knows an open invitation; an act of the server knows all."""
        return not isinstance(actor, Session) or self._presence.is_told(actor, invite_id)

    def tell(self, actor: Any, info: InvitationInfo) -> None:
        """Count an open invitation as told to a session."""
        self._presence.tell(actor, info.invite_id)
        if info.no_deadline and not info.group_id:
            self._presence.mark_told(info.invite_id, actor.user_id)

    # -- commands ----------------------------------------------------------------------------------

    async def perform(self, command: Callable[..., Any], *args: Any) -> Any:
        """Carry out a command of the shard, and return or raise what it gives once it may be known.

        Args:
            command: called with the time of arrival and `args`.
            args: what the command takes beside.
        """
        now_ms = self._clock.now_ms() + self._ahead_ms
        if self._writer is not None:
            self._writer.require()
        if self._queue or self._backlog >= BACKLOG_MAX:
            return await self._wait_in_turn(now_ms, command, args)
        if not self._turn_scheduled:
            self._schedule()
        try:
            result = command(now_ms, *args)
        except SignalingError:
            if self._writer is not None:
                await self._until_durable()
            raise
        if result is MORE:
            return await self._wait_in_turn(now_ms, command, args)
        if self._writer is not None:
            await self._until_durable()
        return result

    @property
    def _backlog(self) -> int:
        """Entries that wait for delivery, and facts that will be some."""
        return len(self.delivery) + self.shard.machine.waiting

    async def _wait_in_turn(
        self, now_ms: int, command: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        waiting = _Waiting(now_ms, command, args, self._loop.create_future())
        self._queue.append(waiting)
        self._schedule()
        try:
            # The command is carried out even where nobody waits for it any more. The future is
            # awaited as it is: one more step, and events could overtake the answer.
            result = await waiting.future
        except SignalingError:
            if self._writer is not None:
                await self._until_durable()
            raise
        if self._writer is not None:
            await self._until_durable()
        return result

    async def _until_durable(self) -> None:
        assert self._writer is not None
        self.publish()
        await self._writer.wait()

    def _run_queue(self) -> None:
        """Carry out commands that wait, as far as a turn goes."""
        until_ns = stopwatch_ns() + TURN_NS
        while self._queue and self._backlog < BACKLOG_MAX:
            waiting = self._queue[0]
            try:
                result = waiting.command(waiting.now_ms, *waiting.args)
            except Exception as error:
                self._queue.popleft().fail(error)
            else:
                if result is MORE:
                    self.publish()
                    return
                self._queue.popleft().succeed(result)
            if stopwatch_ns() >= until_ns:
                return

    # -- the turn: time, delivery, the queue -------------------------------------------------------

    def _schedule(self) -> None:
        if not self._turn_scheduled and self.is_open:
            self._turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Publish and deliver what was committed; go on with what waits; set the timer."""
        self._turn_scheduled = False
        if not self.is_open:
            return
        try:
            self.publish()
            if self._sink is not None:
                self._feed_sink(self._sink)
            self.delivery.drain(stopwatch_ns() + TURN_NS, stopwatch_ns)
            # After the drain: who waited has the answer before the events of what was done.
            self._run_queue()
            self._note_told()
        finally:
            if (
                self.delivery.is_ready
                or self.shard.machine.waiting
                or (self._queue and self._backlog < BACKLOG_MAX)
            ):
                self._schedule()
            self._set_timer()

    def _note_told(self) -> None:
        """Commit who was told of what, once nothing that is due stands before it."""
        told = self.delivery.told
        while told and not self._queue:
            self._presence.mark_told(*told.pop())

    def _set_timer(self) -> None:
        due_ms = None if self._queue else self._next_due_ms()
        if due_ms == self._timer_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_ms = due_ms
        if due_ms is None:
            self._timer = None
        else:
            self._timer = self._clock.call_at(due_ms - self._ahead_ms, self._on_timer)

    def _next_due_ms(self) -> int | None:
        """When there is something to do: an end, or, to the second, something to forget."""
        due_ms = self.shard.machine.next_ms
        forget_ms = self.shard.machine.forget_ms
        if forget_ms is None:
            return due_ms
        forget_ms += FORGET_EVERY_MS - forget_ms % FORGET_EVERY_MS
        return forget_ms if due_ms is None else min(due_ms, forget_ms)

    def _on_timer(self) -> None:
        self._timer = None
        self._timer_ms = None
        if not self.is_open:
            return
        self.publish()
        now_ms = self.now_ms
        if self._queue or self.shard.tick(now_ms):
            self._queue.append(_Waiting(now_ms, self.shard.tick, (), self._loop.create_future()))
        self._schedule()

    def _is_busy(self) -> bool:
        return self._turn_scheduled or bool(self._queue)

    def _records_durable(self, count: int) -> None:
        self.delivery.durable = count
        self._schedule()

    def _journal_failed(self, error: SignalingError) -> None:
        while self._queue:
            self._queue.popleft().fail(error.again())

    # -- publishing --------------------------------------------------------------------------------

    def publish(self) -> None:
        """Find the audience of everything committed since the last time, as of now."""
        machine = self.shard.machine
        if not machine.waiting:
            return
        rests_on = 0
        if self._writer is not None:
            self._writer.write([_MACHINE + record for record in machine.records()])
            rests_on = self._writer.accepted
        for event in machine.take():
            self.delivery.post_event(event, self._audience(event), rests_on)
            if event.group_id or len(event.invitees) > 1:
                self._note_list(event)

    def _note_list(self, event: Event) -> None:
        if event.ends:
            self._presence.note_end(event.invitees, event.invite_id)
        elif event.kind in ("accepted", "rejected"):
            self._presence.note_answer(event.invitee, event.invite_id)

    def _audience(self, event: Event) -> list[Session] | None:
        """The sessions that hear an event of a group; None where the parties alone do."""
        group_id = event.group_id
        if not group_id:
            return None
        groups = self.shard.groups
        if event.parties_only:
            parties = [event.inviter, *event.invitees]
            return self.delivery.sessions_of(
                [user for user in parties if groups.is_member(group_id, user)]
            )
        audience = self._audiences.get(group_id)
        if audience is None:
            audience = self.delivery.sessions_of(groups.members(group_id))
            self._audiences[group_id] = audience
        return audience

    def _forget_audiences(self, user: str) -> None:
        for group_id in self.shard.groups.joined(user):
            self._audiences.pop(group_id, None)

    def _publish_group(
        self, record: GroupRecord, before: tuple[str, ...], actor: str, device: int
    ) -> None:
        """Queue the callbacks of a group change that was just applied."""
        self._audiences.pop(record.group_id, None)
        rests_on = 0
        if self._writer is not None:
            self._writer.write([_GROUPS + orjson.dumps(record.to_builtins())])
            rests_on = self._writer.accepted
        account = self.delivery.accounts.get(actor) if device else None
        acting = None
        if account is not None:
            acting = next((s for s in account.online if s.device_number == device), None)
        for name, parameters, audience in callbacks(record, before):
            call = Call(name, tuple(parameters.values()), record.group_id)
            self.delivery.post(call, self.delivery.sessions_of(audience), acting, rests_on)

    def _feed_sink(self, sink: Sink) -> None:
        events, receivers = self.delivery.take_all()
        if events:
            try:
                sink.deliver(events, receivers)
            except Exception:
                log_failure(sink.deliver, f"{len(events)} events")

    # -- handles -----------------------------------------------------------------------------------

    def watch(self, actor: Actor, invite_id: str) -> Watch:
        """Follow an invitation from now on; called by its handle."""
        actor.require()
        info = self.shard.machine.info(invite_id)
        if info is None:
            raise InvitationEnded("the invitation is not remembered any more: ask sooner")
        past = self.delivery.recall(invite_id)
        watch = Watch(actor, invite_id, info.statuses, self.limits.queue_max, past)
        if info.state != "open" and info.ended_position <= self.delivery.fed:
            last = past[-1] if past else None
            watch.end(Outcome(invite_id, info.state, info.reason, info.statuses, last))
        else:
            self.delivery.watchers.setdefault(invite_id, []).append(watch)
            actor.watches.add(watch)
        return watch

    def unwatch(self, actor: Actor, invite_id: str, watch: Watch) -> None:
        """Stop following an invitation."""
        actor.watches.discard(watch)
        watches = self.delivery.watchers.get(invite_id)
        if watches is not None and watch in watches:
            watches.remove(watch)
            if not watches:
                del self.delivery.watchers[invite_id]

    def call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call back at the next turn of the loop."""
        self._loop.call_soon(call, *args)

    def stats(self) -> dict[str, int]:
        """Return counts of what there is and what there was, by name."""
        self.require()
        return {
            **self.shard.machine.stats(),
            "sessions": len(self._presence.sessions),
            "groups_existing": len(self.shard.groups),
            "commands_waiting": len(self._queue),
            "deliveries_waiting": len(self.delivery),
            "watches": len(self.delivery.watchers),
            "requests_remembered": len(self.requests),
        }


class _Waiting:
    """A command that waits for its turn."""

    __slots__ = ("args", "command", "future", "now_ms")

    def __init__(
        self,
        now_ms: int,
        command: Callable[..., Any],
        args: tuple[Any, ...],
        future: asyncio.Future[Any],
    ) -> None:
        self.now_ms = now_ms
        self.command = command
        self.args = args
        self.future = future

    def succeed(self, result: Any) -> None:
        if not self.future.done():
            self.future.set_result(result)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)
            self.future.exception()  # whoever waited may have been cancelled
