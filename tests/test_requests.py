"""Request IDs (SPEC §2): a retry has the first result and one effect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from busy import begin_mass_expiry
from ears import join
from refusals import picture, refusal
from slow_journal import SlowJournal

from pysignal import Hub, InvitationEnded, Limits, Role, SignalingInfo, VirtualClock
from pysignal.server_acts import ServerActor

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]


class Scene:
    """Amy owns group g with Bob, and has invited him to this and that."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.names: dict[str, str] = {}

    def acting(self, user: str) -> ServerActor:
        return self.hub.acting_as(user)

    async def prepare(self) -> None:
        amy = self.acting("amy")
        await amy.groups.create_group("Meeting", "g", member_list=["bob", "carol"])
        await amy.groups.create_group("Work", "w", member_list=["bob"])
        for name in ("accept", "reject", "cancel", "modify", "other"):
            self.names[name] = await amy.signaling.invite("bob", "data")


CALLS: dict[str, Callable[[Scene, str, str], Awaitable[Any]]] = {
    "invite": lambda s, r, x: s.acting("amy").signaling.invite("bob", x, request_id=r),
    "invite several": lambda s, r, x: s.acting("amy").signaling.invite(
        ["bob", "dave"], x, request_id=r
    ),
    "invite_in_group": lambda s, r, x: s.acting("amy").signaling.invite_in_group(
        "g", ["bob"], x, request_id=r
    ),
    "accept": lambda s, r, x: s.acting("bob").signaling.accept(s.names["accept"], x, request_id=r),
    "reject": lambda s, r, x: s.acting("bob").signaling.reject(s.names["reject"], x, request_id=r),
    "cancel": lambda s, r, x: s.acting("amy").signaling.cancel(s.names["cancel"], x, request_id=r),
    "modify": lambda s, r, x: s.acting("amy").signaling.modify_invitation(
        s.names["modify"], x, request_id=r
    ),
    "create_group": lambda s, r, x: s.acting("amy").groups.create_group(
        "Work", name=x, request_id=r
    ),
    "join_group": lambda s, r, x: s.acting("erin").groups.join_group(
        "g" if x == "1" else "w", request_id=r
    ),
    "quit_group": lambda s, r, x: s.acting("bob").groups.quit_group(
        "g" if x == "1" else "w", request_id=r
    ),
    "dismiss_group": lambda s, r, x: s.acting("amy").groups.dismiss_group(
        "g" if x == "1" else "w", request_id=r
    ),
    "kick": lambda s, r, x: s.acting("amy").groups.kick_group_member(
        "g", "bob" if x == "1" else "carol", request_id=r
    ),
    "invite_user": lambda s, r, x: s.acting("amy").groups.invite_user_to_group(
        "g", ["frank", "bob" if x == "1" else "carol"], request_id=r
    ),
    "set_role": lambda s, r, x: s.acting("amy").groups.set_group_member_role(
        "g", "bob", Role.ADMIN if x == "1" else Role.MEMBER, request_id=r
    ),
    "transfer": lambda s, r, x: s.acting("amy").groups.transfer_group_owner(
        "g", "bob" if x == "1" else "carol", request_id=r
    ),
    "set_info": lambda s, r, x: s.acting("amy").groups.set_group_info("g", name=x, request_id=r),
    "set_member_info": lambda s, r, x: s.acting("bob").groups.set_group_member_info(
        "g", "bob", name_card=x, request_id=r
    ),
}


@pytest.fixture
async def scene(hub: Hub, clock: VirtualClock) -> Scene:
    """The scene before each test."""
    scene = Scene(hub)
    await scene.prepare()
    await clock.settle()
    return scene


@pytest.mark.parametrize("name", CALLS)
async def test_every_changing_operation_takes_a_request_id(scene: Scene, name: str) -> None:
    call, hub = CALLS[name], scene.hub
    before = picture(hub)
    first = await call(scene, "r", "1")
    after = picture(hub)
    assert after != before
    assert await call(scene, "r", "1") == first
    assert picture(hub) == after
    error = await refusal(hub, call(scene, "r", "2"), 6017)
    assert error.details["parameter"] == "request_id"
    assert await call(scene, "r", "1") == first


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("bad", ["", "x" * 129, "\n", "\ud800", 7, True, b"r"], ids=ascii)
async def test_a_request_id_is_an_id(scene: Scene, name: str, bad: Any) -> None:
    error = await refusal(scene.hub, CALLS[name](scene, bad, "1"), 6017)
    assert error.details["parameter"] == "request_id"


