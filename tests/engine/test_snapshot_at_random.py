"""Snapshots of machines that were restored from snapshots, and slices and records that are damaged.

A restart is not the last one: what a restored machine does goes into the next snapshot. And what is
refused on the way has changed nothing, so that the sound piece can follow the damaged one.
"""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from machine_histories import GROUPS, KEY, USERS, History, replay

from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine

NOW_MS = 1_000
MANY = [f"invitee-{i}" for i in range(100)]


def slices_of(history: History, slots: int, steps: int) -> list[bytes]:
    """Take a snapshot in slices of so many slots, with up to so many steps after each."""
    slices = []
    at: int | None = 0
    while at is not None:
        piece, at = snapshot.take_slice(history.machine, at, slots)
        slices.append(piece)
        for _ in range(history.random.randrange(steps + 1)):
            history.step()
    return slices


def everything(machine: Machine) -> list[Any]:
    """Return all that can be asked of a machine, in the order in which it is told."""
    asked = [machine.pending_of(user) + machine.opened_by(user) for user in USERS]
    asked += [machine.open_in(group) for group in GROUPS]
    counts = machine.stats().items()
    return [
        (machine.state_hash(), machine.position, machine.now_ms),
        {name: count for name, count in counts if name.startswith("inv")},
        [
            [(info.invite_id, info.statuses, info.data, info.expires_at) for info in infos]
            for infos in asked
        ],
    ]


@pytest.mark.parametrize("slots", [1, 2, 7])
@pytest.mark.parametrize("seed", range(12))
def test_a_machine_restored_again_and_again_is_the_same(seed: int, slots: int) -> None:
    history = History(seed)
    for generation in range(4):
        for _ in range(80):
            history.step()
        history.read(take=False)
        start = len(history.records)
        slices = slices_of(history, slots, 4)
        for _ in range(history.random.randrange(40)):
            history.step()
        history.check()
        limits = history.limits | {"entropy": Entropy(1_000 * seed + generation)}
        restore = snapshot.Restore(Machine(journaled=True, **limits))
        for piece in slices:
            restore.load(piece)
        assert restore.position == start
        # A journal begins where it likes: what the first slice has is skipped.
        early = history.random.randint(0, start)
        for record in history.records[early:start]:
            assert not restore.apply(record)
        for record in history.records[start:]:
            restore.apply(record)
        copy = restore.finish()
        copy.check()
        copy.advance(history.now_ms)
        history.machine.advance(history.now_ms)
        assert everything(copy) == everything(history.machine)
        history.machine = copy
    history.check()
    whole = replay(history)
    whole.advance(history.now_ms)
    assert everything(whole) == everything(history.machine)


@pytest.mark.parametrize("seed", range(6))
def test_records_alone_restore_a_machine_as_well(seed: int) -> None:
    history = History(seed)
    for _ in range(200):
        history.step()
    history.check()
    restore = snapshot.Restore(history.copy())
    for record in history.records:
        assert restore.apply(record)
    copy = restore.finish()
    copy.check()
    copy.advance(history.now_ms)
    assert everything(copy) == everything(history.machine)


def damaged(rng: random.Random, sound: bytes) -> bytes:
    """Cut a piece, lengthen it, or change some of its bytes."""
    how = rng.randrange(5)
    if how == 0:
        return sound[: rng.randrange(len(sound))]
    if how == 1:
        return sound + rng.randbytes(rng.randrange(1, 20))
    changed = bytearray(sound)
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(len(changed))
        changed[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)])
    return bytes(changed)


@pytest.mark.parametrize("seed", range(20))
def test_the_sound_slice_can_follow_a_damaged_one(seed: int) -> None:
    history = History(seed)
    for _ in range(120):
        history.step()
    history.check()
    slices = slices_of(history, 5, 0)
    rng = random.Random(seed)
    restore = snapshot.Restore(history.copy())
    refused = 0
    for number, piece in enumerate(slices):
        users = restore.machine.stats()["users"]
        for _ in range(60):
            bad = damaged(rng, piece)
            trial = snapshot.Restore(history.copy())
            for earlier in slices[:number]:
                trial.load(earlier)
            if refuses(trial, bad):
                refused += 1
                assert refuses(restore, bad)
        assert restore.machine.stats()["users"] == users
        restore.load(piece)
    copy = restore.finish()
    copy.check()
    assert everything(copy) == everything(history.machine)
    assert refused > 20


