"""What a hub knows beside invitations and groups comes back too: results of requests, and devices.

A crash is a hub that is left behind: the next begins on what was durable at that moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from busy import code_of
from ears import Ear, join

from pysignal import Hub, Limits, Session, SignalingError, VirtualClock
from pysignal.journal import MemoryJournal

pytestmark = pytest.mark.anyio


class Kept(MemoryJournal):
    """A journal that remembers its appends one by one, and can be copied."""

    def __init__(self, snapshot_every: int | None = None) -> None:
        super().__init__(snapshot_every)
        self.batches: list[list[bytes]] = []

    async def append(self, records: Sequence[bytes], expected_position: int) -> None:
        await super().append(records, expected_position)
        self.batches.append(list(records))

    def copy(self) -> Kept:
        copy = Kept(self._snapshot_every)
        copy._base, copy._pieces = self._base, self._pieces
        copy._records = list(self._records)
        return copy


class Runs:
    """One run of a hub after another, each begun on what the last has made durable."""

    def __init__(self, clock: VirtualClock, journal: Kept) -> None:
        self._clock = clock
        self.journal = journal

    @asynccontextmanager
    async def crashing(self, **options: Any) -> AsyncIterator[Hub]:
        """A hub whose process ends in the last moment of the block."""
        hub = Hub(clock=self._clock, journal=self.journal, **options)
        await hub.open()
        yield hub
        self.journal = self.journal.copy()
        await hub.close()  # to the journal left behind

    def closing(self, **options: Any) -> Hub:
        return Hub(clock=self._clock, journal=self.journal, **options)


@pytest.fixture(params=[None, 1, 5], ids="all_records snapshots few_records".split())
def journal_kind(request: pytest.FixtureRequest) -> int | None:
    """After how many records a snapshot is taken."""
    every: int | None = request.param
    return every


@pytest.fixture
def runs(journal_kind: int | None, clock: VirtualClock) -> Runs:
    return Runs(clock, Kept(journal_kind))


def rung(ear: Ear) -> list[str]:
    heard = ear.take()
    assert all(call[0] == "receive_new_invitation" for call in heard)
    return [call[1] for call in heard]


async def join_hot(hub: Hub, clock: VirtualClock, *device: str) -> tuple[Session, list[str]]:
    """Log in hot; returns the session and what the login rang."""
    session, ear = hub.session(*device), Ear()
    session.add_signaling_listener(ear)
    await session.login("hot")
    await clock.settle()
    return session, rung(ear)


# -- requests --------------------------------------------------------------------------------------


async def test_a_retry_after_a_crash_has_the_first_result_and_rings_nobody(
    runs: Runs, clock: VirtualClock
) -> None:
    async with runs.crashing() as hub:
        amy = hub.acting_as("amy")
        invite_id = await amy.signaling.invite("bob", "hi", request_id="1")
        await hub.accept_as("bob", invite_id, "yes", request_id="1")
        group_id = await amy.groups.create_group("Public", name="crew", request_id="2")
    async with runs.crashing() as hub:
        amy, (_, ear) = hub.acting_as("amy"), await join(hub, "bob")
        assert await amy.signaling.invite("bob", "hi", request_id="1") == invite_id
        await hub.accept_as("bob", invite_id, "yes", request_id="1")
        assert await amy.groups.create_group("Public", name="crew", request_id="2") == group_id
        assert await code_of(amy.signaling.invite("bob", "other", request_id="1")) == 6017
        await clock.settle()
        assert ear.take() == []
        assert hub.stats()["invitations"] == 1
    async with runs.closing() as hub:
        amy = hub.acting_as("amy")
        assert await amy.signaling.invite("bob", "hi", request_id="1") == invite_id


async def test_a_refusal_is_given_again_after_a_crash(runs: Runs, clock: VirtualClock) -> None:
    async with runs.crashing() as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
        with pytest.raises(SignalingError) as first:
            await hub.modify_invitation_as(
                "amy", invite_id, "x", expected_version=2, request_id="r"
            )
        await hub.modify_invitation_as("amy", invite_id, "y")
    async with runs.closing() as hub:
        with pytest.raises(SignalingError) as again:
            await hub.modify_invitation_as(
                "amy", invite_id, "x", expected_version=2, request_id="r"
            )
        assert str(again.value) == str(first.value)
        assert again.value.details == first.value.details


async def test_results_are_forgotten_after_their_time_also_over_a_restart(
    runs: Runs, clock: VirtualClock
) -> None:
    async with runs.crashing() as hub:
        first = await hub.invite_as("amy", "bob", request_id="r", timeout=600)
    await clock.advance(119)
    async with runs.crashing() as hub:
        assert await hub.invite_as("amy", "bob", request_id="r", timeout=600) == first
    await clock.advance(1)
    async with runs.closing() as hub:
        assert hub.stats()["requests_remembered"] == 0
        assert await hub.invite_as("amy", "bob", request_id="r", timeout=600) != first


async def test_no_more_results_are_kept_over_a_restart_than_before(
    runs: Runs, clock: VirtualClock
) -> None:
    limits = Limits(requests_max=3)
    async with runs.crashing(limits=limits) as hub:
        names = [
            await hub.invite_as("amy", "bob", request_id=str(number), timeout=600)
            for number in range(5)
        ]
    async with runs.closing(limits=limits) as hub:
        assert hub.stats()["requests_remembered"] == 3
        for number in (2, 3, 4):
            again = await hub.invite_as("amy", "bob", request_id=str(number), timeout=600)
            assert again == names[number]


async def test_wherever_it_crashes_a_request_has_one_effect(clock: VirtualClock) -> None:
    journal = Kept()
    requests: list[tuple[str, str]] = []
    async with Hub(clock=clock, journal=journal) as hub:
        for turn in range(4):
            calls = []
            for number in range(3):
                name, data = f"{turn}.{number}", "x" * number
                requests.append((name, data))
                calls.append(hub.invite_as("amy", "bob", data, timeout=600, request_id=name))
            await asyncio.gather(*calls)
    for count in range(len(journal.batches) + 1):
        cut = Kept()
        cut._records = [record for batch in journal.batches[:count] for record in batch]
        async with Hub(clock=clock, journal=cut) as hub:
            for name, data in requests:
                await hub.invite_as("amy", "bob", data, timeout=600, request_id=name)
            assert len(await hub.pending("bob")) == len(requests), count


# -- devices ---------------------------------------------------------------------------------------


async def test_a_device_that_was_online_at_the_crash_is_not_rung_again(
    runs: Runs, clock: VirtualClock
) -> None:
    async with runs.crashing() as hub:
        _, ear = await join(hub, "bob", "phone")
        told = await hub.invite_as("amy", "bob", timeout=600)
        await clock.settle()
        assert rung(ear) == [told]
    async with runs.crashing() as hub:
        missed = await hub.invite_as("amy", "bob", timeout=600)
        assert (await join_hot(hub, clock, "bob", "phone"))[1] == [missed]
        assert (await join_hot(hub, clock, "bob", "tablet"))[1] == [told, missed]
    async with runs.closing() as hub:
        for device in ("phone", "tablet"):
            session, heard = await join_hot(hub, clock, "bob", device)
            assert heard == []
            assert [info.invite_id for info in session.snapshot.open] == [told, missed]


async def test_what_a_device_was_told_and_has_ended_is_in_its_snapshot(
    runs: Runs, clock: VirtualClock
) -> None:
    async with runs.crashing() as hub:
        bob, _ = await join(hub, "bob", "phone")
        await join(hub, "bob", "tablet")
        names = [await hub.invite_as("amy", "bob", timeout=600) for _ in range(3)]
        await clock.settle()
        await bob.logout()
    async with runs.crashing() as hub:
        await hub.cancel_as("amy", names[0])
        ended = await hub.invite_as("amy", "bob", timeout=600)
        await hub.cancel_as("amy", ended)
    async with runs.closing() as hub:
        for device in ("phone", "tablet"):
            session, heard = await join_hot(hub, clock, "bob", device)
            assert heard == []
            assert [info.invite_id for info in session.snapshot.open] == names[1:]
            assert [info.invite_id for info in session.snapshot.ended] == names[:1]


async def test_what_a_login_was_too_late_for_still_rings_at_a_hot_one(
    runs: Runs, clock: VirtualClock
) -> None:
    async with runs.crashing() as hub:
        await hub.groups.put("g", ["amy", "bob"])
        old = await hub.invite_in_group_as("amy", "g", ["bob"], timeout=600)
        await clock.advance(31)
        _, ear = await join(hub, "bob")
        await clock.settle()
        assert rung(ear) == []
    async with runs.crashing() as hub:
        session, heard = await join_hot(hub, clock, "bob")
        assert heard == [old]
        await session.logout()
    async with runs.closing() as hub:
        assert (await join_hot(hub, clock, "bob"))[1] == []


async def test_what_waited_for_a_listener_at_the_logout_rings_after_a_restart(
    runs: Runs, clock: VirtualClock
) -> None:
    async with runs.crashing() as hub:
        bob, ear = await join(hub, "bob")
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
        await bob.logout()  # in the turn in which it was committed
        assert ear.take() == []
    async with runs.closing() as hub:
        assert (await join_hot(hub, clock, "bob"))[1] == [invite_id]


async def test_what_a_push_told_of_is_not_rung_after_a_restart(
    runs: Runs, clock: VirtualClock
) -> None:
    from pysignal import SignalingInfo

    async with runs.crashing() as hub:
        await hub.groups.put("g", ["amy", "bob"])
        old = await hub.invite_in_group_as("amy", "g", ["bob"], timeout=600)
        await clock.advance(31)
        bob, _ = await join(hub, "bob")
        await bob.signaling.add_invited_signaling(SignalingInfo(old, "amy", "g", ["bob"]))
    async with runs.closing() as hub:
        assert (await join_hot(hub, clock, "bob"))[1] == []


async def test_devices_are_forgotten_after_their_time_and_their_number(
    runs: Runs, clock: VirtualClock
) -> None:
    limits = Limits(devices_remembered=2, told_keep_s=100)
    async with runs.crashing(limits=limits) as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
        for device in ("a", "b", "c"):
            session, _ = await join(hub, "bob", device)
            await clock.advance(10)
            await session.logout()
    async with runs.crashing(limits=limits) as hub:
        rang = [bool((await join_hot(hub, clock, "bob", device))[1]) for device in ("a", "b", "c")]
        assert rang == [True, False, False]
        for session in list(hub._presence.sessions):
            await session.logout()
    await clock.advance(101)
    async with runs.closing(limits=limits) as hub:
        assert (await join_hot(hub, clock, "bob", "c"))[1] == [invite_id]


async def test_a_device_has_the_same_number_after_a_restart(
    runs: Runs, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pysignal.presence.DEVICE_NUMBER_MAX", 3)
    async with runs.crashing() as hub:
        sessions = [(await join(hub, "bob", device))[0] for device in ("a", "b", "c")]
        numbers = [session.device_number for session in sessions]
    assert sorted(numbers) == [1, 2, 3]
    async with runs.closing() as hub:
        for device, number in (("c", numbers[2]), ("a", numbers[0]), ("b", numbers[1])):
            assert (await join(hub, "bob", device))[0].device_number == number


async def test_engine_time_goes_on_from_whatever_was_recorded_last(
    journal_kind: int | None,
) -> None:
    start_ms = 1_700_000_000_000
    clock = VirtualClock(start_ms)
    runs = Runs(clock, Kept(journal_kind))
    async with runs.crashing() as hub:
        await hub.invite_as("amy", "bob", timeout=0)
        await clock.advance(3600)
        await hub.acting_as("amy").groups.create_group("Work", "w", request_id="r")
    runs._clock = VirtualClock(start_ms + 1000)  # set back by nearly an hour
    async with runs.crashing() as hub:
        created = await hub.acting_as("amy").groups.get_group_info("w")
        assert hub.now_ms >= created.created_ms == start_ms + 3_600_000
        session, _ = await join(hub, "amy")
        await runs._clock.advance(60)
        await session.logout()
    runs._clock = VirtualClock(start_ms)
    async with runs.closing() as hub:
        assert hub.now_ms >= start_ms + 3_660_000


# -- snapshots -------------------------------------------------------------------------------------


async def test_a_snapshot_taken_while_groups_change_gives_the_same_groups(
    clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step of the snapshot is followed by changes, of what it has and what it has not."""
    monkeypatch.setattr("pysignal.saving.MEMBERS_PER_PIECE", 2)
    monkeypatch.setattr("pysignal.saving.TURN_NS", 0)
    journal = Kept()
    async with Hub(clock=clock, journal=journal) as hub:
        changes: list[Callable[[], Any]] = []
        for name in "abcdef":
            await hub.groups.put(name, [f"user {number}" for number in range(5)])
            changes += [
                lambda name=name: hub.groups.add(name, ["x", "y"]),
                lambda name=name: hub.groups.remove(name, ["x", "user 2"]),
            ]
        changes += [lambda: hub.groups.dismiss("f"), lambda: hub.groups.put("f", ["z", "x"])]
        changes += [lambda: hub.groups.dismiss("b"), lambda: hub.groups.put("new", ["x", "z"])]
        changes += [lambda: hub.groups.dismiss("new"), lambda: hub.groups.put("new", ["y"])]
        journal._snapshot_every = 1
        for change in changes:
            await change()
            await clock.settle()
        journal._snapshot_every = None
        await clock.settle()
        groups = hub.shard.groups
        assert journal.base > 0
        async with Hub(clock=clock, journal=journal.copy()) as copy:
            assert copy.shard.groups.state_hash() == groups.state_hash()
            for user in ("x", "y", "z", "user 0", "user 2"):
                assert copy.shard.groups.joined(user) == groups.joined(user)