async def test_nobody_is_rung_twice(hub: Hub, clock: VirtualClock) -> None:
    amy, amy_ear = await join(hub, "amy")
    bob, bob_ear = await join(hub, "bob")
    first = await amy.signaling.invite("bob", request_id="r")
    assert await amy.signaling.invite("bob", request_id="r") == first
    assert await amy.signaling.invite("bob", request_id="s") != first
    await bob.signaling.accept(first, request_id="r")
    await bob.signaling.accept(first, request_id="r")
    await clock.settle()
    assert len(bob_ear.take()) == 2
    assert amy_ear.take() == [("invitee_accepted", first, "bob", "")]


async def test_a_retry_has_a_handle_that_works(hub: Hub, clock: VirtualClock) -> None:
    first = await hub.invite_as("amy", "bob", request_id="r")
    again = await hub.invite_as("amy", "bob", request_id="r")
    waiting = [asyncio.ensure_future(handle.outcome()) for handle in (first, again)]
    await again.cancel()
    assert [(await each).status for each in waiting] == ["cancelled"] * 2


async def test_a_retry_after_the_end_has_the_first_result(hub: Hub) -> None:
    first = await hub.invite_as("amy", "bob", request_id="r")
    await hub.accept_as("bob", first, request_id="r")
    assert await hub.invite_as("amy", "bob", request_id="r") == first
    await hub.accept_as("bob", first, request_id="r")
    await refusal(hub, hub.accept_as("bob", first, request_id="s"), 8010)
    assert await hub.pending("bob") == []


async def test_what_makes_no_difference_is_no_other_argument(hub: Hub) -> None:
    first = await hub.invite_as("amy", "bob", None, timeout=2, request_id="r")
    assert await hub.invite_as("amy", ["bob", "bob"], "", timeout=2.0, request_id="r") == first
    for other in ({"timeout": 3}, {"timeout": 2, "online_user_only": True}):
        await refusal(hub, hub.invite_as("amy", "bob", request_id="r", **other), 6017)
    await refusal(hub, hub.invite_as("amy", "carol", timeout=2, request_id="r"), 6017)
    await refusal(hub, hub.accept_as("amy", first, request_id="r"), 6017)
    await refusal(hub, hub.acting_as("amy").groups.create_group("Work", request_id="r"), 6017)


async def test_an_expected_version_is_an_argument(hub: Hub) -> None:
    name = await hub.invite_as("amy", "bob")
    await hub.modify_invitation_as("amy", name, "x", expected_version=1, request_id="r")
    await hub.modify_invitation_as("amy", name, "x", expected_version=1, request_id="r")
    await refusal(hub, hub.modify_invitation_as("amy", name, "x", request_id="r"), 6017)
    found = await hub.invitation(name)
    assert found is not None
    assert found.data_version == 2


async def test_a_request_is_the_users_on_all_devices_and_nobody_elses(hub: Hub) -> None:
    phone, _ = await join(hub, "amy", "phone")
    laptop, _ = await join(hub, "amy", "laptop")
    first = await phone.signaling.invite("bob", request_id="r")
    assert await laptop.signaling.invite("bob", request_id="r") == first
    assert await hub.invite_as("amy", "bob", request_id="r") == first
    await phone.logout()
    await phone.login()
    assert await phone.signaling.invite("bob", request_id="r") == first
    assert await hub.invite_as("carol", "bob", request_id="r") != first
    assert len(await hub.pending("bob")) == 2


