"""The hub: sessions, commands and delivery on one event loop; what a server embeds.

Data goes one way. A command comes in with its actor and the time of its arrival; the shard decides
and applies it at once; what was committed is published: each event finds the sessions that hear it
as of then. Once a turn of the loop the events are delivered. With a journal, answers and events
leave only when the records that they rest on are durable.

One loop timer stands for all deadlines: it is set to the next thing that is due.
"""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any, Final, Self, TypeVar

from pysignal import text
from pysignal.clock import Clock, Timer, stopwatch_ns
from pysignal.closing import end
from pysignal.commands import Commands
from pysignal.courier import Courier, log_failure
from pysignal.delivery import Delivery
from pysignal.engine.entropy import Entropy
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.engine.views import InvitationInfo
from pysignal.errors import (
    HubClosed,
    InvalidParameter,
    KickedOff,
    NotLoggedIn,
    SignalingError,
)
from pysignal.following import Followers, Watch
from pysignal.groups.decisions import Groups
from pysignal.groups.operations import ServerGroups
from pysignal.journal import Journal, LogJournal, entries
from pysignal.journal.writer import Writer
from pysignal.limits import Limits
from pysignal.listeners import SignalingListener
from pysignal.presence import Presence
from pysignal.publisher import Publisher
from pysignal.recovery import Recovery
from pysignal.requests import Requests
from pysignal.saving import Saving
from pysignal.server_acts import ServerActs
from pysignal.session import Session, Start
from pysignal.shard import MORE, LookUp, Shard
from pysignal.sink import Sink

_Item = TypeVar("_Item")

# How long a drain of deliveries keeps the loop.
TURN_NS: Final = 1_000_000

# Who was told of what without a deadline, that is committed in one turn of the loop.
TOLD_PER_TURN: Final = 1024

# Room in a journal for the record by which an invitee ends, bytes.
END_BYTES: Final = 128

# How often memory of what has ended is given back.
FORGET_EVERY_MS: Final = 1000