async def test_a_snapshot_that_fails_changes_nothing_and_is_tried_again_later(
    clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Kept):
        tries = 0

        async def save(self, position: int, pieces: Any) -> None:
            self.tries += 1
            if self.tries == 1:
                await anext(pieces)
                raise OSError(28, "No space left on device")
            await super().save(position, pieces)

    journal = Failing(snapshot_every=1)
    async with Hub(clock=clock, journal=journal) as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
        await clock.settle()
        assert (journal.tries, journal.base) == (1, 0)
        await hub.invite_as("amy", "bob", timeout=600)
        await clock.advance(9)
        assert journal.tries == 1
        await clock.advance(2)
        await hub.cancel_as("amy", invite_id)
        await clock.settle()
        assert journal.tries == 2
        assert journal.base > 0
    assert "snapshot failed" in caplog.text


async def test_the_end_of_a_hub_gives_up_its_snapshot(clock: VirtualClock) -> None:
    class Endless(Kept):
        ended = False

        async def save(self, position: int, pieces: Any) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.ended = True

    journal = Endless(snapshot_every=1)
    hub = Hub(clock=clock, journal=journal)
    await hub.open()
    await hub.invite_as("amy", "bob", timeout=600)
    await clock.settle()
    await asyncio.wait_for(hub.close(), 10)
    assert journal.ended


async def test_the_end_of_a_hub_begins_no_snapshot(clock: VirtualClock) -> None:
    class Counting(Kept):
        tries = 0

        async def save(self, position: int, pieces: Any) -> None:
            self.tries += 1
            await super().save(position, pieces)

    journal = Counting()
    async with Hub(clock=clock, journal=journal) as hub:
        await hub.invite_as("amy", "bob", timeout=600)
        await clock.settle()
        journal._snapshot_every = 1
        position = journal.position
        last = asyncio.ensure_future(hub.invite_as("amy", "bob", timeout=600))
        await asyncio.sleep(0)  # decided, and durable only while the hub ends
    await asyncio.wait({last})
    assert (journal.position, journal.tries) == (position + 1, 0)
