"""Consent at the hub: no session but the invitee's makes ACCEPTED (A3, A4), over all sequences.

Here is what sessions of others and the embedding server may do, and what the invitee does beside
accepting: answers with an ID that they know, pushes that they count as told, logins, group changes,
time, asking again, and the end of the hub and another one on its journal. All sequences up to a
length are explored, by way of the states that they lead to.

Two sequences that lead to one state are gone on with once. A state is all that a hub keeps: the
hash of invitations, which covers position and time, that of groups, and of every device whether it
is online and what it was told. (Results of request IDs are kept too, but no request has one here.)
What leaves this as it was leads nowhere new. Each state is made by doing its sequence to a new hub,
so that no state is changed by looking at it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from ears import Ear

from pysignal import Hub, Limits, Session, SignalingError, SignalingInfo, VirtualClock
from pysignal.journal import MemoryJournal

pytestmark = pytest.mark.anyio

INVITER, INVITEE, OTHER, GROUP = "amy", "bob", "carol", "g"
USERS = (INVITER, INVITEE, OTHER)
TIMEOUT_S = 1.0
LENGTH = 3
# Group, who is invited beside the invitee, and whether only who is online is told: then a device
# that comes later may count a push as told.
SHAPES: dict[str, tuple[str, list[str], bool]] = {
    "one": ("", [], False),
    "online only": ("", [], True),
    "list": ("", [OTHER], False),
    "group": (GROUP, [OTHER], False),
}


class Scene:
    """A hub with three users online, and what they ask of each other.

    Attributes:
        names: the invitations so far.
        accepted: who was ever seen or heard to have accepted.
    """

    def __init__(self, shape: str) -> None:
        self.group, self.others, self.online_only = SHAPES[shape]
        self.clock = VirtualClock()
        self.journal = MemoryJournal()
        self.names: list[str] = []
        self.accepted: set[str] = set()
        self.ears: list[Ear] = []

    async def begin(self) -> None:
        await self.open()
        await self.hub.groups.put(GROUP, USERS)
        await self.invite()

    async def open(self) -> None:
        """Open a hub on the journal, with everybody online."""
        limits = Limits(lifetime_s=TIMEOUT_S, ended_keep_s=TIMEOUT_S)
        self.hub = Hub(journal=self.journal, clock=self.clock, limits=limits, seed=len(self.names))
        await self.hub.open()
        self.sessions: dict[str, Session] = {}
        for user in USERS:
            await self.log_in(user, "cold")

    async def restart(self) -> None:
        await self.hub.close()
        await self.open()

    async def log_in(self, user: str, start: Any) -> None:
        ear = Ear()
        self.ears.append(ear)
        self.sessions[user] = await self.hub.login(user, start=start, listener=ear)

    async def invite(self) -> None:
        signaling = self.sessions[INVITER].signaling
        users = [INVITEE, *self.others]
        options: dict[str, Any] = {"timeout": TIMEOUT_S, "online_user_only": self.online_only}
        if self.group:
            name = await signaling.invite_in_group(self.group, users, **options)
        else:
            name = await signaling.invite(users, **options)
        self.names.append(str(name))

    def info(self, name: str) -> SignalingInfo:
        return SignalingInfo(name, INVITER, self.group, [INVITEE, *self.others])

    async def do(self, operation: Operation, name: str) -> None:
        """Do something, refused or not, and look at who has accepted."""
        with contextlib.suppress(SignalingError):
            await operation(self, name)
            await self.clock.settle()
        for name in self.names:
            info = self.hub.shard.machine.info(name)
            for user, status in info.statuses.items() if info is not None else ():
                if status == "accepted":
                    self.accepted.add(user)
        for ear in self.ears:
            for callback in ear.take():
                if callback[0] == "invitee_accepted":
                    self.accepted.add(callback[2])

    def state(self) -> tuple[object, ...]:
        """All that the hub keeps."""
        shard = self.hub.shard
        devices = [
            (user, name, device.session is not None, device.left_position, device.left_ms,
             sorted(device.untold), sorted(device.known))
            for user, account in self.hub._presence._accounts.items()
            for name, device in account.devices.items()
        ]  # fmt: skip
        return shard.machine.state_hash(), shard.groups.state_hash(), tuple(map(repr, devices))


Operation = Callable[..., Awaitable[object]]  # of a scene and an ID


def operations() -> tuple[list[Operation], list[Operation]]:
    """What anybody may do but the invitee's own accept: with an invitation, and without."""
    named: list[Operation] = [
        lambda scene, name: scene.hub.cancel_by_server(name),
        lambda scene, name: scene.hub.accept_as(INVITER, name, INVITEE),
        lambda scene, name: scene.hub.accept_as("bob ", name, INVITEE),
    ]
    for user in USERS:
        named += [
            _as(user, operation)
            for operation in ("accept", "reject", "cancel", "modify_invitation")
            if (user, operation) != (INVITEE, "accept")
        ]
        named.append(
            lambda scene, name, user=user: scene.sessions[user].signaling.add_invited_signaling(
                scene.info(name)
            )
        )
    unnamed: list[Operation] = [
        lambda scene, _: scene.hub.groups.dismiss(GROUP),
        lambda scene, _: scene.hub.groups.put(GROUP, USERS),
        lambda scene, _: scene.clock.advance(TIMEOUT_S / 2),
        lambda scene, _: scene.sessions[INVITEE].logout(),
        lambda scene, _: scene.log_in(INVITEE, "cold"),
        lambda scene, _: scene.log_in(INVITEE, "hot"),
        lambda scene, _: scene.log_in(OTHER, "hot"),
        lambda scene, _: scene.sessions[OTHER].groups.kick_group_member(GROUP, INVITEE),
        lambda scene, _: scene.sessions[INVITEE].signaling.open_invitations(GROUP),
        lambda scene, _: scene.invite(),
        lambda scene, _: scene.restart(),
    ]
    for user in USERS:
        unnamed.append(lambda scene, _, user=user: scene.hub.groups.remove(GROUP, user))
        unnamed.append(lambda scene, _, user=user: scene.hub.groups.add(GROUP, user))
    return named, unnamed


