"""Invite IDs against plain arithmetic on 128-bit numbers.

As text an ID is a number in Crockford's base 32, and the model here writes and reads exactly that.
Beyond the text the tests hold what callers rely on: an ID leads back to its place and to no other,
has one spelling, and tells nothing of the place to whoever lacks the key.
"""

from __future__ import annotations

import random
import re

import pytest

from pysignal.engine.ids import IdSpace

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
CHARS = 26
SPELLS_AN_ID = re.compile(rf"[0-7][{DIGITS}]{{{CHARS - 1}}}")
SLOT_MAX = 2**32 - 1
GENERATION_MAX = 2**20 - 1
RANDOM_MAX = 2**64 - 1
SHARD_MAX = 4095
EDGES = [0, 1, 2, 31, 32, 2**16]


def spell(number: int) -> str:
    """Write 128 bits in base 32, the highest first."""
    return "".join(DIGITS[number >> shift & 31] for shift in range(5 * (CHARS - 1), -1, -5))


def value(text: str) -> int:
    """Read what `spell` wrote."""
    number = 0
    for char in text:
        number = number << 5 | DIGITS.index(char)
    return number


def some_place(rng: random.Random) -> tuple[int, int, int]:
    """A slot, a generation and random bits, often at an end of their range."""
    return (
        rng.choice([*EDGES, SLOT_MAX, rng.randrange(SLOT_MAX + 1)]),
        rng.choice([*EDGES, GENERATION_MAX, rng.randrange(GENERATION_MAX + 1)]),
        rng.choice([*EDGES, RANDOM_MAX, *[rng.getrandbits(64) for _ in range(8)]]),
    )


def some_space(rng: random.Random) -> IdSpace:
    return IdSpace(rng.randbytes(16), rng.choice([0, 1, SHARD_MAX, rng.randrange(SHARD_MAX + 1)]))


def test_an_id_leads_back_to_its_place() -> None:
    rng = random.Random(1)
    for _ in range(300):
        space = some_space(rng)
        for _ in range(100):
            place = some_place(rng)
            assert space.read(space.make(*place)) == place


def test_the_text_is_the_number_in_base_32_with_the_shard_first_and_the_random_bits_last() -> None:
    rng = random.Random(2)
    for shard in (0, 1, 5, SHARD_MAX):
        space = IdSpace(rng.randbytes(16), shard)
        for _ in range(2_000):
            slot, generation, low = some_place(rng)
            text = space.make(slot, generation, low)
            assert len(text) == CHARS
            assert text.isascii()
            assert text == text.lower()
            number = value(text)
            assert spell(number) == text
            assert number >> 116 == shard
            assert number & RANDOM_MAX == low


def test_all_of_the_alphabet_is_used_and_nothing_else() -> None:
    rng = random.Random(3)
    space = IdSpace(rng.randbytes(16))
    seen = set("".join(space.make(0, 0, rng.getrandbits(64)) for _ in range(500)))
    assert seen == set(DIGITS)
    assert not seen & set("ilou"), "letters that are mistaken for others"


def test_no_two_places_share_an_id() -> None:
    rng = random.Random(4)
    space = some_space(rng)
    places = {some_place(rng) for _ in range(50_000)}
    # The same random bits at many slots and generations, as when a source of them fails.
    places |= {(slot, generation, 7) for slot in range(300) for generation in range(100)}
    assert len({space.make(*place) for place in places}) == len(places)


def test_generations_of_a_slot_differ_over_20_bits_and_then_begin_anew() -> None:
    space = IdSpace(bytes(range(16)))
    for generation in (1, 2, 4, 2**19, GENERATION_MAX):
        stale = space.read(space.make(9, generation - 1, 77))
        fresh = space.read(space.make(9, generation, 77))
        assert stale == (9, generation - 1, 77)
        assert fresh == (9, generation, 77)
    assert space.make(9, GENERATION_MAX + 1, 77) == space.make(9, 0, 77)
    assert space.read(space.make(9, 2**32 - 1, 77)) == (9, GENERATION_MAX, 77)


def test_no_flipped_bit_leads_to_the_same_place_with_the_same_random_bits() -> None:
    rng = random.Random(5)
    for _ in range(200):
        space = some_space(rng)
        place = some_place(rng)
        number = value(space.make(*place))
        for bit in range(128):
            forged = space.read(spell(number ^ 1 << bit))
            assert forged != place
            if bit >= 116:
                assert forged is None, "another shard"
            elif bit >= 64:
                assert forged is not None
                assert forged[2] == place[2]


def test_no_flipped_bit_of_the_text_reads_as_the_same_id() -> None:
    rng = random.Random(6)
    space = some_space(rng)
    for _ in range(100):
        place = some_place(rng)
        text = space.make(*place)
        for index in range(CHARS):
            for bit in range(21):
                code = ord(text[index]) ^ 1 << bit
                if code > 0x10FFFF:
                    continue
                forged = text[:index] + chr(code) + text[index + 1 :]
                read = space.read(forged)
                assert read != place
                assert read is None or space.make(*read) == forged


def test_an_id_of_another_key_leads_elsewhere() -> None:
    rng = random.Random(7)
    key = rng.randbytes(16)
    mine = IdSpace(key)
    for bit in range(128):
        number = int.from_bytes(key, "little") ^ 1 << bit
        theirs = IdSpace(number.to_bytes(16, "little"))
        found = sum(
            mine.read(theirs.make(slot, 1, low))[:2] == (slot, 1)  # type: ignore[index]
            for slot, low in enumerate(rng.getrandbits(64) for _ in range(50))
        )
        assert found == 0


