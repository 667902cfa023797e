"""What is durable stays, and nothing else is told: C1 to C8 (docs/invariants.md).

The bulk of the proof is elsewhere: crashes of the log on a simulated disk in `journal.crashes`, a
server that is killed in `crash`. Here each promise has a check that is short enough to be run
against a planted bug.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest
from busy import code_of
from crash.rounds import play
from ears import Ear, join
from journal.simulated_disk import SimulatedDisk
from slow_journal import SlowJournal

from pysignal import Hub, SignalingError, VirtualClock
from pysignal.journal import (
    JournalDamaged,
    JournalError,
    MemoryJournal,
    UnknownVersion,
)
from pysignal.journal.disk import Step, Sync, Write
from pysignal.journal.log import LogJournal

pytestmark = pytest.mark.anyio

SEGMENT_BYTES = 4096
USERS = ["amy", "bob", "cat", "dan"]


class Log(LogJournal):
    """A log of small files on a simulated disk, which remembers what was handed to it."""

    def __init__(self, disk: SimulatedDisk, snapshot_bytes: int = 16_384) -> None:
        super().__init__("", segment_bytes=SEGMENT_BYTES, snapshot_bytes=snapshot_bytes, disk=disk)
        self.written: list[bytes] = []

    def append(self, records: Sequence[bytes], expected_position: int) -> asyncio.Future[None]:
        self.written += records
        return super().append(records, expected_position)


async def use(hub: Hub, rng: Random, acked: dict[str, str], count: int, then: Any) -> None:
    """Do something so often, and call `then` after each answer.

    What was answered is in `acked`: invitations, and their states as far as they are known.
    """
    for _ in range(count):
        inviter, invitee = rng.sample(USERS, 2)
        name = await hub.invite_as(inviter, invitee, "x" * rng.choice((1, 900)), timeout=600)
        acked[name] = "open"
        await then()
        choice = rng.random()
        if choice < 0.4:
            acked[name] = "open or completed"
            await hub.accept_as(invitee, name)
            acked[name] = "completed"
        elif choice < 0.6:
            acked[name] = "open or cancelled"
            await hub.cancel_as(inviter, name)
            acked[name] = "cancelled"
        await then()


# -- C1: acknowledged is durable -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_c1_what_was_acknowledged_survives_a_power_cut(
    clock: VirtualClock, seed: int
) -> None:
    rng = Random(seed)
    disk, acked = SimulatedDisk(rng), dict[str, str]()

    async def cut_power() -> None:
        if rng.random() > 0.2:
            return
        known = dict(acked)
        async with Hub(clock=clock, journal=Log(disk.cut_power())) as other:
            for name, state in known.items():
                info = await other.invitation(name)
                assert info is not None, f"an invitation is lost that was {state}"
                assert info.state in state

    async with Hub(clock=clock, journal=Log(disk)) as hub:
        await asyncio.gather(*(use(hub, rng, acked, 8, cut_power) for _ in range(4)))


def test_c1_a_server_that_is_killed_is_back_with_all_that_it_acknowledged() -> None:
    play(12, seed=100)


async def test_c1_a_login_rings_nobody_before_its_own_record_is_durable(
    clock: VirtualClock,
) -> None:
    """Else the device is rung again after a crash, as nobody knows that it was."""
    journal = SlowJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
        await clock.settle()
        journal.shut()
        session, ear = hub.session("bob"), Ear()
        session.add_signaling_listener(ear)
        login = asyncio.ensure_future(session.login("hot"))
        await clock.settle()
        early = ear.take()
        journal.release(all_later=True)
        await login
        await clock.settle()
        assert early == []
        assert [call[1] for call in ear.take()] == [invite_id]


# -- C2: a prefix ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_c2_what_is_recovered_is_a_prefix_with_all_that_was_acknowledged(
    clock: VirtualClock, seed: int
) -> None:
    rng = Random(seed)
    disk = SimulatedDisk(rng)
    journal = Log(disk, snapshot_bytes=1 << 20)
    images: list[tuple[SimulatedDisk, int]] = []

    def look(step: Step) -> None:
        if rng.random() < 0.3 and journal.position:
            images.append((disk.cut_power(), journal.position))

    disk.on_step = look

    async def go_on() -> None:
        pass

    async with Hub(clock=clock, journal=journal) as hub:
        await asyncio.gather(*(use(hub, rng, {}, 12, go_on) for _ in range(4)))
    assert len(images) > 10
    for image, durable in images:
        found = await records_on(image)
        assert isinstance(found, list), found
        assert durable <= len(found) <= len(journal.written)
        assert found == journal.written[: len(found)]


async def records_on(disk: SimulatedDisk) -> list[bytes] | str:
    """All records of a log without a snapshot; or why it could not be opened."""
    journal = Log(disk)
    try:
        await journal.open()
    except (JournalError, OSError) as error:
        return repr(error)
    found = list(journal.replay())
    await journal.close()
    return found


# -- C3: torn and damaged --------------------------------------------------------------------------


async def commit_some(folder: Path) -> tuple[Path, list[int]]:
    """Write a log of five commits; returns its segment, and where each commit ends."""
    journal, ends = LogJournal(folder, segment_bytes=SEGMENT_BYTES), []
    await journal.open()
    for number in range(5):
        await journal.append([b"record %d" % number], number)
        ends.append(journal._end)
    await journal.close()
    return folder / journal._segments[-1].name, ends


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 4
    path.write_bytes(data)


async def test_c3_a_torn_last_commit_is_cut_and_reported(tmp_path: Path) -> None:
    segment, ends = await commit_some(tmp_path / "log")
    flip(segment, ends[4] - 12)
    journal = LogJournal(tmp_path / "log", segment_bytes=SEGMENT_BYTES)
    await journal.open()
    assert journal.position == 4
    assert journal.report is not None
    assert (journal.report.file, journal.report.offset) == (segment.name, ends[3])
    await journal.append([b"another"], 4)
    await journal.close()
    journal = LogJournal(tmp_path / "log", segment_bytes=SEGMENT_BYTES)
    await journal.open()
    assert list(journal.replay())[4:] == [b"another"]
    assert journal.report is None
    await journal.close()


@pytest.mark.parametrize("commit", range(4))
async def test_c3_damage_before_a_sound_commit_refuses_to_start(
    tmp_path: Path, commit: int
) -> None:
    segment, ends = await commit_some(tmp_path / "log")
    flip(segment, ends[commit] - 12)
    before = segment.read_bytes()
    with pytest.raises(JournalDamaged) as caught:
        await LogJournal(tmp_path / "log", segment_bytes=SEGMENT_BYTES).open()
    assert caught.value.file == segment.name
    assert caught.value.offset == (ends[commit - 1] if commit else ends[0] - (ends[1] - ends[0]))
    assert segment.read_bytes() == before


# -- C4: a recovery that crashes -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
async def test_c4_a_recovery_can_crash_at_each_step_and_be_repeated(seed: int) -> None:
    rng = Random(seed)
    disk = SimulatedDisk(rng)
    journal = Log(disk)
    images: list[SimulatedDisk] = []
    await journal.open()
    for number in range(12):
        if number == 11:
            disk.on_step = lambda step: images.append(disk.cut_power())
        await journal.append([b"%d" % number * 500], number)
    await journal.close()
    for depth in range(3):
        image = images[-1] if depth == 0 else rng.choice(images)
        found = await records_on(image.cut_power())
        images = []
        image.on_step = lambda step, image=image, images=images: images.append(image.cut_power())
        assert await records_on(image) == found
        for crashed in images:
            assert await records_on(crashed.cut_power()) == found


async def test_c4_what_a_recovery_has_relied_on_is_durable() -> None:
    """A commit may be in memory only, left there by a process that died before its sync."""
    for seed in range(20):
        disk = SimulatedDisk(Random(seed))
        killed: list[SimulatedDisk] = []
        journal = Log(disk)
        await journal.open()
        await journal.append([b"first"], 0)

        def look(step: Step, disk: SimulatedDisk = disk, killed: list[Any] = killed) -> None:
            if isinstance(step, Write):
                killed.append(disk.kill())

        disk.on_step = look
        await journal.append([b"second"], 1)
        await journal.close()
        assert await records_on(killed[0]) == [b"first", b"second"]
        assert await records_on(killed[0].cut_power()) == [b"first", b"second"]


# -- C5: the same state ----------------------------------------------------------------------------


@pytest.mark.parametrize("snapshot_every", [None, 40])
async def test_c5_the_same_records_give_the_same_state(
    clock: VirtualClock, snapshot_every: int | None
) -> None:
    rng = Random(5)
    journal = MemoryJournal(snapshot_every)
    async with Hub(clock=clock, journal=journal) as hub:
        await hub.groups.put("crew", USERS)
        for number in range(100):
            inviter, *others = rng.sample(USERS, 4)
            if number % 2:
                name = await hub.invite_in_group_as(inviter, "crew", others, timeout=600)
            else:
                name = await hub.invite_as(inviter, others[0], timeout=rng.choice((0, 5, 600)))
            if number % 3 == 0:
                await hub.modify_invitation_as(inviter, name, "more")
            if number % 5 == 0:
                await hub.accept_as(others[0], name)
            if number % 7 == 0:
                await clock.advance(0.5)
        state = hub.shard.machine.state_hash(), hub.shard.groups.state_hash()
    for _ in range(2):
        assert await hashes_after(journal, clock) == state


async def hashes_after(journal: MemoryJournal, clock: VirtualClock) -> Any:
    """Hashes of the state after a restart, or why there was none."""
    try:
        async with Hub(clock=clock, journal=journal) as hub:
            return hub.shard.machine.state_hash(), hub.shard.groups.state_hash()
    except (JournalError, ValueError) as error:
        return repr(error)


# -- C6: failed I/O and a full disk ----------------------------------------------------------------


@pytest.mark.parametrize("kind", [Write, Sync])
@pytest.mark.parametrize("at", [1, 4])
async def test_c6_after_a_failed_step_nothing_is_acknowledged_or_tried_again(
    clock: VirtualClock, kind: type[Step], at: int
) -> None:
    disk, acked, codes = SimulatedDisk(Random(at)), list[str](), list[int]()
    after: list[Step] = []

    def fail(step: Step) -> int | None:
        nonlocal at
        if at <= 0:
            after.append(step)
        # Not of a spare: a failure of what is behind the commits is no failure of theirs.
        is_meant = isinstance(step, kind) and step[0].endswith(".log")
        at -= is_meant
        return errno.EIO if at == 0 and is_meant else None

    async def act() -> None:
        for _ in range(10):
            try:
                acked.append(await hub.invite_as("amy", "bob", timeout=600))
            except SignalingError as error:
                codes.append(error.code)

    async with Hub(clock=clock, journal=Log(disk)) as hub:
        disk.fault = fail
        await asyncio.gather(act(), act(), act())
        assert (len(acked) + len(codes), set(codes)) == (30, {6012})
        assert await code_of(hub.invitation("x")) == 6012
        commits = [step for step in after if step and str(step[0]).endswith(".log")]
        assert commits == []
    for image in (disk.kill(), disk.cut_power()):
        async with Hub(clock=clock, journal=Log(image)) as hub:
            for name in acked:
                assert (await hub.invitation(name)) is not None


async def test_c6_a_full_disk_ends_what_is_open_and_takes_no_more(clock: VirtualClock) -> None:
    disk = SimulatedDisk(Random(6), room=50 * SEGMENT_BYTES)
    journal, codes = Log(disk, snapshot_bytes=1 << 30), set[int]()
    async with Hub(clock=clock, journal=journal) as hub:
        names = []
        for _ in range(2000):
            try:
                names.append(await hub.invite_as("amy", "bob", "x" * 100, timeout=600))
            except SignalingError as error:
                codes.add(error.code)
                break
        assert codes == {7008}
        assert len(names) > 200
        for number, name in enumerate(names[:-20]):
            act = hub.cancel_as("amy", name) if number % 2 else hub.accept_as("bob", name)
            assert await outcome(act) is None
        assert await outcome(hub.invite_as("amy", "bob")) == 7008
        await clock.advance(600)
        await clock.settle()
        for name in names[-20:]:
            info = await hub.invitation(name)
            assert info is not None
            assert info.statuses == {"bob": "timed_out"}
        disk.room = None
        journal._reserve.try_again()
        for _ in range(200):
            await asyncio.sleep(0)
        assert not journal.is_full
        await hub.accept_as("bob", await hub.invite_as("amy", "bob"))
    async with Hub(clock=clock, journal=Log(disk)) as hub:
        assert hub.stats()["invitations"] == len(names) + 1


async def outcome(call: Any) -> int | None:
    """The code by which a call was refused; None where it was not."""
    try:
        await call
    except SignalingError as error:
        return error.code
    return None


# -- C7: deadlines ---------------------------------------------------------------------------------


@pytest.mark.parametrize("snapshot_every", [None, 1])
@pytest.mark.parametrize("step_back_s", [0, 3600])
async def test_c7_deadlines_are_armed_again_and_what_fell_due_ends_once(
    clock: VirtualClock, snapshot_every: int | None, step_back_s: int
) -> None:
    journal = MemoryJournal(snapshot_every)
    async with Hub(clock=clock, journal=journal) as hub:
        await hub.groups.put("crew", USERS)
        for timeout in (5, 20, 30):
            await hub.invite_as("amy", "bob", timeout=timeout)
            await hub.invite_in_group_as("amy", "crew", ["bob", "cat"], timeout=timeout)
        left_ms = hub.now_ms
        await clock.settle()
    later = VirtualClock(left_ms + (10_000 if not step_back_s else -step_back_s * 1000))
    async with Hub(clock=later, journal=journal) as hub:
        assert hub.now_ms == left_ms + (10_000 if not step_back_s else 0)
        _, ear = await join(hub, "amy")
        await later.settle()
        due = [5, 5] if step_back_s else []
        assert ear.take() == []
        fell_due = []
        for _ in range(40):
            await later.advance(1)
            at_s = (hub.now_ms - left_ms) // 1000
            fell_due += [at_s for call in ear.take() if call[0] == "invitation_timeout"]
        assert fell_due == [*due, 20, 20, 30, 30]
        assert hub.stats()["open"] == 0


@pytest.mark.parametrize("snapshot_every", [None, 1])
async def test_c7_it_all_ends_though_nobody_comes_back(
    clock: VirtualClock, snapshot_every: int | None
) -> None:
    journal = MemoryJournal(snapshot_every)
    async with Hub(clock=clock, journal=journal) as hub:
        await hub.groups.put("crew", USERS)
        await hub.invite_as("amy", "bob", timeout=5)
        await hub.invite_in_group_as("amy", "crew", ["bob", "cat"], timeout=20)
        await clock.settle()
    await clock.advance(10)
    async with Hub(clock=clock, journal=journal) as hub:
        left = [hub.stats()["open"]]
        for seconds in (0, 9.9, 0.1):
            await clock.advance(seconds)
            left.append(hub.stats()["open"])
        assert left == [2, 1, 1, 0]


# -- C8: unknown versions --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entry",
    [
        b"\x02" + bytes(60),
        b"Z{}",
        b"\x00",
        b"R" + orjson.dumps({"v": 2}),
        b"D" + orjson.dumps({"v": 2}),
    ],
    ids=["machine", "kind", "zero", "request", "device"],
)
async def test_c8_an_entry_of_an_unknown_version_is_refused(
    clock: VirtualClock, entry: bytes
) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        await hub.invite_as("amy", "bob", timeout=600)
    before = list(journal.replay())
    await journal.append([entry], journal.position)
    with pytest.raises((JournalError, ValueError), match="version"):
        await Hub(clock=clock, journal=journal).open()
    assert list(journal.replay()) == [*before, entry]


@pytest.mark.parametrize("what", ["log", "snapshot"])
async def test_c8_a_file_of_an_unknown_version_is_refused(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "calls"
    journal = LogJournal(folder, segment_bytes=SEGMENT_BYTES, snapshot_bytes=1)
    async with Hub(journal=journal) as hub:
        await hub.invite_as("amy", "bob", timeout=600)
        while not journal.base:  # noqa: ASYNC110 - until the snapshot is there
            await asyncio.sleep(0.001)
    path = next(iter(folder.glob(f"*.{what}")))
    data = bytearray(path.read_bytes())
    data[4] = 2
    path.write_bytes(data)
    with pytest.raises(JournalError) as caught:
        await Hub(journal=folder).open()
    assert isinstance(caught.value, UnknownVersion)
    assert path.name in str(caught.value)
    assert "version 2" in str(caught.value)
    assert path.read_bytes() == data


# -- A14, over a restart ---------------------------------------------------------------------------


async def test_a14_a_request_has_one_effect_and_one_result_over_a_power_cut(
    clock: VirtualClock,
) -> None:
    rng = Random(14)
    disk = SimulatedDisk(rng)
    results: dict[str, str] = {}
    async with Hub(clock=clock, journal=Log(disk)) as hub:
        for number in range(20):
            request_id = str(number)
            results[request_id] = await hub.invite_as(
                "amy", "bob", request_id, timeout=600, request_id=request_id
            )
            image = disk.cut_power()
    async with Hub(clock=clock, journal=Log(image)) as hub:
        for request_id, name in results.items():
            again = await hub.invite_as(
                "amy", "bob", request_id, timeout=600, request_id=request_id
            )
            assert again == name
        assert hub.stats()["invitations"] == len(results)
