"""A history replayed is the history: same IDs, same state, whatever way the copy was made.

Records are decisions. Applied from the start, or over a snapshot that was taken in slices while
operations went on, they lead to the same state hash and to the same lists in the same order. What
doesn't belong to a copy is refused before it changes anything.
"""

from __future__ import annotations

import struct
from itertools import pairwise, product

import pytest
from machine_histories import GROUPS, KEY, REFUSALS, USERS, History, replay

from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

FLAGS, POSITION, AFFECTED = 3, 4, 44  # where fields of a record stand


def same(copy: Machine, original: Machine) -> None:
    """Compare two machines by all that can be asked of them."""
    copy.check()
    assert copy.state_hash() == original.state_hash()
    assert copy.position == original.position
    assert copy.next_ms is None or copy.next_ms > copy.now_ms
    for user in USERS:
        for ask in ("pending_of", "opened_by"):
            ours = [info.invite_id for info in getattr(copy, ask)(user)]
            assert ours == [info.invite_id for info in getattr(original, ask)(user)]
    for group in GROUPS:
        ours = [info.invite_id for info in copy.open_in(group)]
        assert ours == [info.invite_id for info in original.open_in(group)]
    unlike = {"free", "slots", "ended_remembered", "memory_bytes", "users", "groups"}
    unlike |= {"facts_waiting"}
    stats = original.stats()
    assert {k: v for k, v in copy.stats().items() if k not in unlike} == {
        k: v for k, v in stats.items() if k not in unlike
    }


@pytest.mark.parametrize("seed", range(60))
def test_a_history_replayed_from_the_start_gives_the_same_state(seed: int) -> None:
    history = History(seed)
    for _ in range(300):
        history.step()
        history.machine.check()
    assert history.now_ms > 2**32
    history.check()
    copy = replay(history)
    assert copy.waiting == 0
    copy.advance(history.now_ms)
    same(copy, history.machine)


def test_histories_meet_every_refusal() -> None:
    met: set[str] = set()
    for seed in range(10):
        history = History(seed)
        for _ in range(200):
            history.step()
        met |= set(history.refusals)
    assert met == REFUSALS


@pytest.mark.parametrize("seed", range(20))
def test_the_state_does_not_depend_on_when_facts_are_read(seed: int) -> None:
    """Also not what is remembered of the ended: so a copy agrees with its original at any time."""
    history = History(seed)
    copy = history.copy()
    applied = 0
    for _ in range(200):
        history.step()
        history.records += history.machine.records()
        for record in history.records[applied:]:
            assert snapshot.apply(copy, record)
        applied = len(history.records)
        copy.advance(history.now_ms)
        assert copy.state_hash() == history.machine.state_hash()


@pytest.mark.parametrize("seed", range(20))
def test_a_copy_goes_on_where_its_original_stopped(seed: int) -> None:
    """A copy takes over in the middle: what it does is heard and recorded as if by the original."""
    history = History(seed)
    for _ in range(150):
        history.step()
    history.check()
    limits = history.limits | {"journaled": True, "entropy": Entropy(seed + 1)}
    heir = Machine(now_ms=history.started_ms, **limits)
    for record in history.records:
        snapshot.apply(heir, record)
    history.machine = heir
    for _ in range(150):
        history.step()
    history.check()
    copy = replay(history)
    copy.advance(history.now_ms)
    same(copy, heir)


@pytest.mark.parametrize("slots", [1, 3, 5, 1_000])
@pytest.mark.parametrize("seed", range(15))
def test_a_snapshot_in_slices_and_the_records_since_give_the_same_state(
    seed: int, slots: int
) -> None:
    history = History(seed)
    for _ in range(150):
        history.step()
    history.read(take=False)
    start = len(history.records)
    slices = []
    at: int | None = 0
    while at is not None:
        piece, at = snapshot.take_slice(history.machine, at, slots)
        slices.append(piece)
        for _ in range(history.random.randrange(6)):
            history.step()
    for _ in range(history.random.randrange(60)):
        history.step()
    history.check()
    # A machine that knows nothing of the time: the snapshot tells.
    restore = snapshot.Restore(Machine(**history.limits))
    for piece in slices:
        restore.load(piece)
    assert restore.position <= start
    for record in history.records[start:]:
        restore.apply(record)
    copy = restore.finish()
    copy.check()
    copy.advance(history.now_ms)
    same(copy, history.machine)
    history.machine = Machine(
        entropy=Entropy(seed + 1), journaled=True, now_ms=history.started_ms, **history.limits
    )
    for record in history.records:
        snapshot.apply(history.machine, record)
    # Both go on: the restored one is complete, not only equal to look at.
    for user in USERS:
        for group in GROUPS:
            for machine in (copy, history.machine):
                machine.advance(history.now_ms)
                machine.leave(history.now_ms, user, group)
    for machine in (copy, history.machine):
        machine.advance(history.now_ms + 200_000)
        machine.check()
        assert machine.stats()["open"] == 0
    assert copy.state_hash() == history.machine.state_hash()


