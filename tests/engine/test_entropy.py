"""Random bits: the same from a seed, never the same otherwise, not even across a fork."""

from __future__ import annotations

import gc
import os
import weakref
from collections import Counter
from struct import pack, unpack

import pytest
from machine_talk import START_MS, make
from scale import scaled

from pysignal.engine.entropy import Entropy, chacha20

WORDS = 512  # made at once
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


# Key, counter and nonce, and the first words of the key stream (RFC 8439 sections 2.3.2 and A.1).
VECTORS = [
    (bytes(range(32)), 1, "000000090000004a00000000",
     ("10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e"
      "d2826446079faa0914c2d705d98b02a2b5129cd1de164eb9cbd083e8a2503c4e")),
    (bytes(32), 0, "000000000000000000000000",
     ("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
      "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586")),
    (bytes(32), 1, "000000000000000000000000",
     ("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
      "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f")),
    (bytes(31) + b"\x01", 1, "000000000000000000000000",
     ("3aeb5224ecf849929b9d828db1ced4dd832025e8018b8160b82284f3c949aa5a"
      "8eca00bbb4a73bdad192b5c42f73f2fd4e273644c8b36125a64addeb006c13a0")),
    (b"\x00\xff" + bytes(30), 2, "000000000000000000000000",
     ("72d54dfbf12ec44b362692df94137f328fea8da73990265ec1bbbea1ae9af0ca"
      "13b25aa26cb4a648cb9b9d1be65b2c0924a66c54d545ec1b7374f4872e99f096")),
    (bytes(32), 0, "000000000000000000000002",
     ("c2c64d378cd536374ae204b9ef933fcd1a8b2288b3dfa49672ab765b54ee27c7"
      "8a970e0e955c14f3a88e741b97c286f75f8fc299e8148362fa198a39531bed6d")),
]  # fmt: skip


def chacha20_block(key: bytes, counter: int, nonce: bytes) -> bytes:
    """One block of 64 bytes, word by word as RFC 8439 section 2.3 tells it."""
    state = list(unpack("<16I", b"expand 32-byte k" + key + counter.to_bytes(4, "little") + nonce))
    words = state.copy()

    def turn(place: int, other: int, added: int, bits: int) -> None:
        words[place] = (words[place] + words[added]) % 2**32
        mixed = words[other] ^ words[place]
        words[other] = (mixed << bits | mixed >> 32 - bits) % 2**32

    columns = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
    diagonals = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]
    for a, b, c, d in 10 * (columns + diagonals):
        turn(a, d, b, 16)
        turn(c, b, d, 12)
        turn(a, d, b, 8)
        turn(c, b, d, 7)
    return pack("<16I", *((one + other) % 2**32 for one, other in zip(words, state, strict=True)))


@pytest.mark.parametrize(("key", "counter", "nonce", "stream"), VECTORS)
def test_the_key_stream_is_that_of_the_rfc(
    key: bytes, counter: int, nonce: str, stream: str
) -> None:
    assert chacha20(key, counter, bytes.fromhex(nonce))[:64].hex() == stream
    assert chacha20_block(key, counter, bytes.fromhex(nonce)).hex() == stream


@pytest.mark.parametrize("counter", [0, 7, 2**32 - 8, 2**32 - 1])
def test_each_block_of_the_key_stream_has_its_own_count(counter: int) -> None:
    key, nonce = os.urandom(32), os.urandom(12)
    blocks = (chacha20_block(key, (counter + at) % 2**32, nonce) for at in range(8))
    assert chacha20(key, counter, nonce) == b"".join(blocks)


@pytest.mark.parametrize(("key", "nonce"), [(31, 12), (33, 12), (32, 11), (32, 13), (0, 0)])
def test_a_key_or_nonce_of_another_length_is_refused(key: int, nonce: int) -> None:
    with pytest.raises(ValueError, match=f"32 and 12 bytes, not {key} and {nonce}"):
        chacha20(bytes(key), 0, bytes(nonce))


def test_the_stream_erases_its_key_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers are those of the key stream but the first 32 bytes, which are the next key."""
    key = os.urandom(32)
    monkeypatch.setattr(os, "urandom", lambda size: key[:size])
    source = Entropy()
    for _ in range(3):
        piece = b"".join(chacha20_block(key, at, bytes(12)) for at in range(8 * WORDS // 64))
        assert draws(source, WORDS - 4) == list(unpack(f"<{WORDS - 4}Q", piece[32:]))
        key = piece[:32]


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


@pytest.mark.parametrize("drawn", [0, 1, WORDS - 5, WORDS - 4, WORDS])
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
            with pytest.raises(OSError, match="no 32 bytes"):
                source.draw()
            with pytest.raises(OSError, match="no 32 bytes"):
                machine.open(START_MS, "a", "b", "data")
            machine.check()
        assert (machine.position, machine.stats()["slots"]) == (0, 0)
    assert len({*draws(source, 10), *draws(source, 10)}) == 20
    assert machine.info(machine.open(START_MS, "a", "b")) is not None
