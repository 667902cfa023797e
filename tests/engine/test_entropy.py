"""Random bits: the same from a seed, never the same otherwise, not even across a fork."""

from __future__ import annotations

import gc
import os
import weakref
from collections import Counter

import pytest
from machine_talk import START_MS, make
from scale import scaled

from pysignal.engine.entropy import Entropy

WORDS = 512  # drawn from the operating system at once
WORD_MAX = 2**64 - 1


def draws(source: Entropy, count: int) -> list[int]:
    return [source.draw() for _ in range(count)]


def splitmix64(seed: int, count: int) -> list[int]:
    """The published generator (Steele, Lea and Flood 2014), in whole numbers."""
    numbers = []
    state = seed
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & WORD_MAX
        number = ((state ^ state >> 30) * 0xBF58476D1CE4E5B9) & WORD_MAX
        number = ((number ^ number >> 27) * 0x94D049BB133111EB) & WORD_MAX
        numbers.append(number ^ number >> 31)
    return numbers


@pytest.mark.parametrize("seed", [0, 1, 42, 2**63, WORD_MAX])
def test_a_seed_gives_the_same_numbers_each_time_and_everywhere(seed: int) -> None:
    numbers = draws(Entropy(seed), 3 * WORDS + 1)
    assert numbers == draws(Entropy(seed), 3 * WORDS + 1)
    assert numbers == splitmix64(seed, 3 * WORDS + 1)


def test_seeds_differ_and_count_in_64_bits() -> None:
    firsts = {Entropy(seed).draw() for seed in range(10_000)}
    assert len(firsts) == 10_000
    assert draws(Entropy(-1), 5) == draws(Entropy(WORD_MAX), 5)
    assert draws(Entropy(2**64), 5) == draws(Entropy(0), 5)


def test_without_a_seed_no_two_sources_agree_and_no_number_comes_twice() -> None:
    sources = [Entropy() for _ in range(20)]
    numbers = [number for source in sources for number in draws(source, 4 * WORDS + 3)]
    assert len(set(numbers)) == len(numbers)
    assert min(numbers) >= 0
    assert max(numbers) <= WORD_MAX
    for bit in range(64):
        share = sum(number >> bit & 1 for number in numbers) / len(numbers)
        assert 0.48 < share < 0.52


def test_even_a_source_that_was_never_initialized_is_unpredictable() -> None:
    one, other = Entropy.__new__(Entropy), Entropy.__new__(Entropy)
    assert not set(draws(one, WORDS)) & set(draws(other, WORDS))


def test_discarded_numbers_never_come() -> None:
    seeded = Entropy(7)
    expected = splitmix64(7, 2 * WORDS)
    assert draws(seeded, 3) == expected[:3]
    seeded.discard()
    assert draws(seeded, 3) == expected[WORDS : WORDS + 3]
    source = Entropy()
    before = draws(source, WORDS + 1)
    source.discard()
    assert not set(before) & set(draws(source, WORDS))


def in_a_child(source: Entropy, count: int) -> list[int]:
    """The numbers that a forked process draws from its copy of a source."""
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            numbers = draws(source, count)
            with os.fdopen(writer, "wb") as pipe:
                pipe.write(b"".join(number.to_bytes(8, "little") for number in numbers))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        written = pipe.read()
    os.waitpid(process, 0)
    assert len(written) == 8 * count
    return [int.from_bytes(written[at : at + 8], "little") for at in range(0, len(written), 8)]


@pytest.mark.parametrize("drawn", [0, 1, WORDS - 1, WORDS])
def test_parent_and_children_of_a_fork_share_no_number(drawn: int) -> None:
    source = Entropy()
    before = draws(source, drawn)
    first = in_a_child(source, 2 * WORDS)
    second = in_a_child(source, 2 * WORDS)
    after = draws(source, 2 * WORDS)
    numbers = before + first + second + after
    assert len(set(numbers)) == len(numbers)


def test_a_seeded_source_goes_on_the_same_in_parent_and_child() -> None:
    source = Entropy(5)
    draws(source, 3)
    assert in_a_child(source, WORDS) == splitmix64(5, WORDS + 3)[3:]
    assert draws(source, WORDS) == splitmix64(5, WORDS + 3)[3:]


def test_the_watch_for_forks_keeps_no_source_alive() -> None:
    source = Entropy()
    gone = weakref.ref(source)
    del source
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("wrong", ["5", 1.5, b"seed", [1]])
def test_a_seed_that_is_no_whole_number_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="seed: a number or None, not "):
        Entropy(wrong)  # type: ignore[arg-type]


# -- in bulk, and when the operating system fails --------------------------------------------------


@pytest.mark.parametrize("seed", [None, 11])
def test_a_million_numbers_are_a_million_different_ones(seed: int | None) -> None:
    source = Entropy(seed)
    count = scaled(1_000_000)
    numbers = set(draws(source, count))
    assert len(numbers) == count


def test_each_byte_of_the_numbers_takes_each_value_as_often() -> None:
    source = Entropy(12)
    count = scaled(200_000, at_least=20_000)
    written = b"".join(number.to_bytes(8, "little") for number in draws(source, count))
    expected = count / 256
    for place in range(8):
        counts = Counter(written[place::8])
        assert len(counts) == 256
        # 255 degrees of freedom: above 400 once in a hundred million tables.
        assert sum((found - expected) ** 2 / expected for found in counts.values()) < 400


def test_without_random_bits_of_the_operating_system_nothing_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No number is made up in place of those that are missing, and none is left from before."""
    machine = make(entropy=Entropy(), key=bytes(16))
    source = Entropy()

    def urandom(size: int) -> bytes:
        raise OSError(f"no {size} bytes")

    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", urandom)
        for _ in range(3):
            with pytest.raises(OSError, match="no 4096 bytes"):
                source.draw()
            with pytest.raises(OSError, match="no 4096 bytes"):
                machine.open(START_MS, "a", "b", "data")
            machine.check()
        assert (machine.position, machine.stats()["slots"]) == (0, 0)
    assert len({*draws(source, 10), *draws(source, 10)}) == 20
    assert machine.info(machine.open(START_MS, "a", "b")) is not None
