"""A16: what a stranger learns of other people's invitations (docs/invariants.md).

Everything a stranger can ask is asked of many different invitations, and all that comes back is
compared: whether it is open, and only with the ID in hand, is the one difference allowed.
"""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from typing import Any

import pytest
from ears import Ear, join
from invariants.scenes import turns

from pysignal import Hub, Invitation, Limits, Session, SignalingError, SignalingInfo, VirtualClock

pytestmark = pytest.mark.anyio

# A request ID that was used gives its first result again.
FRESH = itertools.count()


async def open_many(hub: Hub) -> dict[str, str]:
    """Open invitations that differ in everything a stranger might learn."""
    await hub.groups.put("g", ["amy", "bob", "cy"])
    amy, zoe = hub.acting_as("amy").signaling, hub.acting_as("zoe").signaling
    many = [f"guest {number}" for number in range(20)]
    return {
        "one": await amy.invite("bob", "secret", timeout=100),
        "of another": await zoe.invite("cy", "", timeout=200),
        "without a deadline": await amy.invite("bob", timeout=0),
        "online only": await zoe.invite("bob", "secret", online_user_only=True),
        "list": await amy.invite(["bob", "cy"], "x" * 500),
        "crowd": await zoe.invite(many, timeout=100),
        "group": await amy.invite_in_group("g", ["bob", "cy"]),
        "group, for its parties": await amy.invite_in_group("g", ["bob"], notify="parties"),
    }


async def change(hub: Hub, names: dict[str, str]) -> None:
    """Let things happen to open invitations that leave them open."""
    await hub.modify_invitation_as("amy", names["one"], "newer")
    await hub.accept_as("bob", names["list"])
    await hub.reject_as("guest 7", names["crowd"])
    await hub.accept_as("cy", names["group"])


async def follow(session: Session, name: str) -> None:
    async for _ in Invitation(name, session):
        raise AssertionError("a stranger follows")


def questions(eve: Session, name: str) -> dict[str, Coroutine[Any, Any, Any]]:
    """Everything that Eve can ask of an ID."""
    ask = eve.signaling
    info = SignalingInfo(name, "amy", "", ["bob"], "secret")
    return {
        "accept": ask.accept(name),
        "reject": ask.reject(name, "no"),
        "cancel": ask.cancel(name),
        "modify": ask.modify_invitation(name, "mine"),
        "modify at 1": ask.modify_invitation(name, "mine", expected_version=1),
        "modify at 9": ask.modify_invitation(name, "mine", expected_version=9),
        "with a request": ask.accept(name, request_id=f"request {next(FRESH)}"),
        "a push": ask.add_invited_signaling(info),
        "outcome": Invitation(name, eve).outcome(),
        "events": follow(eve, name),
        "cancel of a handle": Invitation(name, eve).cancel(),
    }


async def ask_all(eve: Session, name: str) -> dict[str, tuple[Any, ...]]:
    """Ask everything; returns all that can be seen of each refusal."""
    seen: dict[str, tuple[Any, ...]] = {}
    for question, asking in questions(eve, name).items():
        try:
            given = await asking
        except Exception as error:
            details = getattr(error, "details", None)
            seen[question] = (type(error), getattr(error, "code", 0), str(error), details)
        else:
            raise AssertionError(f"{question}: {given!r}")
    return seen


def codes(seen: dict[str, tuple[Any, ...]]) -> set[int]:
    return {code for _, code, *_ in seen.values()}


async def test_a16_with_its_id_a_stranger_learns_open_or_not_and_nothing_more(
    hub: Hub, clock: VirtualClock
) -> None:
    eve, _ = await join(hub, "eve")
    names = await open_many(hub)
    opened = [await ask_all(eve, name) for name in names.values()]
    await change(hub, names)
    opened += [await ask_all(eve, name) for name in names.values()]
    assert all(seen == opened[0] for seen in opened)
    assert codes(opened[0]) == {8011}
    nothing = await ask_all(eve, "0" * 26)
    assert codes(nothing) == {8010}
    assert not any(details for *_, details in nothing.values())
    for number, name in enumerate(names.values()):
        if number % 3 == 0:
            await hub.cancel_by_server(name)
    await hub.groups.dismiss("g")
    await clock.advance(40)  # some time out, and all that ended is remembered
    for name in names.values():
        info = await hub.invitation(name)
        assert info is not None
        assert await ask_all(eve, name) == (opened[0] if info.state == "open" else nothing)
    await clock.advance(86_400)
    for name in [*names.values(), "0" * 25 + "1", "no ID"]:
        assert await ask_all(eve, name) == nothing


