"""`pysignal journal check` and `dump`: what they say, of whom, and beside a server that writes."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from busy import PATIENCE_S

from pysignal import Hub, VirtualClock
from pysignal.journal.files import segment_name, snapshot_name
from pysignal.journal.inspection import check, dump, steady_look
from pysignal.journal.log import LogJournal
from pysignal.journal.read_only_disk import ReadOnlyDisk
from pysignal.journal.readable import fields_of

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "calls"


async def pieces(count: int = 3) -> AsyncIterator[bytes]:
    for number in range(count):
        yield b"%d" % number * 500


async def write(folder: Path, count: int = 30, snapshot_at: int | None = None) -> None:
    journal = LogJournal(folder, segment_bytes=4096)
    await journal.open()
    for number in range(count):
        await journal.append([b"?%d" % number + bytes(400)], number)
        if snapshot_at == number + 1:
            await journal.save(snapshot_at, pieces())
    await journal.close()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {
        path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(folder.iterdir())
    }


def make(folder: Path) -> None:
    folder.mkdir(mode=0o700)


def logs_of(folder: Path) -> list[str]:
    return [name for name in state_of(folder) if name.endswith(".log")]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "pysignal", "journal", *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_a_sound_log_is_told_file_by_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await write(folder, snapshot_at=20)
    before = state_of(folder)
    assert check(folder) == 0
    out, err = capsys.readouterr()
    assert (out.splitlines()[:2], err) == (
        [f"{folder}: sound", "  30 records, 10 of them after its snapshot"],
        "",
    )
    assert snapshot_name(20) in out
    assert "3 pieces" in out
    for name in logs_of(folder):
        assert name in out
    assert state_of(folder) == before


async def test_a_torn_commit_is_told_and_is_no_damage(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await write(folder, count=2)
    log = folder / segment_name(0)
    flip(log, len(log.read_bytes().rstrip(b"\0")) - 1)
    before = state_of(folder)
    assert check(folder) == 0
    assert "the last commit is torn" in capsys.readouterr().out
    assert dump(folder) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert state_of(folder) == before


async def test_damage_is_told_and_the_rest_is_dumped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await write(folder)
    logs = logs_of(folder)
    flip(folder / logs[1], 700)
    before = state_of(folder)
    assert check(folder) == 1
    out = capsys.readouterr().out
    assert out.startswith(f"{folder}: damaged\n  {logs[1]}, byte ")
    assert dump(folder) == 1
    out, err = capsys.readouterr()
    assert f"damaged: {logs[1]}, byte " in err
    positions = [json.loads(line)["position"] for line in out.splitlines()]
    second, third = int(logs[1][:20]), int(logs[2][:20])
    assert positions == [*range(second + 1), *range(third, 30)]
    flip(folder / logs[2], 20)
    assert dump(folder) == 1
    out = capsys.readouterr().out
    assert [json.loads(line)["segment"] for line in out.splitlines() if "segment" in line] == [
        third
    ]
    assert (folder / logs[0]).read_bytes() == before[logs[0]][0]


async def test_a_damaged_snapshot_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    await write(folder, snapshot_at=20)
    flip(folder / snapshot_name(20), 300)
    assert check(folder) == 1
    assert snapshot_name(20) in capsys.readouterr().out
    assert dump(folder) == 1
    first, *others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first["snapshot"] == 20
    assert "damaged" in first
    assert others[-1]["position"] == 29


@pytest.mark.parametrize("command", [check, dump])
async def test_what_is_no_journal_is_told(
    command: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(folder) == 2
    assert "there is no such folder" in capsys.readouterr().err
    make(folder)
    assert command(folder) == 2
    assert "no journal in it" in capsys.readouterr().err
    await write(folder)
    (folder / "notes.txt").write_text("mine")
    assert command(folder) == 2
    assert "notes.txt: this is no file of a log" in capsys.readouterr().err
    (folder / "notes.txt").unlink()
    log = folder / segment_name(0)
    content = log.read_bytes()
    log.write_bytes(content[:4] + b"\2\0" + content[6:])
    assert command(folder) == 2
    assert "version 2" in capsys.readouterr().err
    log.chmod(0)
    if os.geteuid() != 0:
        assert command(folder) == 2
        assert "can't be read" in capsys.readouterr().err
    capsys.readouterr()
    assert command(log) == 2
    assert "none; choose another path" in capsys.readouterr().err


async def test_both_are_safe_beside_a_server(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A log is appended to, switched and snapshot all the time; nothing of it looks damaged."""
    journal = LogJournal(folder, segment_bytes=4096, snapshot_bytes=8192)
    await journal.open()
    running = True

    async def serve() -> None:
        while running:
            await journal.append([b"?" + bytes(300)] * 2, journal.position)
            if journal.wants_snapshot:
                await journal.save(journal.position, pieces())

    def look() -> list[int]:
        disk = ReadOnlyDisk(folder)
        disk.open()
        positions = []
        while len(positions) < 40 or positions[-1] < 400:
            found = steady_look(disk)
            assert found is not None
            positions.append(found.position)
        disk.close()
        return positions

    serving = asyncio.ensure_future(serve())
    positions = await asyncio.wait_for(asyncio.to_thread(look), PATIENCE_S)
    assert positions == sorted(positions)
    assert positions[-1] > positions[0]
    result = await asyncio.to_thread(run, "check", str(folder))
    assert (result.returncode, result.stderr) == (0, "")
    result = await asyncio.to_thread(run, "dump", str(folder))
    assert (result.returncode, result.stderr) == (0, "")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    at = [line.get("position", line.get("snapshot")) for line in lines]
    assert at == sorted(at)
    running = False
    await serving
    await journal.close()


async def test_a_dump_shows_what_a_hub_wrote(
    folder: Path, clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Hub(clock=clock, journal=LogJournal(folder)) as hub:
        invite_id = await hub.invite_as("amy", "bob", "Grüße", timeout=60)
        await hub.accept_as("bob", invite_id, "yes")
        await hub.groups.put("class", ["amy", "bob"])
        asked = await hub.invite_in_group_as("amy", "class", ["bob"], timeout=30)
    assert dump(folder) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["position"] for line in lines] == list(range(len(lines)))
    assert lines[0] == {"position": 0, "kind": "key", "shard": 0}
    kinds = [line["kind"] for line in lines[1:]]
    assert kinds == ["opened", "accepted", "group", "opened"]
    opened, accepted, group, in_group = lines[1:]
    assert (opened["invite_id"], opened["actor"], opened["data"]) == (invite_id, "amy", "Grüße")
    assert opened["invitees"] == ["bob"]
    assert opened["deadline_ms"] == opened["time_ms"] + 60_000
    assert (accepted["subject"], accepted["data"]) == ("bob", "yes")
    assert group["record"]
    assert (in_group["invite_id"], in_group["group"]) == (asked, "class")


@pytest.mark.parametrize(
    "entry", [b"", b"\1", b"\1\1\0" + bytes(30), b"\1\xff" + bytes(90), b"G{", b"?", b"\2new"]
)
def test_what_is_not_understood_is_shown_in_digits(entry: bytes) -> None:
    assert fields_of(entry) == {"kind": "unknown", "hex": entry.hex()}


def test_the_command_line_has_both() -> None:
    result = run("--help")
    assert result.returncode == 0
    assert "check" in result.stdout
    assert "dump" in result.stdout
    result = run("check")
    assert result.returncode == 2
    assert "DIR" in result.stderr
    result = run("check", "/nowhere/at/all")
    assert (result.returncode, result.stdout) == (2, "")
    assert os.strerror(errno.ENOENT) in result.stderr or "no such folder" in result.stderr