def small_history() -> History:
    history = History(1)
    machine, now_ms = history.machine, history.now_ms
    for text in ("one", "two"):
        history.ids.append(machine.open(now_ms, "a", ["b", "c"], text, group_id="g"))
    history.ids.append(machine.open(now_ms, "a", "b", "three", 0))
    machine.mark_told(now_ms, history.ids[2], "b")
    machine.accept(now_ms, history.ids[0], "b", "yes")
    machine.modify(now_ms, history.ids[0], "a", "more")
    machine.accept(now_ms, history.ids[0], "c")
    machine.cancel(now_ms, history.ids[1], "a")
    history.read()
    return history


def refuse(copy: Machine, record: bytes, match: str) -> None:
    before = copy.state_hash()
    with pytest.raises(ValueError, match=match):
        snapshot.apply(copy, record)
    copy.check()
    assert copy.state_hash() == before


def test_a_record_is_applied_once() -> None:
    history = small_history()
    copy = replay(history)
    before = copy.state_hash()
    assert not any(snapshot.apply(copy, record) for record in history.records)
    assert copy.state_hash() == before


def test_a_gap_between_records_is_refused() -> None:
    history = small_history()
    copy = history.copy()
    snapshot.apply(copy, history.records[0])
    refuse(copy, history.records[2], "position 3 does not follow 1: records are missing")


def test_an_unknown_version_is_refused() -> None:
    history = small_history()
    refuse(history.copy(), b"\2" + history.records[0][1:], "version 2 is unknown")
    piece, _ = snapshot.take_slice(history.machine, 0, 10)
    with pytest.raises(ValueError, match="version 9 is unknown"):
        snapshot.Restore(history.copy()).load(b"\x09" + piece[1:])


def test_a_record_cut_short_anywhere_is_refused() -> None:
    history = small_history()
    copy = history.copy()
    for record in history.records:
        for end in range(len(record)):
            refuse(copy, record[:end], "cut short")
        refuse(copy, record + b"\0", "longer than it says")
        snapshot.apply(copy, record)


def test_a_record_with_any_byte_changed_is_refused_or_harmless() -> None:
    """No checksum here, that is the journal's; but nothing may crash, or break an invariant."""
    history = small_history()
    for at, record in enumerate(history.records):
        for byte in range(len(record)):
            copy = history.copy()
            for earlier in history.records[:at]:
                snapshot.apply(copy, earlier)
            changed = bytearray(record)
            changed[byte] ^= 0x55
            before = copy.position
            try:
                snapshot.apply(copy, bytes(changed))
            except (ValueError, MemoryError):
                assert copy.position == before
            copy.check()
            copy.state_hash()


def test_a_record_that_contradicts_the_copy_is_refused() -> None:
    history = small_history()
    opened, accepted = history.records[0], history.records[4]
    copy = history.copy()
    (position,) = struct.unpack_from("<Q", accepted, POSITION)
    early = accepted[:POSITION] + struct.pack("<Q", 1) + accepted[POSITION + 8 :]
    assert position == 5
    refuse(copy, early, "contradicts")  # of an invitation that is not there
    snapshot.apply(copy, opened)
    again = opened[:POSITION] + struct.pack("<Q", 2) + opened[POSITION + 8 :]
    refuse(copy, again, "contradicts")  # opened twice
    for record in history.records[1:4]:
        snapshot.apply(copy, record)
    ends = bytearray(accepted)
    ends[FLAGS] |= 1
    refuse(copy, bytes(ends), "contradicts")  # ends while somebody is pending
    many = accepted[:AFFECTED] + struct.pack("<I", 2) + accepted[AFFECTED + 4 :]
    refuse(copy, many, "contradicts")  # changes two at once
    other = Machine(now_ms=history.started_ms, **(history.limits | {"key": b"another key....."}))
    refuse(other, opened, "contradicts")
    moved = Machine(now_ms=history.started_ms, **(history.limits | {"shard": 8}))
    refuse(moved, opened, "contradicts")


