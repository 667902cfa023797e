"""The clients of a network world: processes with a session of the server each, and ears.

Whatever a client hears is judged at once, over all its connections and logins: nothing twice, in
the order of the commits, nothing after an end, nothing after the session has ended.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

from simulation.heard import words
from simulation.processes import Process

from pysignal import ConnectionListener, RemoteSession, SignalingError, SignalingEvent
from pysignal.groups.callbacks import GroupListener
from pysignal.listeners import SignalingListener
from pysignal.streams import EventStream

if TYPE_CHECKING:
    from simulation.network_world import NetworkWorld

STYLES = ("plain", "plain", "queued", "reader")


class Heard:
    """What a session hears, far away or embedded.

    Args:
        world: whose trace it goes to.
        who: for messages.
        user, device: whose session it is.
    """

    def __init__(self, world: NetworkWorld, who: str, user: str, device: str) -> None:
        self.world = world
        self.who = who
        self.user = user
        self.device = device
        self.positions: set[tuple[int, int]] = set()
        self.events: dict[tuple[int, int], SignalingEvent] = {}
        self.since = 0
        self.renames: list[str] = []
        self.renames_from = 0
        self.last: tuple[int, int] = (-1, 0)
        self._rung: set[str] = set()
        self._ended: set[str] = set()
        self._settled: set[tuple[str, str]] = set()

    def begin_cold(self) -> None:
        """Forget what was rung: a new process is told again."""
        self._rung.clear()

    def take(self, event: SignalingEvent) -> None:
        """Judge an event.

        Raises:
            AssertionError: it must not have been told, or not now.
        """
        world = self.world
        world.trace.note(self.who, words(event))
        at = world.life_at(event.time), event.position
        assert event.invite_id not in self._ended, f"{self.who} hears after the end: {words(event)}"
        if event.kind == "opened":
            assert event.invite_id not in self._rung, f"{self.who} is rung twice: {words(event)}"
            self._rung.add(event.invite_id)
        if event.kind in ("accepted", "rejected", "timed_out", "cancelled"):
            for invitee in event.affected:
                pair = event.invite_id, invitee
                assert pair not in self._settled, f"{self.who} hears two ends: {words(event)}"
                self._settled.add(pair)
        if event.ends:
            self._ended.add(event.invite_id)
        if not event.replayed:
            assert at > self.last, f"{self.who}, twice or out of order: {words(event)}"
            assert (event.actor, event.device) != (self.user, self.device), (
                f"{self.who} hears of what it did: {words(event)}"
            )
            self.last = at
            self.positions.add(at)
            self.events[at] = event
        world.learn(event.invite_id)

    def rename(self, name: str) -> None:
        """Judge a change of the group's name, each of which is of its own."""
        self.world.trace.note(self.who, f"g is {name}")
        assert name not in self.renames, f"{self.who} hears twice that g is {name}"
        self.renames.append(name)