def test_an_id_of_another_shard_is_none_of_ours() -> None:
    key = bytes(range(16))
    ours = IdSpace(key, 17)
    for shard in range(SHARD_MAX + 1):
        text = IdSpace(key, shard).make(3, 4, 5)
        assert ours.read(text) == ((3, 4, 5) if shard == 17 else None)


def test_slot_and_generation_do_not_show_without_the_key() -> None:
    rng = random.Random(8)
    space = IdSpace(rng.randbytes(16))
    counts = [0] * 52
    for _ in range(4_000):
        hidden = value(space.make(0, 0, rng.getrandbits(64))) >> 64
        for bit in range(52):
            counts[bit] += hidden >> bit & 1
    assert all(1_700 < count < 2_300 for count in counts)


def test_text_of_the_right_length_is_an_id_exactly_if_it_spells_a_number_of_our_shard() -> None:
    rng = random.Random(9)
    space = IdSpace(rng.randbytes(16), 0)
    sources = [
        DIGITS,
        DIGITS + "ilou",
        DIGITS.upper() + DIGITS,
        "".join(map(chr, range(128))),
        "".join(map(chr, range(256))),
        DIGITS + "é漢😀",
    ]
    read_some = 0
    for _ in range(30_000):
        source = rng.choice(sources)
        text = "00" + rng.choice("00001") + "".join(rng.choices(source, k=CHARS - 3))
        read = space.read(text)
        ours = SPELLS_AN_ID.fullmatch(text) is not None and value(text) >> 116 == 0
        assert (read is not None) is ours
        if read is not None:
            assert space.make(*read) == text
            read_some += 1
    assert read_some > 1_000


@pytest.mark.parametrize("index", [0, 1, 12, 13, 14, CHARS - 1])
def test_each_wrong_character_at_each_kind_of_place_spoils_an_id(index: int) -> None:
    space = IdSpace(bytes(16))
    text = space.make(0, 0, 0)
    allowed = DIGITS[:8] if index == 0 else DIGITS
    for code in [*range(0x3000), 0xD800, 0xDFFF, 0xFF10, 0xFFFF, 0x10000, 0x1D7CE, 0x10FFFF]:
        forged = text[:index] + chr(code) + text[index + 1 :]
        number = value(forged) if chr(code) in allowed else None
        ours = number is not None and number >> 116 == 0
        assert (space.read(forged) is not None) is ours, hex(code)


def test_no_text_of_another_length_is_an_id() -> None:
    rng = random.Random(10)
    space = IdSpace(rng.randbytes(16))
    text = space.make(1, 2, 3)
    wrong = [text[:size] for size in range(CHARS)]
    wrong += [text + extra for extra in ("0", " ", "\n", "\0", "é", text)]
    wrong += [" " + text[1:], text[:-1] + "\n", text[:-1] + "\0", "\0" * CHARS, " " + text]
    wrong += [text.upper(), text.title() + "a", "😀" * CHARS, "é" * CHARS, "\ud800" * CHARS]
    wrong += ["0" * 10_000_000, "{" + text + "}"]
    for forged in wrong:
        assert space.read(forged) is None


def test_other_bytes_are_no_id_and_never_an_error() -> None:
    rng = random.Random(11)
    space = IdSpace(rng.randbytes(16))
    for _ in range(20_000):
        text = rng.randbytes(CHARS).decode("latin-1")
        assert space.read(text) is None


def test_a_wide_text_whose_bytes_in_memory_spell_an_id_is_none() -> None:
    space = IdSpace(bytes(16))
    text = space.make(1, 2, 3)
    for order in ("utf-16-le", "utf-16-be"):
        wide = text.encode().decode(order)
        assert space.read(wide) is None
        assert space.read(wide + wide) is None


def test_numbers_over_128_bits_are_no_ids() -> None:
    space = IdSpace(bytes(16), SHARD_MAX)
    last = "7" + "z" * (CHARS - 1)
    read = space.read(last)
    assert read is not None
    assert space.make(*read) == last
    for first in DIGITS[8:]:
        assert space.read(first + last[1:]) is None
        assert IdSpace(bytes(16)).read(first + "0" * (CHARS - 1)) is None


class Text(str):
    """A str with a life of its own."""

    __slots__ = ()


@pytest.mark.parametrize("wrong", [None, 5, b"0" * CHARS, ["0"] * CHARS, Text("0" * CHARS)])
def test_what_is_not_exactly_a_str_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="Argument 'text' has incorrect type"):
        IdSpace(bytes(16)).read(wrong)  # type: ignore[arg-type]


def test_a_key_of_other_than_16_bytes_is_refused() -> None:
    for size in (0, 15, 17, 32):
        with pytest.raises(ValueError, match=f"key: 16 bytes are needed, not {size}"):
            IdSpace(bytes(size))
    for wrong in (None, "0123456789abcdef", bytearray(16)):
        with pytest.raises(TypeError, match="Argument 'key' has incorrect type"):
            IdSpace(wrong)  # type: ignore[arg-type]


def test_a_shard_beyond_12_bits_is_refused() -> None:
    for shard in (SHARD_MAX + 1, 2**32 - 1):
        with pytest.raises(ValueError, match=f"shard: 0 to 4095, not {shard}"):
            IdSpace(bytes(16), shard)
    for shard in (-1, 2**32):
        with pytest.raises(OverflowError):
            IdSpace(bytes(16), shard)


@pytest.mark.parametrize(
    "place", [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (2**32, 0, 0), (0, 2**32, 0), (0, 0, 2**64)]
)
def test_a_place_out_of_range_is_refused(place: tuple[int, int, int]) -> None:
    with pytest.raises(OverflowError):
        IdSpace(bytes(16)).make(*place)