def test_a_record_of_the_past_or_beyond_what_is_due_is_refused() -> None:
    history = History(1)
    machine, now_ms = history.machine, history.now_ms
    machine.open(now_ms, "a", "b", timeout_ms=100)
    machine.advance(now_ms + 100)
    machine.open(now_ms + 150, "a", "b", timeout_ms=100)
    history.read()
    copy = history.copy()
    snapshot.apply(copy, history.records[0])
    late = history.records[2][:POSITION] + struct.pack("<Q", 2) + history.records[2][POSITION + 8 :]
    with pytest.raises(ValueError, match="contradicts"):
        snapshot.apply(copy, late)  # the timeout between them is missing
    copy.check()
    assert snapshot.apply(copy, history.records[1])
    copy.advance(now_ms + 151)
    refuse(copy, history.records[2], "contradicts")


def test_a_machine_with_facts_of_its_own_is_no_copy() -> None:
    history = small_history()
    other = Machine(now_ms=history.started_ms, **history.limits)
    other.open(other.now_ms, "x", "y")
    refuse(other, history.records[1], "facts of its own")


def test_a_full_table_refuses_a_record_and_changes_nothing() -> None:
    history = small_history()
    for limit in ({"users_max": 2}, {"groups_max": 0}):
        copy = Machine(now_ms=history.started_ms, **(history.limits | limit))
        before = copy.state_hash()
        with pytest.raises(MemoryError, match="the table is full"):
            snapshot.apply(copy, history.records[0])
        assert copy.state_hash() == before
        copy.check()


def test_a_copy_of_a_smaller_table_refuses_what_it_has_no_slot_for() -> None:
    started_ms = 1_700_000_000_000
    original = Machine(key=KEY, entropy=Entropy(1), now_ms=started_ms, journaled=True)
    copy = Machine(key=KEY, now_ms=started_ms, journaled=True, capacity=1, ended_max=0)
    slots = 1 + 65_536  # beside its own there are those of ends that nobody has taken yet
    for _ in range(slots):
        original.open(started_ms, "a", "b")
    for record in original.records():
        snapshot.apply(copy, record)
    before = copy.state_hash()
    assert before == original.state_hash()
    original.open(started_ms, "a", "b")
    [record] = original.records()
    with pytest.raises(MemoryError, match=f"position {slots + 1}"):
        snapshot.apply(copy, record)
    assert copy.state_hash() == before
    copy.check()
    restore = snapshot.Restore(Machine(key=KEY, now_ms=started_ms, capacity=1, ended_max=0))
    piece, at = snapshot.take_slice(original, 0, 256)
    while at is not None:
        restore.load(piece)
        piece, at = snapshot.take_slice(original, at, 256)
    with pytest.raises(MemoryError, match="no room for another invitation"):
        restore.load(piece)


def sliced(history: History, slots: int) -> list[bytes]:
    slices = []
    at: int | None = 0
    while at is not None:
        piece, at = snapshot.take_slice(history.machine, at, slots)
        slices.append(piece)
    return slices


def test_a_snapshot_that_is_not_whole_is_refused() -> None:
    history = small_history()
    slices = sliced(history, 1)
    assert len(slices) == 3
    restore = snapshot.Restore(history.copy())
    with pytest.raises(ValueError, match="in order"):
        restore.load(slices[1])
    for piece, following in pairwise(slices):
        restore.load(piece)
        with pytest.raises(ValueError, match="in order"):
            restore.load(piece)
        with pytest.raises(ValueError, match="missing"):
            restore.finish()
        for end in range(len(following)):
            with pytest.raises(ValueError, match="cut short"):
                restore.load(following[:end])
        with pytest.raises(ValueError, match="longer"):
            restore.load(following + b"\0")
    restore.load(slices[2])
    copy = restore.finish()
    same(copy, history.machine)
    with pytest.raises(ValueError, match="finished already"):
        restore.finish()


def test_records_made_while_slices_were_taken_are_needed() -> None:
    history = small_history()
    first, at = snapshot.take_slice(history.machine, 0, 1)
    assert at == 1
    history.machine.cancel(history.now_ms, history.ids[2], "a")
    history.read()
    second, at = snapshot.take_slice(history.machine, 1, 1_000)
    assert at is None
    restore = snapshot.Restore(history.copy())
    restore.load(first)
    restore.load(second)
    with pytest.raises(ValueError, match="needs the records up to position 9"):
        restore.finish()
    with pytest.raises(ValueError, match="records are missing"):
        restore.apply(history.records[8][:POSITION] + b"\x63" + history.records[8][POSITION + 1 :])
    assert not restore.apply(history.records[8])  # the second slice has it
    with pytest.raises(ValueError, match="before records are applied"):
        restore.load(second[:17] + struct.pack("<Q", 3) + second[25:])
    same(restore.finish(), history.machine)


