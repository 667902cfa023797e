"""What the people of a network world do, and what becomes of their connections and servers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from simulation.clients import Client

from pysignal import SignalingError, SignalingEvent
from pysignal.client.handle import RemoteInvitation

if TYPE_CHECKING:
    from simulation.network_world import Life, NetworkWorld

USERS = ("amy", "bob", "cy")
STRANGER = "dee"  # who comes to the group and leaves it
DEVICES = ("1", "2")

# Operations by what their success leaves in the truth.
EFFECTS = {
    "invite": "opened",
    "invite_in_group": "opened",
    "accept": "accepted",
    "reject": "rejected",
    "cancel": "cancelled",
    "modify_invitation": "modified",
}

PEOPLE = (
    "invite invite invite invite group accept accept reject cancel modify outcome follow twice "
    "forget rename change come come return go"
).split()
TROUBLE = "cut cut silence stall stall go_on kill dials crash restart".split()


class Called:
    """One call of an operation by a client, and what it gave.

    Attributes:
        data: what it carries; no other call has it, but one with the same request ID.
        life: of the server as it was made.
        result: "answered", "refused" or "forgotten"; None while it waits.
        value: the result, or the code of the refusal.
    """

    def __init__(self, client: Client, method: str, data: str, invite_id: str, life: int) -> None:
        self.client = client
        self.method = method
        self.data = data
        self.invite_id = invite_id
        self.life = life
        self.began_ns = client.world.loop.now_ns
        self.result: str | None = None
        self.value: Any = None

    def __repr__(self) -> str:
        return f"{self.client} {self.method} {self.invite_id} {self.data}"


class ClientActs:
    """The part of a world that acts; see `NetworkWorld` for what it stands on."""

    rng: random.Random
    clients: list[Client]
    calls: list[Called]
    waiting: dict[str, list[Called]]  # calls by what they carry
    waits: list[asyncio.Task[Any]]
    life: Life | None
    names: list[str]
    world: NetworkWorld
    is_quiet = False
    _data = 0

    def act(self: Any) -> None:
        """Begin something drawn at random."""
        rng = self.rng
        if rng.random() < self.trouble:
            getattr(self, f"_{rng.choice(TROUBLE)}")()
            return
        name = rng.choice(PEOPLE)
        if name in ("come", "change", "rename"):
            getattr(self, f"_{name}")()
            return
        there = [client for client in self.clients if not client.is_gone]
        if there:
            client = rng.choice(there)
            self.do(client, name, self.draw_invite_id(client.user, name))

    def react(self: Any, client: Client, event: SignalingEvent) -> None:
        """Do something about an event now and then; called in the process of the client."""
        name = self.rng.choice(["accept", "reject", "outcome", *[""] * 6])
        if name and not client.is_gone and not self.is_quiet:
            self.do(client, name, event.invite_id)

    def draw_invite_id(self: Any, user: str, name: str) -> str:
        """Draw an invitation to do something about: mostly one for which that may be done."""
        rng = self.rng
        if self.life is not None and rng.random() < 0.7:
            machine = self.life.hub.shard.machine
            found = (machine.opened_by if name in ("cancel", "modify") else machine.pending_of)(
                user
            )
            if found:
                return str(rng.choice(found).invite_id)
        known = list(self.known)[-6:]
        return str(rng.choice(known)) if known else "none"

    def do(self: Any, client: Client, name: str, invite_id: str) -> None:
        """Let a client do something."""
        session = client.session
        if name in ("return", "go"):
            if name == "go" and session.online:
                client.process.spawn(client.go(), "logout")
            elif name == "return" and session._link is None:
                client.process.spawn(client.come(self.rng.choice(["hot", "hot", "cold"])), "login")
            return
        if not session.online:
            return
        if name in ("outcome", "follow"):
            work = self._outcome if name == "outcome" else self._follow_far
            self.waits.append(client.process.spawn(work(client, invite_id), name))
            return
        if name in ("twice", "forget"):
            called, operation = self._operation(client, "invite", invite_id)
        else:
            called, operation = self._operation(client, name, invite_id)
        if name == "twice":
            request_id = f"request {called.data}"
            other = self.rng.choice([each for each in self.clients if each.user == client.user])
            again = Called(other, called.method, called.data, "", called.life)
            self._begin(called, operation(client, request_id=request_id))
            if other.session.online:
                self._begin(again, operation(other, request_id=request_id))
            return
        task = self._begin(called, operation(client))
        if name == "forget":
            client.process.call_later(self.rng.choice([0, 0.001, 0.1]), task.cancel)

    def _operation(
        self: Any, client: Client, name: str, invite_id: str
    ) -> tuple[Called, Callable[..., Any]]:
        """An operation with its arguments; whose and with which request ID is still to come."""
        rng = self.rng
        self._data += 1
        data = f"d{self._data}"
        life = self.lives - 1
        if name in ("invite", "group"):
            options = {
                "timeout": rng.choice([0, 0.5, 2, 7.5, 30]),
                "online_user_only": rng.random() < 0.2,
            }
            others = [user for user in (*USERS, STRANGER) if user != client.user]
            users = rng.sample(others, rng.choice([1, 1, 2]))
            if name == "invite":
                return Called(client, "invite", data, "", life), (
                    lambda who, **more: who.session.signaling.invite(users, data, **options, **more)
                )
            notify = rng.choice(["members", "members", "parties"])
            return Called(client, "invite_in_group", data, "", life), (
                lambda who, **more: who.session.signaling.invite_in_group(
                    "g", users, data, notify=notify, **options, **more
                )
            )
        method = "modify_invitation" if name == "modify" else name
        if name == "accept":
            self.consents.add((client.user, invite_id))
        return Called(client, method, data, invite_id, life), (
            lambda who, **more: getattr(who.session.signaling, method)(invite_id, data, **more)
        )

    def _begin(self: Any, called: Called, call: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self.calls.append(called)
        self.waiting.setdefault(called.data, []).append(called)
        self.trace.note(called.client.name, f"calls {called}")
        task: asyncio.Task[Any] = called.client.process.spawn(self._run(called, call), repr(called))
        task.add_done_callback(lambda _: self._ended(called, call))
        return task

    def _ended(self: Any, called: Called, call: Coroutine[Any, Any, Any]) -> None:
        call.close()  # it may never have begun
        called.result = called.result or "forgotten"

    async def _run(self: Any, called: Called, call: Coroutine[Any, Any, Any]) -> None:
        try:
            value = await call
        except asyncio.CancelledError:
            called.result = "forgotten"
            raise
        except SignalingError as error:
            called.result, called.value = "refused", error.code
            self.trace.note(called.client.name, f"{called} refused {error.code}")
        except Exception as error:
            self.broken.append(f"{called} raised {error!r}")
        else:
            called.result, called.value = "answered", value
            if called.method in ("invite", "invite_in_group"):
                called.invite_id = str(value)
                self.learn(called.invite_id)
            self.trace.note(called.client.name, f"{called} answered")
        with self.noting():
            self.judge_call(called)

    async def _outcome(self: Any, client: Client, invite_id: str) -> None:
        try:
            outcome = await RemoteInvitation(invite_id, client.session).outcome()
        except SignalingError as error:
            self.trace.note(client.name, f"outcome of {invite_id} refused {error.code}")
            return
        said = outcome.state, outcome.reason, dict(outcome.statuses)
        with self.noting():
            key = invite_id, 0 if self.journal is not None else self.lives - 1
            before = self.outcomes.setdefault(key, said)
            assert before == said, f"{client}: {invite_id} ended as {before}, then as {said}"
        self.trace.note(client.name, f"outcome of {invite_id}: {said}")

    async def _follow_far(self: Any, client: Client, invite_id: str) -> None:
        last = 0
        try:
            async for event in RemoteInvitation(invite_id, client.session):
                with self.noting():
                    assert event.seq > last, f"{client} follows {invite_id}: {event.seq} twice"
                    # A server that begins does not know what the last one has told.
                    follows = not last or event.seq == last + 1 or self.lives > 1
                    assert follows, f"{client} misses one of {invite_id}"
                last = event.seq
        except SignalingError as error:
            self.trace.note(client.name, f"following {invite_id} refused {error.code}")
        else:
            self.trace.note(client.name, f"followed {invite_id} to its end")

    # -- people ------------------------------------------------------------------------------------

    def _come(self: Any) -> None:
        """A new process of a device; an older one that is there is in for a surprise."""
        user, device = self.rng.choice([(u, d) for u in (*USERS, STRANGER) for d in DEVICES])
        client = Client(self, len(self.clients), user, device)
        self.clients.append(client)
        client.process.spawn(client.come("cold"), "login")

    def _kill(self: Any) -> None:
        """A process dies; another one of its device may follow."""
        there = [client for client in self.clients if not client.is_gone]
        if there:
            client = self.rng.choice(there)
            self.trace.note(client.name, "is killed")
            self.end_client(client)

    def end_client(self: Any, client: Client) -> None:
        """Let a client's process die."""
        client.is_gone = True
        client.process.kill()
        self.network.crash(client.process)

    # -- the server and what is beside it ----------------------------------------------------------

    def _rename(self: Any) -> None:
        self._data += 1
        name = f"n{self._data}"
        if self.life is not None:
            groups = self.life.hub.acting_as("amy").groups
            self.life.begin(groups.set_group_info("g", name=name))

    def _change(self: Any) -> None:
        if self.life is not None:
            groups = self.life.hub.groups
            change = groups.add if self.rng.random() < 0.5 else groups.remove
            self.life.begin(change("g", [STRANGER]))

    # -- trouble -----------------------------------------------------------------------------------

    def _draw_link(self: Any) -> Any:
        return self.rng.choice(list(self.network.links)) if self.network.links else None

    def _cut(self: Any) -> None:
        link = self._draw_link()
        if link is not None:
            self.trace.note(repr(link), "breaks")
            link.cut()

    def _silence(self: Any) -> None:
        link = self._draw_link()
        if link is not None:
            self.trace.note(repr(link), "breaks in silence")
            link.cut(in_silence=True)

    def _stall(self: Any) -> None:
        link = self._draw_link()
        if link is not None:
            self.trace.note(repr(link), "stalls")
            link.stall()
            if self.life is not None and self.rng.random() < 0.5:
                client = self.watched.client_of(link.client)
                self.life.begin(self._ring_often(self.life, client.user))

    async def _ring_often(self: Any, life: Life, user: str) -> None:
        """Let a user be rung more often than a slow reader can take."""
        other = life.hub.acting_as("amy" if user != "amy" else "bob")
        for _ in range(6):
            self.learn(await other.signaling.invite(user, "again and again", timeout=2))
            await asyncio.sleep(0.002)

    def _go_on(self: Any) -> None:
        for link in self.network.links:
            link.go_on()

    def _dials(self: Any) -> None:
        self.network.fails = self.rng.choice([0, 0.5, 0.9])

    def _crash(self: Any) -> None:
        if self.life is not None and self.crashes > 0:
            self.crashes -= 1
            self.trace.note("server", "crashes")
            self.end_life()

    def _restart(self: Any) -> None:
        if self.life is not None and self.crashes > 0:
            self.crashes -= 1
            self.trace.note("server", "stops")
            self.stop_life()
