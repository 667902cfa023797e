"""A hub on a folder: what it promises with real files, real threads and real time."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from busy import PATIENCE_S
from ears import Ear

from pysignal import Hub, HubClosed, Limits, SignalingListener
from pysignal.journal import JournalDamaged, JournalInUse, LogJournal, UnknownVersion

pytestmark = pytest.mark.anyio

SEGMENT_BYTES = 1 << 18
SNAPSHOT_BYTES = 1 << 20


def size_of(folder: Path) -> int:
    """Bytes of all files, of which one may vanish meanwhile."""
    size = 0
    for path in folder.iterdir():
        try:
            size += path.stat().st_size
        except FileNotFoundError:
            continue
    return size


async def test_a_folder_is_named_by_a_string_or_a_path(tmp_path: Path) -> None:
    async with Hub(journal=str(tmp_path / "calls")) as hub:
        invite_id = await hub.invite_as("amy", "bob", "hello", timeout=600)
        assert hub.stats()["records_waiting"] == 0
    async with Hub(journal=tmp_path / "calls") as hub:
        [info] = await hub.pending("bob")
        assert (info.invite_id, info.data) == (invite_id, "hello")
        await hub.accept_as("bob", invite_id)
    async with Hub(journal=tmp_path / "calls") as hub:
        assert await hub.pending("bob") == []


async def test_one_hub_at_a_time_has_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    async with Hub(journal=folder) as hub:
        other = Hub(journal=folder)
        with pytest.raises(JournalInUse, match="calls"):
            await other.open()
        assert not other.is_open
        await other.close()
        invite_id = await hub.invite_as("amy", "bob", timeout=600)
    async with Hub(journal=folder) as hub:
        assert [info.invite_id for info in await hub.pending("bob")] == [invite_id]


async def test_a_hub_that_could_not_be_opened_lets_go_of_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    async with Hub(journal=folder) as hub:
        await hub.invite_as("amy", "bob", timeout=600)
    journal = LogJournal(folder)
    await journal.open()
    await journal.append([b"\x7f of a version to come"], journal.position)
    await journal.close()
    for _ in range(2):
        with pytest.raises(UnknownVersion, match="newer"):
            await Hub(journal=folder).open()


async def test_files_stay_bounded_by_what_is_open_and_acknowledgements_never_stop(
    tmp_path: Path,
) -> None:
    """Traffic of many times the bound; meanwhile each operation is answered, and some stay open."""
    folder = tmp_path / "calls"
    journal = LogJournal(folder, segment_bytes=SEGMENT_BYTES, snapshot_bytes=SNAPSHOT_BYTES)
    largest, longest_s, snapshots = 0, 0.0, set[int]()
    limits = Limits(ended_max=100)
    async with Hub(journal=journal, limits=limits) as hub:
        kept = [await hub.invite_as("amy", f"user {n}", timeout=3600) for n in range(50)]

        async def talk(number: int, cycles: int) -> None:
            nonlocal longest_s, largest
            for cycle in range(cycles):
                begun = time.monotonic()
                invite_id = await hub.invite_as(f"inviter {number}", "somebody", "x" * 1000)
                await hub.cancel_as(f"inviter {number}", invite_id)
                longest_s = max(longest_s, time.monotonic() - begun)
                if (number + cycle) % 50 == 0:
                    largest = max(largest, size_of(folder))
                    snapshots.add(journal.base)

        async with asyncio.timeout(PATIENCE_S * 6):
            await asyncio.gather(*(talk(number, 400) for number in range(100)))
            # The log since the last snapshot, and segments ahead.
            while size_of(folder) > 3 * SNAPSHOT_BYTES + 4 * SEGMENT_BYTES:
                await hub.invite_as("amy", "a late guest", timeout=0.001)
                await asyncio.sleep(0.01)
        written = journal.position * 600  # at least, of two records each time
    assert len(snapshots) > 2
    assert largest < written / 2, "a slow disk may take a while for one"
    assert longest_s < 5
    again = LogJournal(folder, segment_bytes=SEGMENT_BYTES, snapshot_bytes=SNAPSHOT_BYTES)
    async with Hub(journal=again, limits=limits) as hub:
        assert [info.invite_id for info in await hub.pending("user 7")] == [kept[7]]
        assert hub.stats()["open"] == 50


async def test_a_deadline_that_passed_while_nobody_looked_ends_at_the_start(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    async with Hub(journal=folder) as hub:
        invite_id = await hub.invite_as("amy", "bob", timeout=0.2)
        deadline = await hub.invitation(invite_id)
        assert deadline is not None
    await asyncio.sleep(0.3)
    async with Hub(journal=folder) as hub:
        info = await hub.invitation(invite_id)
        assert info is not None
        assert info.statuses == {"bob": "timed_out"}
        assert hub.now_ms >= (deadline.expires_at or 0)


async def test_an_error_names_the_folder_and_an_empty_name_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    async with Hub(journal=folder) as hub:
        for number in range(3):
            await hub.invite_as("amy", f"user {number}", timeout=600)
    [segment] = folder.glob("*.log")
    data = bytearray(segment.read_bytes())
    data[100] ^= 1
    segment.write_bytes(data)
    with pytest.raises(JournalDamaged, match=rf"calls: {segment.name}, byte \d+: .+; "):
        await Hub(journal=folder).open()
    with pytest.raises(ValueError, match="name a folder"):
        Hub(journal="")


async def test_a_hub_that_is_closed_while_it_is_opened_does_not_open(tmp_path: Path) -> None:
    folder = tmp_path / "calls"
    async with Hub(journal=folder) as hub:
        await hub.invite_as("amy", "bob", timeout=600)
    hub = Hub(journal=folder)
    opening = asyncio.create_task(hub.open())
    await asyncio.sleep(0)
    await asyncio.wait_for(hub.close(), PATIENCE_S)
    with pytest.raises(HubClosed, match="while it was being opened"):
        await opening
    assert not hub.is_open
    async with Hub(journal=folder) as hub:
        assert len(await hub.pending("bob")) == 1


async def test_what_a_slow_listener_had_not_heard_at_the_close_rings_after_it(
    tmp_path: Path,
) -> None:
    class Slow(SignalingListener):
        def __init__(self) -> None:
            self.heard: list[str] = []

        async def on_receive_new_invitation(self, invite_id: str, *_: Any) -> None:
            self.heard.append(invite_id)
            await asyncio.sleep(PATIENCE_S)

    slow, folder = Slow(), tmp_path / "calls"
    async with Hub(journal=folder) as hub:
        await hub.login("bob", listener=slow)
        names = [await hub.invite_as("amy", "bob", timeout=600) for _ in range(4)]
        await asyncio.sleep(0.05)
    assert slow.heard == names[:1]
    async with Hub(journal=folder) as hub:
        bob, ear = hub.session("bob"), Ear()
        bob.add_signaling_listener(ear)
        await bob.login("hot")
        await asyncio.sleep(0.05)
        assert [call[1] for call in ear.take()] == names[1:]
