"""How deep a text nests is told as a reader of JSON would find it."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from scale import SLOWDOWN, scaled

from pysignal.protocol.depth import nests_deeper


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def made_up(source: random.Random, levels: int) -> Any:
    """Return an object with texts that look like the borders of others."""
    kind = source.randrange(4) if levels else 3
    if kind == 3:
        return "".join(source.choices('[]{}"\\:,a\n', k=source.randrange(12)))
    parts = [made_up(source, levels - 1) for _ in range(source.randrange(4))]
    if kind == 0:
        return parts
    return {made_up(source, 0): part for part in parts}


def test_depth_is_as_a_decoder_finds_it() -> None:
    found = set()
    for seed in range(scaled(5_000)):
        source = random.Random(seed)
        value = made_up(source, source.randrange(7))
        text = json.dumps(value, ensure_ascii=source.random() < 0.5)
        levels = source.randrange(7)
        assert nests_deeper(text, levels) == (depth(value) > levels), (seed, text)
        found.add(depth(value))
    assert found == set(range(7))


@pytest.mark.parametrize(
    ("text", "levels"),
    [("", 0), ("1", 0), ('"[[["', 0), ("[]", 1), ('"\\"[["', 0), ('"\\\\"', 0), ("]]]][", 1),
     ('"never closed [[[', 0), ('"', 0), ('"\\', 0), ('{"é": "["}', 1)],
)  # fmt: skip
def test_what_nests_no_deeper_passes(text: str, levels: int) -> None:
    assert not nests_deeper(text, levels)


@pytest.mark.parametrize(
    ("text", "levels"),
    [("[", 0), ("[{", 1), ('"\\\\"[', 0), ('"a","é",[', 0), ("[" * 100_000, 8), ("[[]]", 1)],
)
def test_what_nests_deeper_is_told(text: str, levels: int) -> None:
    assert nests_deeper(text, levels)


def test_a_text_without_utf_8_is_an_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        nests_deeper("\ud800", 8)


@pytest.mark.parametrize("part", ["a", '"', "\\", '\\"', "[]", '"\\\\",', "é"])
def test_no_text_takes_long(part: str) -> None:
    text = '"' + part * (1_000_000 // len(part))
    began = time.process_time()
    nests_deeper(text, 8)
    assert time.process_time() - began < 0.05 * SLOWDOWN
