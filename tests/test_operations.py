"""The operations on invitations (SPEC §2, §3, §5): what each does, and what each refuses.

Each refusal is compared with the whole state before it: it changes nothing. Parameters have a file
of their own, and so has who hears what.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from busy import begin_mass_expiry
from ears import ConnectionEar, join
from refusals import picture, refusal

from pysignal import Hub, InvitationEnded, Limits, SignalingError, SignalingInfo, VirtualClock
from pysignal.signaling import Signaling

pytestmark = pytest.mark.anyio

Call = Callable[[Signaling, str], Coroutine[Any, Any, Any]]

ANSWERS: dict[str, Call] = {
    "accept": lambda who, invite_id: who.accept(invite_id),
    "reject": lambda who, invite_id: who.reject(invite_id),
}
OPERATIONS: dict[str, Call] = {
    **ANSWERS,
    "cancel": lambda who, invite_id: who.cancel(invite_id),
    "modify": lambda who, invite_id: who.modify_invitation(invite_id, "new"),
}
ENDS: dict[str, tuple[str, str]] = {
    "accept": ("completed", "accepted"),
    "reject": ("completed", "rejected"),
    "cancel": ("cancelled", "cancelled"),
}
each_operation = pytest.mark.parametrize("name", OPERATIONS)


def acting(hub: Hub, user: str) -> Signaling:
    return hub.acting_as(user).signaling


def late(clock: VirtualClock, ms: int) -> None:
    """Let time pass without any timer having run."""
    clock._now_ms += ms


async def statuses(hub: Hub, invite_id: str) -> dict[str, str]:
    found = await hub.invitation(invite_id)
    assert found is not None
    return found.statuses


# -- who may do what -------------------------------------------------------------------------------


@each_operation
async def test_without_a_login_nothing_can_be_done(hub: Hub, name: str) -> None:
    invite_id = await hub.invite_as("amy", "bob")
    session = hub.session("bob")
    await refusal(hub, OPERATIONS[name](session.signaling, invite_id), 6014)
    await refusal(hub, session.signaling.invite("amy"), 6014)
    await refusal(hub, session.signaling.invite_in_group("g", []), 6014)
    await refusal(hub, session.signaling.open_invitations("g"), 6014)
    info = SignalingInfo(invite_id, "amy", "", ["bob"])
    await refusal(hub, session.signaling.add_invited_signaling(info), 6014)
    await session.login()
    await session.logout()
    await refusal(hub, OPERATIONS[name](session.signaling, invite_id), 6014)
    await refusal(hub, session.logout(), 6014)


@each_operation
async def test_a_hub_that_is_not_open_refuses(clock: VirtualClock, name: str) -> None:
    hub = Hub(clock=clock)
    session = hub.session("amy")

    async def refused_6013() -> None:
        for call in (
            OPERATIONS[name](session.signaling, "x"),
            session.signaling.invite("bob"),
            session.signaling.open_invitations("g"),
            session.groups.quit_group("g"),
            session.groups.create_group("Work"),
            session.login(),
            hub.login("amy"),
            hub.invite_as("amy", "bob"),
            hub.cancel_by_server("x"),
            hub.pending("amy"),
        ):
            with pytest.raises(SignalingError) as caught:
                await call
            assert caught.value.code == 6013

    await refused_6013()
    async with hub:
        await session.login()
    await refused_6013()


@each_operation
async def test_an_unknown_invitation_is_8010_to_everybody(hub: Hub, name: str) -> None:
    ended = await hub.invite_as("amy", "bob")
    await hub.cancel_by_server(ended)
    other = await hub.invite_as("amy", "bob")
    changed = other[:-1] + ("0" if other[-1] != "0" else "1")
    for user in ("amy", "bob", "carol"):
        for invite_id in (ended, changed, other.upper() + "x", other[:-1], ""):
            await refusal(hub, OPERATIONS[name](acting(hub, user), invite_id), 8010)


async def test_an_invitation_of_another_hub_is_unknown(hub: Hub, clock: VirtualClock) -> None:
    async with Hub(clock=clock, shard=1) as other:
        invite_id = await other.invite_as("amy", "bob")
        await hub.invite_as("amy", "bob")
        for call in OPERATIONS.values():
            await refusal(hub, call(acting(hub, "bob"), invite_id), 8010)
        assert await hub.invitation(invite_id) is None


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("accept", "amy"), ("accept", "carol"), ("reject", "amy"), ("reject", "carol"),
        ("cancel", "bob"), ("cancel", "carol"), ("modify", "bob"), ("modify", "carol"),
    ],
)  # fmt: skip
async def test_who_may_not_is_8011_while_it_is_open(
    hub: Hub, name: str, user: str, several: bool
) -> None:
    invite_id = await hub.invite_as("amy", ["bob", "dave"] if several else "bob")
    error = await refusal(hub, OPERATIONS[name](acting(hub, user), invite_id), 8011)
    assert error.details == {}
    await hub.cancel_by_server(invite_id)
    await refusal(hub, OPERATIONS[name](acting(hub, user), invite_id), 8010)


async def test_a_member_of_the_group_who_was_not_invited_may_nothing(hub: Hub) -> None:
    await hub.groups.put("g", ["amy", "bob", "carol"])
    invite_id = await hub.invite_in_group_as("amy", "g", ["bob"])
    for call in OPERATIONS.values():
        await refusal(hub, call(acting(hub, "carol"), invite_id), 8011)


@pytest.mark.parametrize("first", ENDS)
@each_operation
async def test_an_end_is_final_whatever_comes_then(hub: Hub, first: str, name: str) -> None:
    invite_id = await hub.invite_as("amy", "bob")
    actor = "amy" if first == "cancel" else "bob"
    await OPERATIONS[first](acting(hub, actor), invite_id)
    state, status = ENDS[first]
    for user in ("amy", "bob", "carol"):
        await refusal(hub, OPERATIONS[name](acting(hub, user), invite_id), 8010)
    found = await hub.invitation(invite_id)
    assert found is not None
    assert (found.state, found.statuses, found.pending) == (state, {"bob": status}, [])


@pytest.mark.parametrize("first", ANSWERS)
@pytest.mark.parametrize("second", ANSWERS)
async def test_an_answer_is_final_while_others_are_pending(
    hub: Hub, first: str, second: str
) -> None:
    invite_id = await hub.invite_as("amy", ["bob", "carol", "dave"])
    await ANSWERS[first](acting(hub, "bob"), invite_id)
    error = await refusal(hub, ANSWERS[second](acting(hub, "bob"), invite_id), 8010)
    assert error.details["status"] == ENDS[first][1]
    assert await statuses(hub, invite_id) == {
        "bob": ENDS[first][1], "carol": "pending", "dave": "pending",
    }  # fmt: skip
    await ANSWERS[second](acting(hub, "dave"), invite_id)
    await acting(hub, "amy").cancel(invite_id)
    assert await statuses(hub, invite_id) == {
        "bob": ENDS[first][1], "carol": "cancelled", "dave": ENDS[second][1],
    }  # fmt: skip


async def test_it_ends_only_when_all_have(hub: Hub) -> None:
    invite_id = await hub.invite_as("amy", ["bob", "carol"])
    await hub.accept_as("bob", invite_id)
    found = await hub.invitation(invite_id)
    assert found is not None
    assert (found.state, found.pending) == ("open", ["carol"])
    await hub.modify_invitation_as("amy", invite_id, "still open")
    await hub.reject_as("carol", invite_id)
    await refusal(hub, hub.cancel_as("amy", invite_id), 8010)
    found = await hub.invitation(invite_id)
    assert found is not None
    assert found.state == "completed"


async def test_the_inviter_may_cancel_from_any_session(hub: Hub) -> None:
    amy, _ = await join(hub, "amy", "1")
    other, _ = await join(hub, "amy", "2")
    invite_id = await amy.signaling.invite("bob")
    await other.signaling.cancel(invite_id)
    second = await amy.signaling.invite("bob")
    await amy.logout()
    await other.signaling.cancel(second)


async def test_any_number_may_be_open_between_two_users_and_nobody_is_busy(hub: Hub) -> None:
    names = [await hub.invite_as("amy", "bob") for _ in range(300)]
    names += [await hub.invite_as("bob", "amy") for _ in range(300)]
    assert len(set(names)) == 600
    assert all(name.isascii() and len(name) <= 64 for name in names)
    assert [info.invite_id for info in await hub.pending("bob")] == names[:300]


# -- modify ----------------------------------------------------------------------------------------


async def test_a_modify_with_a_version_takes_part_only_if_it_is_the_current_one(hub: Hub) -> None:
    amy = acting(hub, "amy")
    invite_id = await amy.invite("bob", "one")
    await refusal(hub, amy.modify_invitation(invite_id, "no", expected_version=2), 8006)
    await amy.modify_invitation(invite_id, "two", expected_version=1)
    await refusal(hub, amy.modify_invitation(invite_id, "no", expected_version=1), 8006)
    await amy.modify_invitation(invite_id, "three")
    await amy.modify_invitation(invite_id, "four", expected_version=3)
    found = await hub.invitation(invite_id)
    assert found is not None
    assert (found.data, found.data_version, found.seq) == ("four", 4, 4)


async def test_a_modify_changes_data_only(hub: Hub, clock: VirtualClock) -> None:
    invite_id = await hub.invite_as("amy", ["bob", "carol"], "old", timeout=10)
    await hub.accept_as("bob", invite_id)
    before = await hub.invitation(invite_id)
    await clock.advance(4)
    await hub.modify_invitation_as("amy", invite_id, "new")
    after = await hub.invitation(invite_id)
    assert before is not None
    assert after is not None
    assert (before.data, after.data) == ("old", "new")
    for name in ("state", "statuses", "expires_at", "opened_at", "inviter", "position"):
        assert getattr(before, name) == getattr(after, name)


async def test_an_online_only_invitation_cannot_be_modified(hub: Hub) -> None:
    invite_id = await hub.invite_as("amy", "bob", "old", online_user_only=True)
    await refusal(hub, hub.modify_invitation_as("amy", invite_id, "new"), 7014)
    await refusal(hub, hub.modify_invitation_as("bob", invite_id, "new"), 8011)
    await hub.accept_as("bob", invite_id)
    await refusal(hub, hub.modify_invitation_as("amy", invite_id, "new"), 8010)


# -- time ------------------------------------------------------------------------------------------


@each_operation
async def test_at_the_deadline_it_is_too_late_even_if_the_timer_has_not_run(
    hub: Hub, clock: VirtualClock, name: str
) -> None:
    user = "bob" if name in ANSWERS else "amy"
    invite_id = await hub.invite_as("amy", "bob", timeout=30)
    late(clock, 29_999)
    await OPERATIONS[name](acting(hub, user), await hub.invite_as("amy", "bob"))
    late(clock, 1)
    with pytest.raises(InvitationEnded) as caught:
        await OPERATIONS[name](acting(hub, user), invite_id)
    assert caught.value.details["state"] == "completed"
    assert await statuses(hub, invite_id) == {"bob": "timed_out"}


@each_operation
async def test_one_millisecond_before_the_deadline_is_in_time(
    hub: Hub, clock: VirtualClock, name: str
) -> None:
    user = "bob" if name in ANSWERS else "amy"
    invite_id = await hub.invite_as("amy", "bob", timeout=0.5)
    late(clock, 499)
    await OPERATIONS[name](acting(hub, user), invite_id)


async def test_what_is_due_ends_before_anything_else_is_looked_at(
    hub: Hub, clock: VirtualClock
) -> None:
    await hub.groups.put("g", ["amy", "bob"])
    for touch in (
        lambda: hub.groups.remove("g", ["bob"]),
        lambda: hub.groups.dismiss("g"),
        lambda: hub.login("bob"),
        lambda: hub.invite_as("carol", "dave"),
        lambda: hub.pending("bob"),
    ):
        await hub.groups.put("g", ["amy", "bob"])
        invite_id = await hub.invite_in_group_as("amy", "g", ["bob"], timeout=1)
        late(clock, 1000)
        await touch()
        found = hub.shard.machine.info(str(invite_id))
        assert found is not None
        assert (found.statuses, found.reason) == ({"bob": "timed_out"}, "")
    bob = await hub.login("bob", "2")
    assert bob.snapshot.open == []


@pytest.mark.parametrize("ms", [1, 2, 63, 64, 65, 4095, 4097, 30_000, 3_600_000, 30 * 86_400_000])
async def test_a_deadline_is_kept_to_the_millisecond(
    hub: Hub, clock: VirtualClock, ms: int
) -> None:
    _, ear = await join(hub, "bob")
    invite_id = await hub.invite_as("amy", "bob", timeout=ms / 1000)
    start = clock.now_ms()
    await clock.advance((ms - 1) / 1000)
    assert [event.kind for event in ear.events] == ["opened"]
    assert await statuses(hub, invite_id) == {"bob": "pending"}
    await clock.advance(0.001)
    last = ear.events[-1]
    assert (last.kind, last.time, last.expires_at) == ("timed_out", start + ms, start + ms)
    await clock.advance(100_000)
    assert len(ear.events) == 2


async def test_a_timeout_ends_only_those_who_are_pending(hub: Hub, clock: VirtualClock) -> None:
    invite_id = await hub.invite_as("amy", ["bob", "carol", "dave", "erin"], timeout=5)
    await hub.accept_as("carol", invite_id)
    await hub.reject_as("erin", invite_id)
    await clock.advance(5)
    found = await hub.invitation(invite_id)
    assert found is not None
    assert found.state == "completed"
    assert list(found.statuses.values()) == ["timed_out", "accepted", "timed_out", "rejected"]


async def test_a_call_that_waits_counts_by_its_arrival(hub: Hub, clock: VirtualClock) -> None:
    in_time = await hub.invite_as("amy", "bob", timeout=1.001)
    too_late = await hub.invite_as("amy", "bob", timeout=1)
    advancing = await begin_mass_expiry(hub, clock)
    calls = [asyncio.ensure_future(hub.accept_as("bob", name)) for name in (in_time, too_late)]
    await asyncio.sleep(0)
    assert hub.stats()["commands_waiting"] >= 2
    late(clock, 500)
    results = await asyncio.gather(*calls, return_exceptions=True)
    await advancing
    assert results[0] is None
    assert isinstance(results[1], InvitationEnded)
    assert await statuses(hub, in_time) == {"bob": "accepted"}
    assert await statuses(hub, too_late) == {"bob": "timed_out"}


# -- races -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [("accept", "reject", "cancel"), ("cancel", "accept", "reject"),
                                   ("reject", "cancel", "accept")])  # fmt: skip
async def test_the_first_commit_wins_and_only_it_is_heard(
    hub: Hub, clock: VirtualClock, order: tuple[str, ...]
) -> None:
    amy, _ = await join(hub, "amy")
    devices = {"accept": await join(hub, "bob", "1"), "reject": await join(hub, "bob", "2")}
    _, watcher = await join(hub, "amy", "watching")
    invite_id = await amy.signaling.invite("bob")
    actors = {"cancel": amy, **{name: session for name, (session, _) in devices.items()}}
    results = await asyncio.gather(
        *(OPERATIONS[name](actors[name].signaling, invite_id) for name in order),
        return_exceptions=True,
    )
    assert results[0] is None
    status = ENDS[order[0]][1]
    for loser in results[1:]:
        assert isinstance(loser, InvitationEnded)
        assert loser.details["state"] == ENDS[order[0]][0]
    await clock.settle()
    assert watcher.kinds() == ["opened", status]
    assert await statuses(hub, invite_id) == {"bob": status}


@pytest.mark.parametrize("request_id", [None, "r"])
async def test_cancelling_the_await_does_not_undo_the_operation(
    hub: Hub, clock: VirtualClock, request_id: str | None
) -> None:
    advancing = await begin_mass_expiry(hub, clock)
    waiting = asyncio.ensure_future(hub.invite_as("amy", "bob", request_id=request_id))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await advancing
    assert waiting.cancelled()
    pending = [info.invite_id for info in await hub.pending("bob")]
    assert len(pending) == 1
    if request_id is not None:
        assert pending == [await hub.invite_as("amy", "bob", request_id=request_id)]


async def test_a_call_from_another_thread_is_refused_with_a_hint(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    invite_id = await amy.signaling.invite("bob")
    before = picture(hub)
    errors: list[BaseException] = []

    def elsewhere() -> None:
        for call in (
            amy.signaling.cancel(invite_id),
            amy.signaling.invite("bob"),
            amy.groups.create_group("Work"),
            hub.cancel_by_server(invite_id),
            hub.groups.put("g", ["amy"]),
            invite_id.outcome(),
            amy.logout(),
            hub.login("carol"),
        ):
            try:
                asyncio.run(call)
            except RuntimeError as error:
                errors.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(errors) == 8
    assert all("call_soon_threadsafe" in str(error) for error in errors)
    assert picture(hub) == before


async def test_a_session_that_was_replaced_gets_6014_and_its_listener_6208_once(
    hub: Hub, clock: VirtualClock
) -> None:
    first = hub.session("amy")
    ear = ConnectionEar()
    first.add_connection_listener(ear)
    await first.login()
    second, _ = await join(hub, "amy")
    invite_id = await second.signaling.invite("bob")
    await refusal(hub, first.signaling.cancel(invite_id), 6014)
    await clock.settle()
    assert ear.heard == [("kicked_offline", 6208)]


@pytest.mark.parametrize("limits", [Limits(sessions_per_user=2)])
async def test_one_login_too_many_is_refused(hub: Hub, limits: Limits) -> None:
    await join(hub, "amy", "1")
    second, _ = await join(hub, "amy", "2")
    await refusal(hub, hub.login("amy", "3"), 7008)
    await join(hub, "amy", "1")
    await second.logout()
    await join(hub, "amy", "3")
