"""Frames: their checksums, and what is told apart when they are read."""

from __future__ import annotations

from random import Random

import pytest
from journal.forgery import HEAD, forged, sealed

from pysignal.journal import frames


def test_the_checksum_is_crc_32c() -> None:
    assert frames.checksum(b"123456789") == 0xE3069283  # RFC 3720, B.4 and its kin
    assert frames.checksum(bytes(32)) == 0x8A9136AA
    assert frames.checksum(b"\xff" * 32) == 0x62A8AB43
    assert frames.checksum(bytes(range(32))) == 0x46DD794E
    assert frames.checksum(b"", 7) == 7


def test_with_and_without_the_processor_it_is_the_same() -> None:
    rng = Random(3)
    for size in [*range(70), 1000, 4096, 65_537]:
        data, seed = rng.randbytes(size), rng.getrandbits(32)
        assert frames.checksum(data, seed) == frames.checksum(data, seed, portable=True)
        at = rng.randint(0, size)
        assert frames.checksum(data[at:], frames.checksum(data[:at], seed)) == frames.checksum(
            data, seed
        )


def test_a_frame_is_as_documented() -> None:
    frame, checksum = frames.encode(frames.COMMIT, 7, 99, [b"one", b"", b"three"])
    assert HEAD.unpack_from(frame) == (0xF55350F5, 1, frames.COMMIT, 0, 20, 3, 7, 99, checksum)
    assert frame[32:] == b"\3\0\0\0one\0\0\0\0\5\0\0\0three" + bytes(4)
    assert frames.decode(frame) == (
        *(frames.COMMIT, 1, 7, 99, checksum, len(frame)),
        [b"one", b"", b"three"],
    )
    assert frames.decode(b"12345678" + frame, 8) == frames.decode(frame)
    assert sealed(frame) == frame


@pytest.mark.parametrize(
    ("records", "error"),
    [([], ValueError), (["text"], TypeError), ([b"one", None], TypeError)],
)
def test_what_is_no_record_is_refused(records: list[bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        frames.encode(frames.COMMIT, 0, 0, records)


def test_a_commit_of_too_much_is_refused() -> None:
    record = bytes(1 << 24)
    with pytest.raises(ValueError, match="at most"):
        frames.encode(frames.COMMIT, 0, 0, [record] * 256)


def chain(count: int) -> tuple[bytes, list[bytes]]:
    rng = Random(count)
    records = [rng.randbytes(rng.randrange(40)) for _ in range(count)]
    data, checksum = b"", 5
    for at in range(0, count, 3):
        frame, checksum = frames.encode(frames.COMMIT, 10 + at, checksum, records[at : at + 3])
        data += frame
    return data, records


def test_a_run_goes_on_wherever_it_was_interrupted() -> None:
    data, records = chain(20)
    for size in range(1, len(data), 7):
        run = frames.Run(frames.COMMIT, 10, 5)
        found: list[bytes] = []
        at = 0
        while at < len(data):
            used = run.split(data[at : at + max(size, run.needs)], found, 0, 1 << 60)
            assert run.stop == frames.MORE
            at += used
        assert found == records
        assert run.position == 30


def test_a_run_yields_what_it_is_asked_for() -> None:
    data, records = chain(20)
    for first in range(8, 33):
        for until in range(10, 33):
            run = frames.Run(frames.COMMIT, 10, 5)
            found: list[bytes] = []
            run.split(data, found, first, until)
            assert found == records[max(0, first - 10) : until - 10]


@pytest.mark.parametrize(
    ("change", "stop"),
    [
        ({"magic": 1}, frames.BROKEN),
        ({"version": 2}, frames.OTHER_VERSION),
        ({"kind": frames.PIECES}, frames.OTHER_KIND),
        ({"position": 14}, frames.MISPLACED),
        ({"previous": 4}, frames.MISPLACED),
        ({"count": 2}, frames.MALFORMED),
        ({"count": 4}, frames.MALFORMED),
        ({"count": 0xFFFFFFFF}, frames.MALFORMED),
        ({"size": 17}, frames.MALFORMED),
    ],
    ids=str,
)
def test_a_run_says_why_it_ends(change: dict[str, int], stop: int) -> None:
    first, checksum = frames.encode(frames.COMMIT, 10, 5, [b"one", b"two", b"three"])
    second, _ = frames.encode(frames.COMMIT, 13, checksum, [b"1", b"2", b"three"])
    changed = forged(second, 0, change)
    run = frames.Run(frames.COMMIT, 10, 5)
    assert run.check(first + changed) == len(first)
    assert run.stop == stop
    assert (run.position, run.chain, run.last) == (13, checksum, 0)


def test_what_is_longer_than_there_is_asks_for_more() -> None:
    frame, _ = frames.encode(frames.COMMIT, 0, 0, [bytes(100)])
    for size in range(len(frame)):
        run = frames.Run(frames.COMMIT, 0, 0)
        assert run.check(frame[:size]) == 0
        assert run.stop == frames.MORE
        assert run.needs == (32 if size < 32 else len(frame))


def test_a_sound_frame_is_found_wherever_it_is() -> None:
    frame, _ = frames.encode(frames.COMMIT, 3, 8, [b"record"])
    for at in range(0, 80, 8):
        data = b"\xf5PS\xf5" * (at // 4) + frame + bytes(16)
        assert frames.find_sound(data, 0, len(data)) == at
        assert frames.find_sound(data, 0, at) == -1
        assert frames.find_sound(data[:-17], 0, len(data)) == -1
    assert frames.find_sound(b"1234" + frame, 0, 80) == -1


def test_bytes_that_are_not_zero_are_found_wherever_they_are() -> None:
    for size in (0, 1, 63, 64, 65, 200):
        assert frames.find_nonzero(bytes(size)) == -1
        for at in range(size):
            data = bytearray(size)
            data[at] = 128
            assert frames.find_nonzero(bytes(data)) == at
