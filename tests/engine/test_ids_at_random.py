"""Invite IDs of whole machines against a set: none twice, none forged, none that tells anything.

`test_ids` holds the text to its arithmetic; here machines make the IDs. Random bits are drawn from
a seed, so that two lives of a machine can be given the same ones: what a broken source of them
would do, and what the generation of a slot is for.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from machine_talk import START_MS, make, refused
from scale import scaled

from pysignal.engine import snapshot
from pysignal.engine.entropy import Entropy
from pysignal.engine.ids import IdSpace
from pysignal.engine.machine import Machine
from pysignal.engine.refused import Refused

KEY = b"sixteen bytes..."
DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
CHARS = 26
RANDOM_CHARS = 12  # the last ones hold nothing but random bits
RANDOM_BITS = 64
SHARD_AT = 116  # the bits of the shard are above this one
GENERATIONS = 2**20


def value(text: str) -> int:
    number = 0
    for char in text:
        number = number << 5 | DIGITS.index(char)
    return number


def spell(number: int) -> str:
    return "".join(DIGITS[number >> shift & 31] for shift in range(5 * (CHARS - 1), -1, -5))


# -- none twice ------------------------------------------------------------------------------------


def test_no_id_comes_twice_though_one_slot_serves_them_all_past_its_last_generation() -> None:
    machine = make(ended_max=0)
    count = scaled(1_200_000)
    assert count > GENERATIONS or scaled(100) < 100
    ids = set()
    for _ in range(count):
        invite_id = machine.open(START_MS, "a", [], group_id="g")  # born ended
        machine.take()
        ids.add(invite_id)
    assert len(ids) == count
    assert machine.stats()["slots"] == 1
    invite_id = machine.open(START_MS, "a", "b")
    for stale in ids:
        assert machine.info(stale) is None
    assert machine.info(invite_id) is not None


def test_no_id_comes_twice_over_lives_that_keep_nothing_but_key_and_shard() -> None:
    """Without records every life begins with the first slot and generation, at any time."""
    rng = random.Random(1)
    lives = scaled(200, at_least=5)
    ids = set()
    for life in range(lives):
        now_ms = START_MS - life * 1_000 + rng.randrange(10_000)
        machine = Machine(key=KEY, shard=7, now_ms=now_ms, ended_max=0)
        for number in range(1_000):
            ids.add(machine.open(now_ms, "a", [], group_id="g"))
            if rng.random() < 0.5:
                machine.take()
            assert len(ids) == life * 1_000 + number + 1
    assert {value(invite_id) >> SHARD_AT for invite_id in ids} == {7}


def copy_by_records(machine: Machine, records: list[bytes]) -> Machine:
    for record in records:
        assert snapshot.apply(machine, record)
    return machine


def copy_by_snapshot(machine: Machine, records: list[bytes]) -> Machine:
    """Copy what the records say by way of another machine and its snapshot."""
    other = copy_by_records(Machine(key=KEY, ended_max=2, ended_keep_ms=50), records)
    restore = snapshot.Restore(machine)
    first: int | None = 0
    while first is not None:
        piece, first = snapshot.take_slice(other, first, 3)
        restore.load(piece)
    return restore.finish()


@pytest.mark.parametrize("copy", [copy_by_records, copy_by_snapshot])
@pytest.mark.parametrize("seed", range(6))
def test_no_id_comes_twice_over_restarts_even_where_every_life_draws_the_same_random_bits(
    copy: Callable[[Machine, list[bytes]], Machine], seed: int
) -> None:
    """The clock steps back between two lives, and records that were not durable are lost."""
    rng = random.Random(seed)
    records: list[bytes] = []
    acknowledged: set[str] = set()
    lows: set[str] = set()
    for life in range(scaled(12, at_least=4)):
        machine = Machine(
            key=KEY, entropy=Entropy(seed), ended_max=2, ended_keep_ms=50, journaled=True
        )
        machine = copy(machine, records)
        now_ms = max(machine.now_ms, START_MS - life * 1_000)
        made: list[tuple[int, str]] = []
        for _ in range(rng.randrange(10, 60)):
            now_ms += rng.choice([0, 1, 60])
            machine.advance(now_ms)
            invitees: str | list[str] = "b" if rng.random() < 0.5 else ["b", "c"]
            invite_id = machine.open(now_ms, "a", invitees, timeout_ms=5_000)
            assert invite_id not in acknowledged
            made.append((machine.position, invite_id))
            if rng.random() < 0.8:
                machine.cancel(now_ms, rng.choice([invite_id, made[-1][1]]), None)
            if rng.random() < 0.5:
                records += machine.records()
                machine.take(rng.randint(0, len(records)))
        records += machine.records()
        machine.check()
        durable = rng.randint(len(records) - 5, len(records))
        del records[durable:]
        acknowledged |= {invite_id for position, invite_id in made if position <= durable}
        lows |= {invite_id[-RANDOM_CHARS:] for _, invite_id in made}
    assert len(lows) < len(acknowledged) / 1.5, "the random bits hardly repeated"


# -- stale and forged ------------------------------------------------------------------------------


def operations(machine: Machine) -> Iterator[tuple[Callable[..., None], str]]:
    """Everything that can be done to an invitation, with who may do it to the one that is open."""
    yield from ((machine.accept, "b"), (machine.reject, "b"), (machine.mark_told, "b"))
    yield from ((machine.cancel, "a"), (machine.modify, "a"))


def assert_names_nothing(machine: Machine, invite_id: str) -> None:
    for operation, actor in operations(machine):
        error = refused(machine, "unknown", operation, START_MS, invite_id, actor)
        assert error.info is None
    refused(machine, "unknown", machine.cancel, START_MS, invite_id, None)
    assert machine.info(invite_id) is None
    assert not machine.is_told(invite_id, "b")


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_a_stale_id_never_reaches_the_invitation_that_has_its_slot_now(kept: int) -> None:
    rng = random.Random(kept)
    machine = make(ended_max=kept)
    stale: list[str] = []
    for _ in range(scaled(60, at_least=10)):
        invitees: str | list[str] = "b" if rng.random() < 0.5 else ["b", "c"]
        invite_id = machine.open(START_MS, "a", invitees)
        forgotten = max(0, len(stale) - kept)
        for old in stale[max(0, forgotten - 5) : forgotten]:
            assert_names_nothing(machine, old)
        for old in stale[forgotten:]:
            for operation, actor in operations(machine):
                refused(machine, "ended", operation, START_MS, old, actor)
        machine.cancel(START_MS, invite_id, "a")
        machine.take()
        stale.append(invite_id)
    assert machine.stats()["slots"] <= kept + 2


def test_a_stale_id_is_stale_even_where_the_next_one_has_the_same_slot_and_random_bits() -> None:
    """Two lives with the same source of random bits: the generation alone tells the IDs apart."""
    first = make(key=KEY, ended_max=0, entropy=Entropy(3), journaled=True)
    stale = first.open(START_MS, "a", "b")
    first.cancel(START_MS, stale, "a")
    second = make(key=KEY, ended_max=0, entropy=Entropy(3))
    copy_by_records(second, first.records())
    second.take()
    second.advance(START_MS)
    fresh = second.open(START_MS, "a", "b")
    space = IdSpace(KEY)
    assert space.read(stale) == (0, 1, value(stale) & 2**64 - 1)
    assert space.read(fresh) == (0, 2, value(stale) & 2**64 - 1)
    assert_names_nothing(second, stale)
    assert second.info(fresh) is not None


class Town:
    """A machine in which every small slot number is taken by an open invitation."""

    def __init__(self) -> None:
        self.machine = make(key=KEY)
        for index in range(4_096):
            invitees: str | list[str] = "b" if index % 2 else ["b", "c"]
            self.machine.open(START_MS, "a", invitees, timeout_ms=60_000 + index)
        self.ids = [event.invite_id for event in self.machine.take()]


@pytest.fixture(scope="module")
def town() -> Town:
    return Town()


def forgeries(invite_id: str, rng: random.Random) -> Iterator[str]:
    """What somebody who holds an ID could try for another one."""
    number = value(invite_id)
    for bit in range(128):
        yield spell(number ^ 1 << bit)
        yield spell(number ^ 1 << bit ^ 1 << (bit + rng.randrange(1, 128)) % 128)
    for step in (1, -1, 1 << 64, -1 << 64, 1 << 96, -1 << 96):
        yield spell((number + step) % 2**128)
    for place in range(CHARS):
        for char in DIGITS + "ilouILOU -_\0é\u0660\uff10":
            if char != invite_id[place]:
                yield invite_id[:place] + char + invite_id[place + 1 :]
        if invite_id[place].isalpha():
            yield invite_id[:place] + invite_id[place].upper() + invite_id[place + 1 :]
        yield invite_id[:place] + invite_id[place + 1 :]
        yield invite_id[:place] + invite_id[place] + invite_id[place:]


def test_no_forgery_of_an_id_names_anything(town: Town) -> None:
    """The slots around are all taken, so a forged slot always leads to somebody's invitation."""
    rng = random.Random(12)
    tried = 0
    for invite_id in rng.sample(town.ids, scaled(60, at_least=3)):
        for forged in forgeries(invite_id, rng):
            assert town.machine.info(forged) is None, forged
            tried += 1
    for invite_id in rng.sample(town.ids, 2):
        for forged in rng.sample(list(forgeries(invite_id, rng)), 3):
            assert_names_nothing(town.machine, forged)
    assert tried >= 1_000