def test_a_snapshot_with_any_byte_changed_is_refused_or_harmless() -> None:
    history = small_history()
    (piece,) = sliced(history, 1_000)
    for byte in range(len(piece)):
        changed = bytearray(piece)
        changed[byte] ^= 0x11
        restore = snapshot.Restore(Machine(now_ms=history.started_ms, **history.limits))
        try:
            restore.load(bytes(changed))
            restore.finish().state_hash()
        except (ValueError, MemoryError):
            continue


def test_a_machine_refuses_operations_until_its_restore_is_finished() -> None:
    history = small_history()
    restore = snapshot.Restore(history.copy())
    for piece in sliced(history, 2):
        restore.load(piece)
    machine, now_ms, invite_id = restore.machine, history.now_ms, history.ids[2]
    for operation in (
        lambda: machine.open(now_ms, "a", "b"),
        lambda: machine.accept(now_ms, invite_id, "b"),
        lambda: machine.reject(now_ms, invite_id, "b"),
        lambda: machine.cancel(now_ms, invite_id, "a"),
        lambda: machine.modify(now_ms, invite_id, "a"),
        lambda: machine.mark_told(now_ms, invite_id, "b"),
        lambda: machine.leave(now_ms, "b", "g"),
        lambda: machine.dismiss(now_ms, "g"),
        lambda: machine.advance(now_ms),
    ):
        with pytest.raises(Refused, match="restoring"):
            operation()
    with pytest.raises(ValueError, match=r"Restore\.apply"):
        snapshot.apply(machine, history.records[0])
    with pytest.raises(ValueError, match="fresh"):
        snapshot.Restore(machine)
    same(restore.finish(), history.machine)


def test_a_restore_needs_a_fresh_machine() -> None:
    with pytest.raises(ValueError, match="fresh"):
        snapshot.Restore(small_history().machine)


def test_a_table_that_runs_out_in_a_slice_ends_the_restore() -> None:
    history = small_history()
    (piece,) = sliced(history, 1_000)
    restore = snapshot.Restore(Machine(**(history.limits | {"users_max": 2})))
    with pytest.raises(MemoryError, match="the table is full"):
        restore.load(piece)
    for again in (lambda: restore.load(piece), restore.finish):
        with pytest.raises(ValueError, match="failed before: users: the table is full"):
            again()


def test_slices_are_asked_for_within_the_table() -> None:
    machine = Machine(key=KEY)
    piece, following = snapshot.take_slice(machine, 0, 1)
    assert following is None
    restore = snapshot.Restore(Machine(key=KEY))
    restore.load(piece)
    assert restore.finish().state_hash() == machine.state_hash()
    for first, count in ((0, 0), (1, 1)):
        with pytest.raises(ValueError, match="slot 0 to 0"):
            snapshot.take_slice(machine, first, count)
    history = small_history()
    piece, following = snapshot.take_slice(history.machine, 2, 2**32 - 1)
    assert following is None


@pytest.mark.parametrize("invitees", ["invitee 1", ["invitee 1", "invitee 2"]], ids=["one", "list"])
def test_a_snapshot_that_contradicts_itself_is_refused(invitees: str | list[str]) -> None:
    machine = Machine(now_ms=1_000, key=KEY, entropy=Entropy(1))
    machine.open(1_000, "inviter 1", invitees, timeout_ms=100)
    machine.take()
    piece, _ = snapshot.take_slice(machine, 0, 1_000)

    def refusal(changed: bytes) -> str:
        try:
            snapshot.Restore(Machine(now_ms=1_000, key=KEY)).load(changed)
        except (ValueError, MemoryError) as error:
            return str(error)
        return ""

    assert refusal(piece) == ""
    to_oneself = piece.replace(b"invitee 1", b"inviter 1")
    assert refusal(to_oneself) == "nobody invites oneself, or anybody twice"
    refusals = set()
    for byte, value in product(range(len(piece)), range(5)):
        refusals.add(refusal(piece[:byte] + bytes([value]) + piece[byte + 1 :]))
    assert any("open without anybody pending" in told for told in refusals)
