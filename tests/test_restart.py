"""A hub that begins again on the journal of another: the same state, the same IDs, no repeats."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import pytest
from busy import code_of
from ears import Ear, join

from pysignal import Hub, Limits, SignalingError, VirtualClock
from pysignal.journal import JournalError, MemoryJournal

pytestmark = pytest.mark.anyio

MakeHub = Callable[[], Hub]


@pytest.fixture(params=[None, 1, 5], ids="all_records snapshots few_records".split())
def journal(request: pytest.FixtureRequest) -> MemoryJournal:
    """Read from the first record on, from a snapshot as new as can be, or with a few since."""
    return MemoryJournal(snapshot_every=request.param)


@pytest.fixture
def again(clock: VirtualClock, journal: MemoryJournal) -> MakeHub:
    """Makes hubs on the same journal, one after another."""
    return lambda: Hub(clock=clock, journal=journal)


def rung(ear: Ear) -> list[str]:
    heard = ear.take()
    assert all(call[0] == "receive_new_invitation" for call in heard)
    return [call[1] for call in heard]


async def test_invitations_are_back_with_ids_data_statuses_and_deadlines(
    again: MakeHub, clock: VirtualClock
) -> None:
    async with again() as hub:
        await hub.groups.put("g", ["amy", "bob", "cy"])
        amy, _ = await join(hub, "amy")
        one = await amy.signaling.invite("bob", "one", timeout=60)
        two = await amy.signaling.invite_in_group("g", ["cy", "bob"], "two", timeout=90)
        three = await amy.signaling.invite(["bob", "dee"], "three", timeout=0)
        await amy.signaling.modify_invitation(one, "one more")
        await hub.accept_as("bob", two)
        before = {name: await hub.invitation(name) for name in (one, two, three)}
    await clock.advance(10)
    async with again() as hub:
        for name, old in before.items():
            new = await hub.invitation(name)
            assert old is not None
            assert new is not None
            for field in (
                "invite_id group_id inviter data statuses state reason opened_at expires_at seq "
                "data_version position"
            ).split():
                assert getattr(new, field) == getattr(old, field), field
        amy, ear = await join(hub, "amy")
        assert [info.invite_id for info in amy.snapshot.open] == [one, two, three]
        bob, bob_ear = await join(hub, "bob")
        await clock.settle()
        assert rung(bob_ear) == [one, three]
        await bob.signaling.accept(one)
        await clock.advance(79.999)
        assert [call[0] for call in ear.take()] == ["invitee_accepted"]
        await clock.advance(0.001)
        assert ear.take() == [("invitation_timeout", two, ["cy"])]


async def test_groups_are_back_with_members_roles_and_texts(again: MakeHub) -> None:
    async with again() as hub:
        amy = hub.acting_as("amy").groups
        await amy.create_group("Public", "p", "pub", member_list=["bob", "cy"])
        await amy.set_group_member_role("p", "bob", 300)
        await amy.set_group_info("p", introduction="hello")
        await amy.set_group_member_info("p", "cy", name_card="C")
        await amy.create_group("Work", "w", member_list=["bob", "cy"])
        await amy.quit_group("w")
        await amy.create_group("Meeting", "gone")
        await amy.dismiss_group("gone")
        await hub.groups.put("s", ["x", "y"])
        await hub.groups.put("s", ["y", "z"])
        state = hub.shard.groups.state_hash()
    async with again() as hub:
        assert hub.shard.groups.state_hash() == state
        bob = hub.acting_as("bob").groups
        members, after = await bob.get_group_member_list("p")
        assert [(m.user_id, int(m.role), m.name_card) for m in members] == [
            ("amy", 400, ""),
            ("bob", 300, ""),
            ("cy", 200, "C"),
        ]
        assert after == 0
        assert (await bob.get_group_info("w")).owner == "bob"
        assert (await bob.get_group_info("p")).introduction == "hello"
        assert await hub.groups.members("s") == ["y", "z"]
        assert await code_of(bob.get_group_info("gone")) == 10010


async def test_what_fell_due_meanwhile_ends_once_at_the_start(
    again: MakeHub, clock: VirtualClock
) -> None:
    async with again() as hub:
        due = await hub.invite_as("amy", "bob", timeout=5)
        kept = await hub.invite_as("amy", "bob", timeout=500)
    await clock.advance(100)
    async with again() as hub:
        _, ear = await join(hub, "amy")
        bob, bob_ear = await join(hub, "bob")
        await clock.advance(1)
        assert rung(bob_ear) == [kept]
        assert ear.heard == [], "nobody was online at the end, and it is not repeated"
        assert await code_of(bob.signaling.accept(due)) == 8010
    async with again() as hub:
        assert [info.invite_id for info in await hub.pending("bob")] == [kept]
        assert hub.stats()["invitees_timed_out"] == 1


async def test_a_cold_login_after_a_restart_rings_again_but_no_hang_up_that_was_told(
    again: MakeHub, clock: VirtualClock
) -> None:
    async with again() as hub:
        amy, _ = await join(hub, "amy")
        _, ear = await join(hub, "bob")
        ringing = await amy.signaling.invite("bob", timeout=500)
        hang_up = await amy.signaling.invite("bob", timeout=0)
        await clock.settle()
        assert rung(ear) == [ringing, hang_up]
    async with again() as hub:
        _, ear = await join(hub, "bob")
        await clock.settle()
        assert rung(ear) == [ringing]


async def test_a_hang_up_told_as_the_hub_closes_is_not_told_again(
    again: MakeHub, clock: VirtualClock
) -> None:
    async with again() as hub:
        amy, _ = await join(hub, "amy")
        _, ear = await join(hub, "bob")
        await clock.settle()
        hang_up = await amy.signaling.invite("bob", timeout=0)
    assert rung(ear) == [hang_up], "closing delivers what was committed"
    async with again() as hub:
        _, ear = await join(hub, "bob")
        await clock.settle()
        assert rung(ear) == []


@pytest.mark.parametrize("closes", [False, True], ids=["in a turn", "as the hub closes"])
async def test_more_hang_ups_than_one_turn_notes_are_not_told_again(
    again: MakeHub, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    monkeypatch.setattr("pysignal.hub.TOLD_PER_TURN", 2)
    async with again() as hub:
        amy, _ = await join(hub, "amy")
        _, ear = await join(hub, "bob")
        await clock.settle()
        calls = [amy.signaling.invite("bob", timeout=0) for _ in range(7)]
        hang_ups = await asyncio.gather(*calls)
        if not closes:
            await clock.settle()
            assert rung(ear) == hang_ups
            assert hub._delivery.told == [], "one turn after the other has noted them"
    if closes:
        assert rung(ear) == hang_ups
    async with again() as hub:
        _, ear = await join(hub, "bob")
        await clock.settle()
        assert rung(ear) == []


async def test_a_snapshot_after_a_restart_shows_what_the_user_has_answered(
    again: MakeHub, clock: VirtualClock
) -> None:
    async with again() as hub:
        invite_id = await hub.invite_as("amy", ["bob", "cy"], timeout=500)
        await hub.accept_as("bob", invite_id)
    async with again() as hub:
        bob, ear = await join(hub, "bob")
        assert [info.invite_id for info in bob.snapshot.open] == [invite_id]
        await clock.settle()
        assert rung(ear) == []


async def test_the_end_is_explained_after_a_restart(again: MakeHub) -> None:
    async with again() as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=500)
        await hub.cancel_by_server(invite_id)
    async with again() as hub:
        with pytest.raises(SignalingError) as caught:
            await hub.accept_as("bob", invite_id)
        assert caught.value.code == 8010
        assert caught.value.details["state"] == "cancelled"
        assert caught.value.details["reason"] == "server"


async def test_ids_never_repeat_over_restarts(again: MakeHub) -> None:
    seen: set[str] = set()
    for _ in range(5):
        async with again() as hub:
            for _ in range(50):
                invite_id = await hub.invite_as("amy", "bob", timeout=0.001)
                await hub.cancel_as("amy", invite_id)
                assert invite_id not in seen
                seen.add(invite_id)


async def test_a_clock_that_stepped_back_between_two_runs_delays_no_deadline() -> None:
    journal = MemoryJournal()
    late, early = VirtualClock(1_700_000_000_000), VirtualClock(1_700_000_000_000 - 3_600_000)
    async with Hub(clock=late, journal=journal) as hub:
        await hub.invite_as("amy", "bob", timeout=30)
    async with Hub(clock=early, journal=journal) as hub:
        amy, ear = await join(hub, "amy")
        fresh = await amy.signaling.invite("cy", timeout=10)
        assert amy.snapshot.now >= 1_700_000_000_000
        await early.advance(10)
        assert [call[1] for call in ear.take()] == [fresh]
        await early.advance(20)
        assert [call[0] for call in ear.take()] == ["invitation_timeout"]


@pytest.mark.parametrize("seed", range(5))
async def test_any_history_on_a_journal_gives_the_same_state(
    again: MakeHub, clock: VirtualClock, seed: int
) -> None:
    choose = random.Random(seed)
    users = [f"user {number}" for number in range(8)]
    opened: list[str] = []

    async def act(hub: Hub) -> None:
        user = choose.choice(users)
        acting = hub.acting_as(user)
        some = choose.sample([other for other in users if other != user], choose.randint(1, 4))
        timeout = choose.choice([0, 0.05, 1, 20])
        match choose.randrange(8):
            case 0:
                opened.append(await acting.signaling.invite(some, timeout=timeout))
            case 1:
                opened.append(await acting.signaling.invite_in_group("g", some, timeout=timeout))
            case 2:
                await acting.signaling.cancel(choose.choice(opened))
            case 3:
                await acting.signaling.modify_invitation(choose.choice(opened), "new")
            case 4 | 5:
                answer = choose.choice([acting.signaling.accept, acting.signaling.reject])
                await answer(choose.choice(opened[-20:]))
            case 6:
                await hub.groups.remove("g", some[:1])
            case 7:
                await hub.groups.add("g", some)

    for _ in range(4):
        async with again() as hub:
            await hub.groups.put("g", users)
            for _ in range(120):
                try:
                    await act(hub)
                except (SignalingError, IndexError) as error:
                    if isinstance(error, SignalingError) and error.code not in (
                        6017,
                        8010,
                        8011,
                        10007,
                    ):
                        raise
                if choose.random() < 0.3:
                    await clock.advance(choose.choice([0.01, 0.5, 5]))
            await clock.settle()
            hub.shard.tick(hub.now_ms)
            machine, groups = hub.shard.machine.state_hash(), hub.shard.groups.state_hash()
        async with again() as hub:
            assert hub.shard.groups.state_hash() == groups
            hub.shard.tick(hub.now_ms)
            hub.shard.machine.check()
            assert hub.shard.machine.state_hash() == machine


async def test_another_device_is_not_taken_for_the_one_that_answered_before_the_restart(
    again: MakeHub,
) -> None:
    async with again() as hub:
        bob, _ = await join(hub, "bob", "phone")
        invite_id = await hub.invite_as("amy", "bob", timeout=500)
        await bob.signaling.accept(invite_id)
    async with again() as hub:
        bob, _ = await join(hub, "bob", "tablet")
        with pytest.raises(SignalingError) as caught:
            await bob.signaling.accept(invite_id)
        assert caught.value.code == 8010
        assert caught.value.details["status"] == "accepted"
        assert "this device" not in str(caught.value)


async def test_a_journal_of_another_shard_is_refused_by_name(clock: VirtualClock) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal, shard=3) as hub:
        await hub.invite_as("amy", "bob", timeout=500)
    with pytest.raises(JournalError, match=r"shard 3, the hub of shard 0: open it by Hub\(shard=3"):
        await Hub(clock=clock, journal=journal).open()
    async with Hub(clock=clock, journal=journal, shard=3) as hub:
        assert len(await hub.pending("bob")) == 1


async def test_limits_that_are_too_small_for_a_journal_are_named(
    again: MakeHub, clock: VirtualClock, journal: MemoryJournal
) -> None:
    async with again() as hub:
        for number in range(20):
            await hub.invite_as("amy", f"user {number}", timeout=500)
    small = Hub(clock=clock, journal=journal, limits=Limits(users_max=5))
    with pytest.raises(JournalError, match=r"raise Limits\.open_max"):
        await small.open()
    async with again() as hub:
        assert hub.stats()["open"] == 20