def _as(user: str, operation: str) -> Operation:
    """An operation of a user's session, with data that names the invitee."""
    return lambda scene, name: getattr(scene.sessions[user].signaling, operation)(name, INVITEE)


Steps = tuple[tuple[Operation, int], ...]


async def scene_after(shape: str, sequence: Steps) -> Scene:
    scene = Scene(shape)
    await scene.begin()
    for operation, place in sequence:
        await scene.do(operation, scene.names[place])
    return scene


async def explore(shape: str, length: int, *more: Operation) -> tuple[set[str], int]:
    """Follow all sequences up to a length: (who was ever accepted, how many states there are)."""
    named, unnamed = operations()
    accepted: set[str] = set()
    seen: set[object] = set()
    level: list[Steps] = [()]
    for _ in range(length):
        following: list[Steps] = []
        for sequence in level:
            scene = await scene_after(shape, sequence)
            before = scene.state()
            steps = [
                (operation, place)
                for place in range(len(scene.names))
                for operation in (*named, *more)
            ] + [(operation, 0) for operation in unnamed]
            for operation, place in steps:
                await scene.do(operation, scene.names[place])
                accepted |= scene.accepted
                state = scene.state()
                if state == before:
                    continue
                await scene.hub.close()
                if state not in seen:
                    seen.add(state)
                    following.append((*sequence, (operation, place)))
                scene = await scene_after(shape, sequence)
            await scene.hub.close()
        level = following
    return accepted, len(seen)


@pytest.mark.parametrize("shape", SHAPES)
async def test_no_session_but_the_invitees_own_accepts_for_it(shape: str) -> None:
    accepted, states = await explore(shape, LENGTH)
    assert accepted == set(SHAPES[shape][1])  # who did accept, for themselves
    assert states > 100


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_exploration_finds_an_accept_of_a_session(shape: str) -> None:
    accepted, _ = await explore(shape, 1, _as(INVITEE, "accept"))
    assert INVITEE in accepted
