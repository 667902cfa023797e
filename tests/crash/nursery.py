"""A process that has imported everything and forks a child for each round.

A new interpreter takes half a second before it can open a hub; a fork takes milliseconds. No event
loop exists before the fork, and the process that asks may have as many threads as it likes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import orjson


class Child(NamedTuple):
    """A forked child: its number, and the end of the pipe that it writes to."""

    pid: int
    pipe: int


class Nursery:
    """Forks children; use it with `with`."""

    def __enter__(self) -> Self:
        self._ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "crash.nursery", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        self._answers = self._ours.makefile("rb")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ours.shutdown(socket.SHUT_RDWR)
        self._answers.close()
        self._ours.close()
        self._process.wait()

    def fork(self, plan: Path) -> Child:
        """Start a child that follows a plan, which is in a file."""
        ours, theirs = os.pipe()
        socket.send_fds(self._ours, [os.fsencode(plan) + b"\n"], [theirs])
        os.close(theirs)
        return Child(int(self._answers.readline()), ours)

    def reap(self) -> int:
        """Wait until the child has ended; returns its exit status, or minus the signal."""
        return int(self._answers.readline())


def serve(asked: socket.socket) -> None:
    """Fork a child for each plan, one after the other, until nobody asks any more."""
    while True:
        message, fds, _, _ = socket.recv_fds(asked, 4096, 1)
        if not message:
            return
        plan = Path(os.fsdecode(message.rstrip(b"\n")))
        pid = os.fork()
        if not pid:
            asked.close()
            os._exit(follow(plan, fds[0]))
        os.close(fds[0])
        asked.sendall(b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        asked.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def follow(plan: Path, pipe: int) -> int:
    """Be the child; returns its exit status."""
    from crash import server

    def tell(*line: Any) -> None:
        os.write(pipe, orjson.dumps(line) + b"\n")

    try:
        server.run(server.Plan(**orjson.loads(plan.read_bytes())), tell)
    except BaseException:
        tell("failed", traceback.format_exc())
        return 1
    return 0


if __name__ == "__main__":
    import uvloop  # noqa: F401 - for the children

    import crash.server  # noqa: F401 - likewise
    import pysignal.journal.log
    import pysignal.journal.native_disk  # noqa: F401 - likewise

    serve(socket.socket(fileno=int(sys.argv[1])))
