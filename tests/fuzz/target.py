"""What one input of the fuzzer does: it is drawn from as a history draws from a seed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from oracle import hub_history, machine_run
from oracle.source import Bytes

CORPUS: Final = Path(__file__).parent / "corpus"
OVER: Final = ("machine", "hub")

# A history takes about as many bytes as this at most; what an input has beyond goes unread.
BYTES_MAX: Final = 1024


def run_input(over: str, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
    """Let the history happen that some bytes stand for.

    Args:
        over: "machine" or "hub".
        data: any bytes; the history ends where they do, or after 40 operations.
        loop: an event loop that is not running.

    Raises:
        HistoryFailed: the real thing and the model differ.
    """
    if over == "machine":
        machine_run.run_history(Bytes(data))
    else:
        loop.run_until_complete(hub_history.run_history(Bytes(data)))