def refuses(restore: snapshot.Restore, piece: bytes) -> bool:
    """Whether a slice is a ValueError; one that goes in is at least no harm."""
    try:
        restore.load(piece)
    except ValueError:
        return True
    except MemoryError:
        return False
    with suppress(ValueError, MemoryError):  # others are missing
        restore.finish().state_hash()
    return False


@pytest.mark.parametrize("seed", range(10))
def test_the_sound_record_can_follow_a_damaged_one(seed: int) -> None:
    history = History(seed)
    for _ in range(60):
        history.step()
    history.check()
    rng = random.Random(seed)
    copy, twin = history.copy(), history.copy()
    refused = 0
    for record in history.records:
        before = copy.state_hash()
        for _ in range(10):
            bad = damaged(rng, record)
            try:
                changed = snapshot.apply(copy, bad)
            except ValueError:
                refused += 1
                continue
            if changed:  # taken for another decision, which it may be: begin anew
                copy.check()
                copy = history.copy()
                for earlier in history.records[: history.records.index(record)]:
                    snapshot.apply(copy, earlier)
        if copy.now_ms != twin.now_ms:  # a refused record may have moved time on
            copy = history.copy()
            for earlier in history.records[: history.records.index(record)]:
                snapshot.apply(copy, earlier)
        assert copy.state_hash() == before == twin.state_hash()
        assert snapshot.apply(copy, record)
        assert snapshot.apply(twin, record)
        assert copy.state_hash() == twin.state_hash()
    assert refused > 100


TEXTS = [
    "plain", "x" * 1_000, "\x00\x7f", "\x80\xff", "\u07ff\u0800", "\ufffd\uffff", "\U00010000",
    "\U0010ffff", "\ud800", "\udfff alone", "a\ud83d\ude00b", "漢字" * 500,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_text_is_recorded_as_utf_8(text: str) -> None:
    name, data = text[:60], text
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS, journaled=True)
    copy = Machine(key=KEY, now_ms=NOW_MS, journaled=True)
    one = original.open(NOW_MS, name, f"{name}-b", data)
    many = original.open(NOW_MS, "c", [name, f"{name}-d", "e"], data, group_id=name)
    original.modify(NOW_MS, one, name, data + data)
    original.accept(NOW_MS, many, name, data)
    records = original.records()
    for record in records:
        assert name.encode("utf-8", "surrogatepass") in record
        assert data.encode("utf-8", "surrogatepass") in record
        snapshot.apply(copy, record)
    piece, _ = snapshot.take_slice(original, 0, 100)
    restored = snapshot.Restore(Machine(key=KEY, now_ms=NOW_MS))
    restored.load(piece)
    assert copy.state_hash() == original.state_hash() == restored.finish().state_hash()
    for machine in (copy, restored.machine):
        [info] = machine.opened_by(name)
        assert (info.data, info.invitee_list) == (data + data, [f"{name}-b"])
        assert [each.invite_id for each in machine.open_in(name)] == [many]


def test_a_text_that_is_no_utf_8_is_refused() -> None:
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS, journaled=True)
    original.open(NOW_MS, "inviter", "invitee", "what it is about")
    original.open(NOW_MS, "inviter", ["member 1", "member 2"], "é", group_id="group")
    records = original.records()
    piece, _ = snapshot.take_slice(original, 0, 100)
    copy = Machine(key=KEY, now_ms=NOW_MS)
    restore = snapshot.Restore(Machine(key=KEY, now_ms=NOW_MS))
    texts = (b"inviter", b"invitee", b"what", b"member 1", b"member 2", b"group", "é".encode())
    met = 0
    for text in texts:
        for wrong in (b"\xff" * len(text), text[:-1] + b"\xc3", b"\x80" + text[1:]):
            with pytest.raises(ValueError, match="utf-8"):
                restore.load(piece.replace(text, wrong))
        for position, record in enumerate(records):
            changed = record.replace(text, text[:-1] + b"\xfe")
            if changed != record:
                met += 1
                copy = Machine(key=KEY, now_ms=NOW_MS)
                for earlier in records[:position]:
                    snapshot.apply(copy, earlier)
                with pytest.raises(ValueError, match="utf-8"):
                    snapshot.apply(copy, changed)
    assert met == 8
    restore.load(piece)
    assert restore.finish().state_hash() == original.state_hash()