def test_halves_of_two_ids_make_no_third(town: Town) -> None:
    rng = random.Random(13)
    for _ in range(scaled(30_000)):
        one, other = value(rng.choice(town.ids)), value(rng.choice(town.ids))
        if one == other:
            continue
        cut = rng.choice([64, 64, 52, 96, 32, rng.randrange(1, 116)])
        forged = (one >> cut << cut) | (other & (1 << cut) - 1)
        if forged not in (one, other):
            assert town.machine.info(spell(forged)) is None


def some_text(rng: random.Random, valid: str) -> str:
    """Text of any kind and length that spells no ID, some of it very near to one."""
    kind = rng.randrange(8)
    size = rng.choice([0, 1, 25, 26, 26, 26, 27, 52, 63, 64, 65, 1_000])
    if kind == 0:
        return rng.randbytes(size).decode("latin-1")
    if kind == 1:
        return "".join(chr(rng.randrange(0x110000)) for _ in range(size))
    if kind == 2:
        return "".join(rng.choices(DIGITS, k=size))
    if kind == 3:
        return "".join(rng.choices("0" + DIGITS.upper(), k=size))
    if kind == 4:
        return valid.upper() if rng.random() < 0.5 else valid.swapcase()
    if kind == 5:
        return rng.choice([" ", "\n", "\t", "\0", "\ufeff", "\u200b"]) + valid
    if kind == 6:
        return valid + rng.choice([" ", "\n", "\0", valid, "0" * 64, "\u0301"])
    place = rng.randrange(CHARS)
    return valid[:place] + chr(rng.randrange(128, 0x110000)) + valid[place + 1 :]


