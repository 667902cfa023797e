"""The people of a simulation: users at devices, who listen in several ways and act at random."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from simulation.heard import Heard

from pysignal import ConnectionListener, Invitation, Session, SignalingEvent, SignalingListener
from pysignal.groups.callbacks import GroupListener
from pysignal.streams import EventStream

if TYPE_CHECKING:
    from simulation.world import World


class Login:
    """One login of a device, from its call to its end.

    Args:
        place: whose it is.
        session: that logs in.

    Attributes:
        begun_at: commit position when the login was called: nothing older is told as new.
        entered_at: commit position when it returned: everything newer has to be told; None before.
        is_over: whether it has ended in any way.
        heard: what each listener and reader got.
    """

    def __init__(self, place: Place, session: Session) -> None:
        self.place = place
        self.session = session
        self.begun_at = place.world.hub.shard.machine.position
        self.entered_at: int | None = None
        self.is_over = False
        self.heard: list[Heard] = []

    def listen(self, style: str) -> None:
        """Add listeners before the login: a plain one, and another in the style of the place."""
        self.session.add_signaling_listener(PlainEar(self))
        self.session.add_connection_listener(ConnectionEar(self))
        self.session.add_group_listener(GroupEar(self))
        if style == "queued":
            self.session.add_signaling_listener(QueuedEar(self))

    async def read(self, events: EventStream) -> None:
        """Read events of the session, slowly, until they end."""
        world, heard = self.place.world, Heard(self, "reader")
        self.heard.append(heard)
        async for event in events:
            heard.take(event)
            if world.rng.random() < 0.3:
                await asyncio.sleep(world.rng.choice([0, 0.001, 0.3]))


class Place:
    """One device of one user.

    Attributes:
        login: the latest login; None before the first.
    """

    def __init__(self, world: World, user: str, device: str) -> None:
        self.world = world
        self.user = user
        self.device = device
        self.style = world.rng.choice(["plain", "queued", "reader"])
        self.login: Login | None = None

    def __str__(self) -> str:
        return f"{self.user}/{self.device}"

    @property
    def session(self) -> Session | None:
        """The session that is logged in."""
        login = self.login
        return login.session if login is not None and login.session.online else None

    async def come(self, start: Any) -> None:
        """Log in, in place of an older login if there is one."""
        world = self.world
        login = Login(self, world.hub.session(self.user, self.device))
        world.logins.append(login)
        login.listen(self.style)
        try:
            await login.session.login(start)
        except BaseException:
            login.is_over = True
            raise
        self.login = login
        login.entered_at = world.hub.shard.machine.position
        snapshot = login.session.snapshot
        world.trace.note(
            f"{self} snapshot",
            f"{[info.invite_id for info in snapshot.open]} "
            f"{[info.invite_id for info in snapshot.ended]}",
        )
        if self.style == "reader" and login.session.online:
            events = login.session.events()  # from now on, whenever it is read first
            world.begin(f"{self} reads", login.read(events), may_be_cancelled=False)

    async def go(self) -> None:
        """Log out."""
        if self.session is not None and self.login is not None:
            self.login.is_over = True
            await self.session.logout()


class PlainEar(SignalingListener):
    """Hears when the hub delivers, and now and then answers, raises or cancels who called it."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.heard = Heard(login, "ear")
        login.heard.append(self.heard)

    def on_signaling_event(self, event: SignalingEvent) -> None:
        world = self.login.place.world
        with world.noting():
            assert self.login.session.online, "called after the logout"
            assert not world.is_in_call, "called inside a call"
            self.heard.take(event)
        world.react(self.login.place, event)
        if world.rng.random() < 0.02:
            raise world.rng.choice([asyncio.CancelledError, LookupError])


class QueuedEar(SignalingListener):
    """Hears in its session's task, and takes its time."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.heard = Heard(login, "queued ear")
        self.is_called = False
        login.heard.append(self.heard)

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        world = self.login.place.world
        with world.noting():
            assert self.login.session.online, "called after the logout"
            assert not self.is_called, "called again before it has returned"
            self.heard.take(event)
        self.is_called = True
        try:
            if world.rng.random() < 0.3:
                await asyncio.sleep(world.rng.choice([0, 0.001, 0.5]))
            if world.rng.random() < 0.05:
                await Invitation(event.invite_id, self.login.session).outcome()
            if world.rng.random() < 0.05:
                raise LookupError
        finally:
            self.is_called = False


class ConnectionEar(ConnectionListener):
    """Hears why a login has ended."""

    def __init__(self, login: Login) -> None:
        self.login = login

    def on_disconnected(self, error: Any) -> None:
        self._end("disconnected", error)

    def on_kicked_offline(self, error: Any) -> None:
        self._end("kicked offline", error)

    def _end(self, what: str, error: Any) -> None:
        place = self.login.place
        with place.world.noting():
            assert not self.login.session.online
        self.login.is_over = True
        place.world.trace.note(str(place), f"{what} {error.code}")


class GroupEar(GroupListener):
    """Writes down what changes in groups."""

    def __init__(self, login: Login) -> None:
        self.place = login.place

    def on_group_dismissed(self, group_id: str, op_user: str) -> None:
        self.place.world.trace.note(str(self.place), f"{group_id} dismissed by {op_user!r}")

    def on_member_enter(self, group_id: str, member_list: list[str]) -> None:
        self.place.world.trace.note(str(self.place), f"{group_id} entered by {member_list}")

    def on_member_invited(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.place.world.trace.note(str(self.place), f"{group_id}: {op_user!r} adds {member_list}")

    def on_member_leave(self, group_id: str, member: str) -> None:
        self.place.world.trace.note(str(self.place), f"{group_id} left by {member}")

    def on_member_kicked(self, group_id: str, op_user: str, member_list: list[str]) -> None:
        self.place.world.trace.note(str(self.place), f"{group_id}: {member_list} removed")
