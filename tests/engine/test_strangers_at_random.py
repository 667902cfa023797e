"""Strangers who inherit the numbers of parties, through a whole hub (SPEC §3, A16).

The tables of the hub have room for a handful of users, so whoever comes gets a number that somebody
had who has just gone. As a stranger one learns of an invitation that it is open, or that no open
one has this ID, and nothing else: not even whether it ever was.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine
from typing import Any

import pytest
from ears import Ear, join
from scale import scaled

from pysignal import (
    Hub,
    InvitationEnded,
    LimitExceeded,
    Limits,
    NotPermitted,
    Session,
    SignalingError,
    SignalingInfo,
    VirtualClock,
)

pytestmark = pytest.mark.anyio

USERS_MAX = 6
NEVER = "0" * 26  # the ID of nothing


@pytest.fixture
def limits() -> Limits:
    return Limits(users_max=USERS_MAX, groups_max=2, ended_max=4, ended_keep_s=60)


async def refusal(call: Coroutine[Any, Any, Any]) -> SignalingError:
    with pytest.raises(SignalingError) as caught:
        await call
    return caught.value


def attempts(session: Session, info: SignalingInfo) -> list[Coroutine[Any, Any, Any]]:
    """Everything that a session can try on an invitation whose ID it holds."""
    signaling = session.signaling
    return [
        signaling.accept(info.invite_id),
        signaling.reject(info.invite_id),
        signaling.cancel(info.invite_id),
        signaling.modify_invitation(info.invite_id, "mine now"),
        signaling.add_invited_signaling(info),
    ]


class Inn:
    """A hub where nobody stays for long."""

    def __init__(self, hub: Hub, clock: VirtualClock, seed: int) -> None:
        self.hub = hub
        self.clock = clock
        self.rng = random.Random(seed)
        self.guests: list[tuple[Session, Ear]] = []
        self.born = 0
        self.infos: list[SignalingInfo] = []
        self.open_ids: list[str] = []

    async def come(self) -> None:
        """Somebody comes whom nobody has ever seen, and finds and hears nothing."""
        if len(self.guests) == 3:
            session, ear = self.guests.pop(self.rng.randrange(3))
            await session.logout()
        self.born += 1
        start: Any = self.rng.choice(["cold", "hot"])
        try:
            session, ear = await join(self.hub, f"guest {self.born}", start=start)
        except LimitExceeded:
            await self.clock.advance(700)  # all that is open ends by then, and is forgotten
            await self.note()
            session, ear = await join(self.hub, f"guest {self.born}", start=start)
        await self.clock.settle()
        assert not session.snapshot.open
        assert not session.snapshot.ended
        assert await self.hub.pending(session.user_id) == []
        for info in self.infos[-12:]:
            await self.try_all(session, info)
        await self.clock.settle()
        assert (ear.heard, ear.events) == ([], [])
        self.guests.append((session, ear))

    async def try_all(self, session: Session, info: SignalingInfo) -> None:
        """A stranger is refused as strangers are, and that tells nothing."""
        before = self.hub.shard.machine.state_hash()
        never = SignalingInfo(NEVER, info.inviter, "", info.invitee_list)
        unknown = [await refusal(call) for call in attempts(session, never)]
        refused = [await refusal(call) for call in attempts(session, info)]
        for error, same in zip(refused, unknown, strict=True):
            assert error.details == same.details == {}
            assert isinstance(same, InvitationEnded)
            if info.invite_id in self.open_ids:
                assert isinstance(error, NotPermitted)
                assert not any(user in str(error) for user in (info.inviter, *info.invitee_list))
            else:
                assert (type(error), str(error)) == (type(same), str(same))
        assert self.hub.shard.machine.state_hash() == before

    async def call(self) -> None:
        inviter, *others = self.rng.sample(self.guests, len(self.guests))
        users = [session.user_id for session, _ in others[: self.rng.randrange(1, 3)]]
        if not users:
            return
        try:
            invite_id = await inviter[0].signaling.invite(
                users, "secret", timeout=self.rng.choice([1, 30, 600])
            )
        except LimitExceeded:
            return
        self.infos.append(SignalingInfo(str(invite_id), inviter[0].user_id, "", users))

    async def end(self) -> None:
        if not self.open_ids:
            return
        invite_id = self.rng.choice(self.open_ids)
        found = await self.hub.invitation(invite_id)
        assert found is not None
        if self.rng.random() < 0.5:
            await self.hub.cancel_by_server(invite_id)
        else:
            await self.hub.acting_as(self.rng.choice(found.pending)).signaling.accept(invite_id)

    async def wait(self) -> None:
        await self.clock.advance(self.rng.choice([0.5, 2, 20, 61]))

    async def note(self) -> None:
        """Note what is open, and let everybody forget what was heard so far."""
        await self.clock.settle()
        self.open_ids.clear()
        for info in self.infos:
            found = await self.hub.invitation(info.invite_id)
            if found is not None:
                assert found.inviter == info.inviter
                assert found.invitee_list == info.invitee_list
                if found.state == "open":
                    self.open_ids.append(info.invite_id)
        for session, ear in self.guests:
            for event in ear.events:
                assert session.user_id in (event.inviter, *event.invitees)
            ear.take()
            ear.kinds()


@pytest.mark.parametrize("seed", range(4))
async def test_who_inherits_a_number_is_a_stranger_everywhere(
    hub: Hub, clock: VirtualClock, seed: int
) -> None:
    inn = Inn(hub, clock, seed)
    for _ in range(3):
        await inn.come()
    tried = 0
    for _ in range(scaled(120, at_least=60)):
        act = inn.rng.choices([inn.come, inn.call, inn.end, inn.wait], [25, 40, 15, 15])[0]
        await act()
        await inn.note()
        tried += len(inn.open_ids)
    assert inn.born > USERS_MAX
    assert tried
    machine = hub.shard.machine
    machine.check()
    assert machine.stats()["users"] <= USERS_MAX