@pytest.mark.parametrize("count", [2, 16, 17, 100])
def test_nobody_is_in_a_list_twice_or_invites_oneself(count: int) -> None:
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS, journaled=True)
    original.open(NOW_MS, "the-inviter", MANY[:count])
    [record] = original.records()
    piece, _ = snapshot.take_slice(original, 0, 100)
    first, last = (bytes([len(name)]) + name.encode() for name in (MANY[0], MANY[count - 1]))
    for old, new in ((b"\x0bthe-inviter", last), (last, first)):
        copy = Machine(key=KEY, now_ms=NOW_MS)
        before = copy.state_hash()
        with pytest.raises(ValueError, match="nobody invites oneself, or anybody twice"):
            snapshot.apply(copy, record.replace(old, new))
        assert copy.state_hash() == before
        assert snapshot.apply(copy, record)
        restore = snapshot.Restore(Machine(key=KEY, now_ms=NOW_MS))
        with pytest.raises(ValueError, match="nobody invites oneself, or anybody twice"):
            restore.load(piece.replace(old, new))
        restore.load(piece)
        assert restore.finish().state_hash() == original.state_hash() == copy.state_hash()


def test_a_list_longer_than_a_copy_allows_is_refused() -> None:
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS, journaled=True)
    original.open(NOW_MS, "inviter", MANY)
    [record] = original.records()
    piece, _ = snapshot.take_slice(original, 0, 100)
    copy = Machine(key=KEY, now_ms=NOW_MS, invitees_max=99)
    with pytest.raises(ValueError, match="invitees: at most 99, not 100"):
        snapshot.apply(copy, record)
    with pytest.raises(ValueError, match="invitees: at most 99, not 100"):
        snapshot.Restore(copy).load(piece)


def test_a_deadline_before_the_time_of_a_damaged_snapshot_is_due_at_once() -> None:
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS)
    original.open(NOW_MS, "inviter", "invitee", timeout_ms=100)
    piece, _ = snapshot.take_slice(original, 0, 100)
    later = piece[:9] + (NOW_MS + 5_000).to_bytes(8, "little") + piece[17:]
    restore = snapshot.Restore(Machine(key=KEY, now_ms=NOW_MS))
    restore.load(later)
    copy = restore.finish()
    assert (copy.now_ms, copy.next_ms) == (NOW_MS + 5_000, NOW_MS + 5_000)
    copy.advance(NOW_MS + 5_001)
    assert [event.kind for event in copy.take()] == ["timed_out"]


def test_a_slice_ends_when_it_has_grown_long() -> None:
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS)
    long = "x" * 30_000
    for i in range(9):
        original.open(NOW_MS, f"inviter-{i}", "invitee", long)
    original.open(NOW_MS, "inviter", [f"invitee-{i}" for i in range(9_999)])
    for i in range(9):
        original.open(NOW_MS, f"inviter-{i}", "invitee")
    restore = snapshot.Restore(Machine(key=KEY, now_ms=NOW_MS))
    firsts = [0]
    at: int | None = 0
    while at is not None:
        piece, at = snapshot.take_slice(original, at, 256)
        firsts += [at] if at is not None else []
        restore.load(piece)
    assert firsts == [0, 3, 6, 9, 10]
    assert restore.finish().state_hash() == original.state_hash()


def test_an_opening_by_nobody_is_refused() -> None:
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS, journaled=True)
    original.open(NOW_MS, "inviter", "invitee")
    [record] = original.records()
    with pytest.raises(ValueError, match="nobody invites"):
        snapshot.apply(Machine(key=KEY, now_ms=NOW_MS), record.replace(b"\x07inviter", b"\0"))


def test_records_of_thousands_of_users_are_those_of_each_alone() -> None:
    """Names are asked for ahead where they are many: ahead of the last there is nothing."""
    read = {}
    for at_once in (1, 6_000):
        machine = Machine(key=KEY, entropy=Entropy(1), now_ms=NOW_MS, journaled=True)
        records = read[at_once] = list[bytes]()
        for i in range(2_500):
            invitees: Any = [f"b{i}", f"c{i}"] if i % 3 else f"b{i}"
            invite_id = machine.open(NOW_MS, f"a{i}", invitees, f"data {i}" * (i % 2))
            if i % 5:
                machine.accept(NOW_MS, invite_id, f"b{i}")
            if machine.waiting >= at_once:
                records += machine.records()
        records += machine.records()
    assert machine.stats()["users"] > 4_096
    assert read[1] == read[6_000]