class Client:
    """One process of a user's device.

    Attributes:
        session: of the server.
        heard: by its listeners.
        style: in which way it hears.
        reader: reads the events of the last login, where that is its style.
        stays: whether its token never expires.
        came_ns: when its session was last connected.
        is_gone: whether it was killed, or has left for good.
    """

    def __init__(self, world: NetworkWorld, number: int, user: str, device: str) -> None:
        self.world = world
        self.user = user
        self.device = device
        self.number = number
        rng = random.Random(f"client {number} of {world.seed}")
        self.name = f"{user}/{device}.{number}"
        self.process = Process(world.loop, self.name)
        self.style = rng.choice(STYLES)
        self.heard = Heard(world, self.name, user, device)
        self.timeout_s = rng.choice([2.0, 10.0])
        self.numbers: dict[str, set[int]] = {}  # of the requests that carried some data
        self.answers: dict[int, dict[str, Any]] = {}  # that have arrived, by number
        self.answered_ns: dict[int, int] = {}  # when
        self.is_gone = False
        self.came_ns = 0
        token = world.tokens.source(user, rng)
        self.reader: asyncio.Task[Any] | None = None
        self.stays = isinstance(token, str) and token.endswith(" 0")
        self.session = RemoteSession(
            "ws://simulated",
            user,
            token,
            device_id=device,
            call_timeout=self.timeout_s,
            queue_max=rng.choice([1, 3, 1024]),
            rng=rng,
            dial=lambda peer: world.network.dial(self.process, peer),
        )
        self.session.add_connection_listener(ConnectionEar(self))
        self.session.add_group_listener(GroupEar(self.heard))
        if self.style == "plain":
            self.session.add_signaling_listener(PlainEar(self))
        elif self.style == "queued":
            self.session.add_signaling_listener(QueuedEar(self))

    def __repr__(self) -> str:
        return self.name

    @property
    def client_name(self) -> str:
        """How the server knows the process."""
        return self.session._client

    async def come(self, start: Any) -> None:
        """Log in."""
        world = self.world
        if start == "cold":
            self.heard.begin_cold()
        world.trace.note(self.name, f"comes {start}")
        if self.reader is not None:  # it may have something left of the last login
            await asyncio.wait({self.reader})
            if self.session._link is not None:
                return
        try:
            await self.session.login(start)
        except SignalingError as error:
            world.trace.note(self.name, f"login refused {error.code}")
            return
        if self.style == "reader" and self.session.online:
            events = self.session.events()  # from now on, whenever it is read first
            self.reader = self.process.spawn(self._read(events), f"{self} reads")

    async def _read(self, events: EventStream) -> None:
        world = self.world
        async for event in events:
            with world.noting():
                self.take(event)
            world.react(self, event)
            if world.rng.random() < 0.4 and not world.is_quiet:
                await asyncio.sleep(world.rng.choice([0, 0.001, 0.5, 2]))

    def take(self, event: SignalingEvent) -> None:
        """Judge an event, also by what the client has asked for itself."""
        self.heard.take(event)
        world = self.world
        data = world.opened.get(event.invite_id)
        same = world.waiting.get(data, []) if data else []
        if any(called.client is not self for called in same):
            return  # one request of two devices, of which one may be told of the other
        assert not same or any(called.result is not None for called in same), (
            f"{self} hears of {event.invite_id} before {same} is answered: {words(event)}"
        )

    async def go(self) -> None:
        """Log out."""
        try:
            await self.session.logout()
        except SignalingError as error:
            self.world.trace.note(self.name, f"logout refused {error.code}")
        else:
            self.world.trace.note(self.name, "has logged out")


class PlainEar(SignalingListener):
    """Hears when the session delivers."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def on_signaling_event(self, event: SignalingEvent) -> None:
        client = self.client
        with client.world.noting():
            assert client.session.online, f"{client} is called after its end: {words(event)}"
            client.take(event)
        client.world.react(client, event)


class QueuedEar(SignalingListener):
    """Hears in its session's task, and takes its time."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        client = self.client
        world = client.world
        with world.noting():
            assert client.session.online, f"{client} is called after its end: {words(event)}"
            client.take(event)
        world.react(client, event)
        if world.rng.random() < 0.4 and not world.is_quiet:
            await asyncio.sleep(world.rng.choice([0, 0.001, 0.5, 2]))


class ConnectionEar(ConnectionListener):
    """Hears of connections and of the end."""

    def __init__(self, client: Client) -> None:
        self.client = client

    def _note(self, what: str) -> None:
        self.client.world.trace.note(self.client.name, what)

    def on_connecting(self) -> None:
        self._note("connecting")

    def on_connected(self) -> None:
        session = self.client.session
        self.client.came_ns = self.client.world.loop.now_ns
        if not session.recovered:
            heard = self.client.heard
            heard.renames_from = len(heard.renames)
        self._note(f"connected, recovered {session.recovered}")

    def on_disconnected(self, error: Any) -> None:
        how = "lost its connection" if self.client.session.online else "disconnected"
        self._note(f"{how} {error.code}")

    def on_kicked_offline(self, error: Any) -> None:
        self._note("kicked offline")

    def on_token_expired(self) -> None:
        self._note("token expired")


class GroupEar(GroupListener):
    """Hears of the group's names."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def on_group_info_changed(self, group_id: str, changes: dict[str, str]) -> None:
        with self.heard.world.noting():
            self.heard.rename(changes["name"])


class ObserverEar(SignalingListener):
    """Hears in the server's process what a session of the same user should hear."""

    def __init__(self, heard: Heard) -> None:
        self.heard = heard

    def on_signaling_event(self, event: SignalingEvent) -> None:
        with self.heard.world.noting():
            self.heard.take(event)
