"""How a command ends that was interrupted, or whose output nobody reads any more.

Such a command has nothing to explain: it says so in a line, or nothing at all, and exits with the
status by which shells tell the signal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

INTERRUPTED: Final = 130  # 128 and SIGINT
UNREAD: Final = 141  # 128 and SIGPIPE
TERMINATED: Final = 143  # 128 and SIGTERM


class Terminated(BaseException):
    """SIGTERM has come, and what it stopped is cleaned up."""


def status_of(command: Callable[[], int]) -> int:
    """Run a command, and return its exit status.

    Args:
        command: returns the status, unless it is stopped.
    """
    try:
        status = _stoppable(command)
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still to be written at the exit must not fail once more.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return UNREAD
    return status


def _stoppable(command: Callable[[], int]) -> int:
    try:
        return command()
    except KeyboardInterrupt:
        status = INTERRUPTED
    except Terminated:
        status = TERMINATED
    print("interrupted", file=sys.stderr)
    return status