class Hub(ServerActs):
    """Invitations, groups and sessions of one server, on one event loop.

    Use it as `async with Hub() as hub`.

    Args:
        journal: keeps what is decided: a folder, which is made where there is none, or a journal
            of another sort; None to keep nothing.
        clock: the source of time; a `VirtualClock` for tests.
        limits: what is allowed.
        sink: takes the events instead of the sessions' listeners.
        shard: 0 to 4095, part of every invite ID; each hub of a cluster has its own.
        seed: makes invite IDs repeatable, for simulations only; None for unpredictable ones.

    Attributes:
        groups: groups whose members the server owns.
        limits: what is allowed.
        now_ms: engine time, ms since the epoch.
    """

    def __init__(
        self,
        *,
        journal: Journal | str | PathLike[str] | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        sink: Sink | None = None,
        shard: int = 0,
        seed: int | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.groups = ServerGroups(self)
        self._couriers: dict[Courier, None] = {}
        self._journal = LogJournal(journal) if isinstance(journal, (str, PathLike)) else journal
        self._saving: Saving | None = None
        self._clock = clock or Clock()
        self._sink = sink
        self._shard_number = shard
        self._seed = seed
        self._was_open = self._is_ready = self._is_given_up = False
        self._opening = asyncio.Event()
        self._opening.set()
        self._ahead_ms = 0
        self._closing: asyncio.Task[None] | None = None
        self._closers: set[asyncio.Task[Any] | None] = set()

    # -- opening and closing -----------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Hub shard {self._shard_number} {'open' if self.is_open else 'not open'}>"

    async def open(self) -> None:
        """Begin, on the running event loop; with a journal, from what it holds.

        Raises:
            JournalInUse, JournalDamaged, UnknownVersion: as they say; nothing was changed.
            OSError: the journal cannot be read or written.
        """
        if self._was_open:
            raise HubClosed("a hub is opened once: make a new one")
        self._was_open = True
        self._opening.clear()
        try:
            await self._open()
        finally:
            self._opening.set()

    async def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._delivery = Delivery(log_failure)
        self._timer: Timer | None = None
        self._timer_ms: int | None = None
        groups = Groups(self.limits.group_members)
        self._requests = Requests(
            lambda: self.now_ms,
            round(self.limits.requests_keep_s * 1000),
            self.limits.requests_max,
            self._journal is not None,
        )
        if self._journal is None:
            self._begin(self._new_machine(None), groups)
        else:
            await self._recover(self._journal, groups)
        self._clock.attach(self._is_busy)
        self._is_ready = True
        self._has_room()  # what a journal has brought back needs room to end
        self._schedule()

    async def _recover(self, journal: Journal, groups: Groups) -> None:
        """Begin from what a journal holds."""
        await journal.open()
        try:
            recovery = Recovery(self._new_machine, self._shard_number, groups, self._requests)
            machine = await recovery.read(journal)
            # Engine time goes on from the last commit, even where the clock has stepped back since.
            self._ahead_ms = max(machine.now_ms, recovery.last_ms) - self._clock.now_ms()
            self._ahead_ms = max(self._ahead_ms, 0)
            self._begin(machine, groups)
            await recovery.finish(self._presence, self.now_ms)
            if self._is_given_up:
                raise HubClosed("the hub was closed while it was being opened")
        except BaseException:
            await journal.close()
            raise

    def _begin(self, machine: Machine, groups: Groups) -> None:
        """Put together what carries out, tells and records, around a state."""
        self._delivery.fed = machine.position
        self._followers = Followers(self._delivery, machine)
        self._writer = self._new_writer(machine)
        self._presence = Presence(
            machine, self._delivery, self.limits, None if self._writer is None else self._record
        )
        self._publisher = Publisher(
            machine, groups, self._delivery, self._presence, self._requests, self._writer
        )
        self._publish = self._publisher.publish
        self.shard = Shard(
            machine, groups, self._publish, self._publisher.publish_group, self._has_room
        )
        self._commands = Commands(
            self._clock,
            self._ahead_ms,
            machine,
            self._delivery,
            self._publisher,
            self._turn,
            self._writer,
            self.limits.data_bytes_max,
        )
        self._perform = self._commands.perform
        self._schedule = self._commands.schedule
        if self._journal is not None and self._writer is not None:
            self._saving = Saving(
                self._journal,
                self._writer,
                self._until_durable,
                lambda: self.now_ms,
                entries.of_key(machine.id_key, self._shard_number),
                machine,
                groups,
                self._requests,
                self._presence,
            )

    def _new_writer(self, machine: Machine) -> Writer | None:
        if self._journal is None:
            return None
        writer = Writer(self._journal, self._flush, self._records_durable, self._journal_failed)
        self._delivery.durable = writer.durable
        if not writer.accepted:
            writer.write([entries.of_key(machine.id_key, self._shard_number)])
        return writer

    def _new_machine(self, key: bytes | None) -> Machine:
        limits = self.limits
        return Machine(
            key=key,
            entropy=Entropy(self._seed),
            shard=self._shard_number,
            now_ms=self._clock.now_ms() if key is None else 0,
            capacity=limits.open_max,
            users_max=limits.users_max,
            groups_max=limits.groups_max,
            invitees_max=limits.invitees_max,
            ended_max=limits.ended_max,
            ended_keep_ms=round(limits.ended_keep_s * 1000),
            lifetime_ms=round(limits.lifetime_s * 1000),
            journaled=self._journal is not None,
        )

    async def close(self) -> None:
        """End: deliver what was committed, then log every session out. Invitations stay open.

        From its first moment on every call is refused (6013). Closing again waits for the end.
        """
        self._require_thread()
        if not self._is_ready:  # it was never opened, or could not be, or is being opened
            self._is_given_up = True
            await self._opening.wait()
            return
        if self._closing is None:
            self._commands.is_open = False
            self._closing = self._loop.create_task(end(self))
        self._closers.add(asyncio.current_task())
        await asyncio.shield(self._closing)

    def _require(self) -> None:
        """Refuse a call to a hub that is not open, or from another thread."""
        if not self.is_open:
            raise HubClosed("the hub is not open: use it inside `async with Hub() as hub`")
        self._require_thread()

    def _require_thread(self) -> None:
        """Refuse a call from another thread than the hub's."""
        if self._was_open and threading.get_ident() != self._thread:
            raise RuntimeError(
                "called from another thread than the hub's: use "
                "asyncio.run_coroutine_threadsafe(…, loop) or loop.call_soon_threadsafe(…)"
            )

    @property
    def is_open(self) -> bool:
        """Whether calls are taken: after `open`, until `close`."""
        return self._is_ready and self._commands.is_open

    @property
    def _history(self) -> int:
        """A number for the history that this hub goes on with: that of its journal."""
        return zlib.crc32(self.shard.machine.id_key)

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
        try:
            await session.login(start)
        except BaseException:
            # Nobody has the session: it must not stay online, nor come online later.
            session._abandon()
            raise
        return session

    async def _log_in(self, session: Session, cold: bool, told: int | None = None) -> None:
        """Bring a session online; called by `Session.login`.

        Args:
            session: offline.
            cold: a new process, which is told again.
            told: commit position up to which the device says that it has heard everything.
        """
        self._require()
        session._commands = self._commands
        found = LookUp(lambda: self._presence.party_to(session.user_id))
        await self._perform(self._enter, session, cold, told, found)

    def _enter(
        self, now_ms: int, session: Session, cold: bool, told: int | None, found: LookUp
    ) -> Any:
        if session.online:
            raise InvalidParameter("session", "it is logged in already: log it out first")
        if session._is_abandoned:
            raise NotLoggedIn("the login was given up")
        if self.shard.tick(now_ms):
            return MORE
        self._publish()
        if found.go_on(self.shard.machine) or self._note_told():
            return MORE
        self._publisher.came(session)
        try:
            replaced = self._presence.enter(
                session, now_ms, cold, told, found.found, lambda: self._publisher.rests_on
            )
        except BaseException:
            self._publisher.went(session)
            raise
        if replaced is not None:
            self._publisher.went(replaced)
            replaced._ended(
                KickedOff("another login of the same device took its place"), "on_kicked_offline"
            )
        return None

    def _log_out(
        self,
        session: Session,
        error: SignalingError,
        callback: str = "",
        missed: Sequence[Event] = (),
    ) -> None:
        """Take a session offline; called by the session."""
        self._catch_up()
        self._publish()
        self._presence.leave(session, self.now_ms, missed)
        self._publisher.went(session)
        session._ended(error, callback)

    def _is_told(self, actor: Any, invite_id: str) -> bool:
        """Whether a session knows an open invitation; an act of the server knows all."""
        return not isinstance(actor, Session) or self._presence.is_told(actor, invite_id)

    def _tell(self, actor: Any, info: InvitationInfo) -> None:
        """Count an open invitation as told to a session."""
        self._presence.tell(actor, info.invite_id)
        if info.no_deadline and not info.group_id:
            self._presence.mark_told(info.invite_id, actor.user_id)

    # -- the turn: time, delivery, the queue -------------------------------------------------------

    def _turn(self) -> None:
        """Publish and deliver what was committed; go on with what waits; set the timer."""
        self._commands.is_scheduled = False
        if not self.is_open:
            return
        try:
            self._flush()
            self._deliver()
            # After the drain: who waited has the answer before the events of what was done.
            self._commands.run()
            # Not while a command waits: something due may stand before it.
            if not self._commands and self._note_told():
                self._schedule()
        finally:
            if (
                self._delivery.is_ready
                or self._publisher.is_behind
                or self._commands.is_ready
                or (self._writer is not None and self._writer.wants_flush)
            ):
                self._schedule()
            self._set_timer()

    def _note_told(self) -> bool:
        """Commit who was told of what; nothing that is due may stand before it.

        Returns:
            Whether there is more to commit.
        """
        told = self._delivery.told
        for invite_id, user in told[:TOLD_PER_TURN]:
            self._presence.mark_told(invite_id, user)
        del told[:TOLD_PER_TURN]
        return bool(told)

    def _set_timer(self) -> None:
        due_ms = None if self._commands else self._next_due_ms()
        if due_ms == self._timer_ms:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_ms = None
        if due_ms is not None:
            self._timer = self._clock.call_at(due_ms - self._ahead_ms, self._on_timer)
            self._timer_ms = due_ms

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
        try:
            self._publish()
            self._catch_up()
        finally:
            self._schedule()

    def _catch_up(self) -> None:
        """End what is due now, or leave it to a command in its turn where that is much."""
        now_ms = self.now_ms
        if self._commands or self.shard.tick(now_ms):
            self._commands.append(now_ms, self.shard.tick)
        self._schedule()

    def _is_busy(self) -> bool:
        return self._commands.is_scheduled or self._commands.is_ready

    def _flush(self) -> None:
        """Publish what was committed, and hand it to the journal."""
        self._publish()
        if self._writer is not None:
            self._writer.flush()

    def _record(self, entry: bytes) -> None:
        """Record something beside what the machine commits."""
        if self._writer is not None:
            self._writer.write([entry])
            self._schedule()

    async def _until_durable(self) -> None:
        """Wait until all that was committed is durable."""
        durable = self._commands.until_durable()
        if durable is not None:
            await durable

    async def _until_delivered(self) -> None:
        """Wait until all that was committed is durable, and was handed to whoever hears it."""
        await self._until_durable()
        self._publish()
        posted = self._delivery.posted
        while self._delivery.posted - len(self._delivery) < posted:
            self._require()
            self._schedule()
            await asyncio.sleep(0)
            await self._until_durable()

    def _has_room(self) -> bool:
        """Whether the journal has room for more than the ends of what is open."""
        if self._journal is None:
            return True
        self._journal.keep_free(self.shard.machine.pending_count * END_BYTES)
        self._commands.has_room = not self._journal.is_full
        return self._commands.has_room

    def _records_durable(self, count: int) -> None:
        self._delivery.durable = max(count, self._delivery.durable)
        self._has_room()
        if self._saving is not None:
            self._saving.look()
        self._schedule()

    def _journal_failed(self, error: SignalingError) -> None:
        self._commands.has_failed = True
        for waiting in self._commands.drop():
            waiting.fail(error.again())
        for watch in self._followers:
            watch.fail(error)

    def _deliver(self) -> bool:
        """Hand over what may leave, as far as a turn goes; whether there is more."""
        if self._sink is None:
            return self._delivery.drain(stopwatch_ns() + TURN_NS, stopwatch_ns)
        events, receivers = self._delivery.take_all()
        if events:
            try:
                self._sink.deliver(events, receivers)
            except Exception:
                log_failure(self._sink.deliver, f"{len(events)} events")
        return self._delivery.is_ready

    # -- handles -----------------------------------------------------------------------------------

    def _watch(self, watch: Watch) -> tuple[InvitationInfo, bool]:
        """Enter a follower of an invitation; see `Followers.enter`."""
        watch.actor._require()
        if self._writer is not None:
            self._writer.require()
        self._catch_up()
        return self._followers.enter(watch)

    def _call_soon(self, call: Callable[..., object], *args: Any) -> None:
        """Call back at the next turn of the loop."""
        self._loop.call_soon(call, *args)

    def stats(self) -> dict[str, int]:
        """Return counts of what there is and what there was, by name."""
        self._require()
        return {
            **self.shard.machine.stats(),
            "sessions": self._presence.online_count,
            "groups_existing": len(self.shard.groups),
            "commands_waiting": len(self._commands),
            "deliveries_waiting": len(self._delivery),
            "watches": len(self._followers),
            "requests_remembered": len(self._requests),
            "records_waiting": 0 if self._writer is None else self._writer.waiting,
        }