async def test_a_refusal_is_kept(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("g", ["amy"])
    call = lambda: hub.invite_in_group_as("amy", "g", ["bob"], request_id="r")  # noqa: E731
    first = await refusal(hub, call(), 6017)
    await hub.groups.add("g", ["bob"])
    again = await refusal(hub, call(), 6017)
    assert (str(again), again.details) == (str(first), first.details)
    assert again is not first
    other = await hub.invite_as("amy", "bob", timeout=5)
    await hub.reject_as("bob", other)
    late = await refusal(hub, hub.accept_as("bob", other, request_id="late"), 8010)
    repeated = await refusal(hub, hub.accept_as("bob", other, request_id="late"), 8010)
    assert isinstance(repeated, InvitationEnded)
    assert (str(repeated), repeated.details) == (str(late), late.details)


@pytest.mark.parametrize("limits", [Limits(open_max=1)])
async def test_a_refusal_worth_retrying_is_not_kept(hub: Hub, limits: Limits) -> None:
    first = await hub.invite_as("amy", "bob")
    await refusal(hub, hub.invite_as("amy", "bob", request_id="r"), 7008)
    await hub.cancel_by_server(first)
    second = await hub.invite_as("amy", "bob", request_id="r")
    assert await hub.invite_as("amy", "bob", request_id="r") == second


async def test_a_result_is_kept_for_two_minutes(hub: Hub, clock: VirtualClock) -> None:
    first = await hub.invite_as("amy", "bob", timeout=0, request_id="r")
    await clock.advance(119.999)
    assert await hub.invite_as("amy", "bob", timeout=0, request_id="r") == first
    await clock.advance(0.002)
    assert await hub.invite_as("amy", "bob", timeout=0, request_id="r") != first
    await clock.advance(121)
    await hub.invite_as("amy", "bob", request_id="other")
    assert hub.stats()["requests_remembered"] == 1


async def test_at_most_the_last_1000_of_a_user_are_kept(hub: Hub) -> None:
    names = [await hub.invite_as("amy", "bob", request_id=str(n)) for n in range(1000)]
    await hub.invite_as("carol", "bob", request_id="0")
    for number in (0, 1, 999):
        assert await hub.invite_as("amy", "bob", request_id=str(number)) == names[number]
    await hub.invite_as("amy", "bob", request_id="1000")
    assert hub.stats()["requests_remembered"] == 1001
    assert await hub.invite_as("amy", "bob", request_id="1") == names[1]
    assert await hub.invite_as("amy", "bob", request_id="0") != names[0]


async def test_a_duplicate_waits_for_the_first_that_is_on_its_way(
    hub: Hub, clock: VirtualClock
) -> None:
    advancing = await begin_mass_expiry(hub, clock)
    calls = [
        asyncio.ensure_future(hub.invite_as("amy", who, request_id="r"))
        for who in ("bob", "bob", "carol", "bob")
    ]
    await asyncio.sleep(0)
    calls[0].cancel()
    await advancing
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert getattr(results[2], "code", None) == 6017
    assert results[1] == results[3] == (await hub.pending("bob"))[0].invite_id
    assert len(await hub.pending("bob")) == 1
    assert await hub.pending("carol") == []


async def test_many_at_once_have_one_effect(hub: Hub) -> None:
    results = await asyncio.gather(
        *(hub.invite_as("amy", "bob", request_id="r") for _ in range(100))
    )
    assert set(results) == {(await hub.pending("bob"))[0].invite_id}


async def test_a_wrong_parameter_does_not_use_up_a_request_id(hub: Hub) -> None:
    await refusal(hub, hub.invite_as("amy", "bob", timeout=-1, request_id="r"), 6017)
    assert await hub.invite_as("amy", "bob", request_id="r")


async def test_a_group_that_was_given_an_id_keeps_it_at_a_retry(hub: Hub) -> None:
    amy = hub.acting_as("amy").groups
    made = [await amy.create_group("Work", request_id="r") for _ in range(3)]
    assert len(set(made)) == 1
    assert await amy.create_group("Work", request_id="s") != made[0]
    assert hub.stats()["groups_existing"] == 2


async def test_adding_what_a_push_told_is_done_once(hub: Hub) -> None:
    name = await hub.invite_as("amy", "bob", online_user_only=True)
    bob, ear = await join(hub, "bob")
    info = SignalingInfo(name, "amy", "", ["bob"])
    await bob.signaling.add_invited_signaling(info, request_id="r")
    await bob.signaling.add_invited_signaling(info, request_id="r")
    await refusal(hub, bob.signaling.add_invited_signaling(info), 8012)
    other = SignalingInfo(name, "amy", "", ["bob", "carol"])
    await refusal(hub, bob.signaling.add_invited_signaling(other, request_id="r"), 6017)
    assert ear.heard == []


async def test_a_retry_is_answered_no_sooner_than_the_first_result_is_durable(
    clock: VirtualClock,
) -> None:
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        amy, _ = await join(hub, "amy")
        await clock.settle()
        journal.shut()
        first = asyncio.ensure_future(amy.signaling.invite("bob", request_id="r"))
        await clock.settle()
        again = asyncio.ensure_future(amy.signaling.invite("bob", request_id="r"))
        await clock.settle()
        assert (first.done(), again.done(), len(hub.shard.machine.pending_of("bob"))) == (
            False, False, 1,
        )  # fmt: skip
        journal.release(all_later=True)
        assert await first == await again