async def test_a16_without_the_id_a_stranger_learns_nothing(hub: Hub, clock: VirtualClock) -> None:
    ear = Ear()
    eve, cy = await hub.login("eve", listener=ear), await hub.login("cy")
    stream = eve.events()
    asked = []
    for begun in (False, True):
        if begun:
            names = await open_many(hub)
            await change(hub, names)
            await clock.settle()
        else:
            await hub.groups.put("g", ["amy", "bob", "cy"])
        with pytest.raises(SignalingError) as caught:
            await eve.signaling.open_invitations("g")
        asked.append((str(caught.value), caught.value.details, await hub.pending("eve")))
        for start in ("cold", "hot"):
            again, _ = await join(hub, "eve", "2", start)  # type: ignore[arg-type]
            asked.append((again.snapshot.open, again.snapshot.ended))
    assert asked[:3] == asked[3:]
    assert ear.events == []
    await stream.aclose()
    shown = [info.invite_id for info in await cy.signaling.open_invitations("g")]
    assert shown == [names["group"]], "a member is not shown what is for its parties"
    for session in (eve, cy):
        for info in session.snapshot.open:
            assert session.user_id in (info.inviter, *info.statuses)


@pytest.mark.parametrize("limits", [Limits(ended_max=0)])
async def test_a16_who_had_the_number_of_another_user_before_hears_nothing_of_theirs(
    hub: Hub, clock: VirtualClock, limits: Limits
) -> None:
    """The engine gives the number of a user whom nothing mentions to the next one who is named."""
    ears = {}
    sessions = {}
    for user in ("amy", "bob", "cy"):
        sessions[user], ears[user] = await join(hub, user)
    for user in ("bob", "cy"):  # the numbers of all three are known to delivery
        name = await sessions["amy"].signaling.invite(user)
        await sessions[user].signaling.accept(name)
        await clock.settle()
    mine = {user: len(ear.events) for user, ear in ears.items()}
    for number in range(200):
        users = [f"user {number} {other}" for other in range(1 + number % 3)]
        name = await hub.invite_as(f"caller {number}", users[0] if len(users) == 1 else users)
        await clock.settle()
        for user in users:
            await hub.accept_as(user, name)
        await clock.settle()
    assert {user: len(ear.events) for user, ear in ears.items()} == mine
    assert hub.stats()["users"] < 20, "numbers were used again"
    for user in ("bob", "cy"):
        name = await sessions["amy"].signaling.invite(user)
        await clock.settle()
        assert ears[user].events[-1].invite_id == name
        await sessions[user].signaling.reject(name)
        await clock.settle()
        assert [(event.kind, event.invite_id) for event in ears["amy"].events][-1] == (
            "rejected",
            name,
        )


async def test_a16_who_was_a_member_is_a_stranger(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy", "bob", "eve"])
    eve, ear = await join(hub, "eve")
    name = await hub.invite_in_group_as("amy", "g", ["bob"])
    await hub.groups.remove("g", ["eve"])
    await clock.settle()
    told = len(ear.events)
    other = await hub.invite_as("amy", "bob")
    assert await ask_all(eve, name) == await ask_all(eve, other)
    await hub.accept_as("bob", name)
    await clock.settle()
    assert len(ear.events) == told
    assert await ask_all(eve, name) == await ask_all(eve, "0" * 26)


@pytest.mark.parametrize("limits", [Limits(ended_max=0)])
async def test_a16_a_party_alone_is_told_how_it_ended(hub: Hub, limits: Limits) -> None:
    eve, _ = await join(hub, "eve")
    name = await hub.invite_as("amy", ["bob", "cy"])
    await hub.accept_as("bob", name)
    await hub.cancel_by_server(name)
    await turns(5)
    assert await ask_all(eve, name) == await ask_all(eve, "0" * 26)
