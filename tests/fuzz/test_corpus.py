"""The inputs that the fuzzer kept: each history goes as the model says, each frame is answered."""

from __future__ import annotations

import asyncio

import pytest

from fuzz.target import CORPUS, OVER, run_input


@pytest.mark.parametrize("over", OVER)
def test_every_kept_input_is_as_it_should_be(over: str) -> None:
    inputs = sorted((CORPUS / over).iterdir())
    assert len(inputs) > 20
    loop = asyncio.new_event_loop()
    try:
        for path in inputs:
            try:
                run_input(over, path.read_bytes(), loop)
            except AssertionError as error:
                raise AssertionError(f"{path} is not as it should be") from error
    finally:
        loop.close()