def test_text_of_any_kind_is_unknown_and_nothing_else(town: Town) -> None:
    rng = random.Random(14)
    position = town.machine.position
    calls = [operation for operation, _ in operations(town.machine)]
    for _ in range(scaled(60_000)):
        text = some_text(rng, rng.choice(town.ids))
        assert town.machine.info(text) is None
        with pytest.raises(Refused) as caught:
            rng.choice(calls)(START_MS, text, rng.choice(["a", "b", "x"]))
        assert (caught.value.result, caught.value.info) == ("unknown", None)
    assert town.machine.position == position
    town.machine.check()


# -- nothing to guess ------------------------------------------------------------------------------


def of_fresh_slots(count: int) -> list[str]:
    machine = make(entropy=Entropy(2))
    return [machine.open(START_MS, "a", "b") for _ in range(count)]


def of_one_slot(count: int) -> list[str]:
    machine = make(entropy=Entropy(2), ended_max=0)
    ids = []
    for _ in range(count):
        ids.append(machine.open(START_MS, "a", [], group_id="g"))
        machine.take()
    return ids


@pytest.mark.parametrize("source", [of_fresh_slots, of_one_slot])
def test_consecutive_ids_share_no_counter_that_can_be_seen(
    source: Callable[[int], list[str]],
) -> None:
    """Every bit below the shard is a coin, and so is its change over any short distance."""
    count = scaled(20_000, at_least=5_000)
    numbers = [value(invite_id) for invite_id in source(count)]
    assert {number >> SHARD_AT for number in numbers} == {0}
    spread = 6 * (count**0.5) / 2  # six standard deviations
    for distance in (0, 1, 2, 3, 4, 8, 16, 256):
        changes = numbers
        if distance:
            changes = [one ^ other for one, other in zip(numbers, numbers[distance:], strict=False)]
        for bit in range(SHARD_AT):
            ones = sum(change >> bit & 1 for change in changes)
            assert abs(ones - len(changes) / 2) < spread, (distance, bit)
    for shift, mask in ((0, 2**RANDOM_BITS - 1), (RANDOM_BITS, 2**52 - 1)):
        words = [number >> shift & mask for number in numbers]
        steps = [(other - one) & mask for one, other in pairwise(words)]
        assert len(set(steps)) == len(steps), "a step that comes again"
        rises = sum(one < other for one, other in pairwise(words))
        assert abs(rises - len(steps) / 2) < spread
