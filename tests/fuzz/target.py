"""What one input of the fuzzer does: a history draws from it as from a seed; or it is a frame."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from oracle import hub_history, machine_run
from oracle.source import Bytes

from fuzz.frames import run_frame

CORPUS: Final = Path(__file__).parent / "corpus"
OVER: Final = ("machine", "hub", "frames")

# A history takes about as many bytes as this at most; what an input has beyond goes unread.
BYTES_MAX: Final = 1024


def run_input(over: str, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """Let the history happen that some bytes stand for, or the frame come that they are.

    Args:
        over: "machine", "hub" or "frames".
        data: any bytes; a history ends where they do, or after 40 operations.
        loop: an event loop that is not running.

    Raises:
        HistoryFailed: the real thing and the model differ.
        AssertionError: a frame reads otherwise once it was written.
    """
    if over == "machine":
        machine_run.run_history(Bytes(data))
    elif over == "frames":
        run_frame(data)
    else:
        loop.run_until_complete(hub_history.run_history(Bytes(data)))
