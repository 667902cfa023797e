"""Servers in processes of their own, and the load that is put on them.

What a server costs is the CPU time of its process and all its threads, from the moment at which the
load is told what to do until it has heard all that it waited for. What the load itself costs does
not count, so it is a program in C (`load/load.c`): on two cores it must not hold the server up.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jwt

HERE = Path(__file__).resolve().parent
KEY = "a key that only this benchmark knows, of 32 bytes and more"
TOKEN_S = 3600
PAGE_BYTES = 4096
CPU_CLOCK_OF_PROCESS = 2  # in the clock ID that Linux makes of a process ID
FILES_SPARE = 200
END_S = 30.0  # what a server may take to say goodbye to all of its clients
PORT = re.compile(r":(\d+)/")


def name_of(number: int) -> str:
    """Return the name of a user."""
    return f"user-{number:08d}"


def write_users(path: Path, count: int) -> None:
    """Write what so many users log in with, one a line."""
    expires = int(time.time()) + TOKEN_S
    with path.open("w") as file:
        for number in range(count):
            claims = {"sub": name_of(number), "exp": expires}
            file.write(f"{name_of(number)} {jwt.encode(claims, KEY, 'HS256')}\n")


def allow_files(count: int) -> None:
    """Let this process, and those that it starts, have so many connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + FILES_SPARE
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))


@dataclass
class Cost:
    """What one command has cost.

    Attributes:
        told: what the load said of it.
        cpu_s: CPU time of the server, seconds.
    """

    told: dict[str, Any]
    cpu_s: float

    @property
    def seconds(self) -> float:
        """Time that has passed, as the load says."""
        return float(self.told["seconds"])


class Child:
    """A process that says on its output how things stand, and ends with its input.

    Args:
        command: what is run.
    """

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self._process.pid

    def tell(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def told(self) -> str:
        """Return the line that it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise AssertionError(f"{self._process.args!r} ended: {self._process.wait()}")
        return line

    @property
    def cpu_s(self) -> float:
        """CPU time of all its threads, seconds."""
        return time.clock_gettime(~self.pid << 3 | CPU_CLOCK_OF_PROCESS)

    @property
    def resident_bytes(self) -> int:
        """Memory of it that is there."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * PAGE_BYTES

    def end(self) -> None:
        """End it, and see that it ends well."""
        try:
            self._process.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        assert self._process.returncode == 0, self._process.args


class Network:
    """The program of the load, ready to be put on servers.

    Args:
        folder: where it is compiled to, and where the users stand.

    Attributes:
        missing: why it can't run on this machine; `""` where it can.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._program = folder / "load"
        compiler = (os.environ.get("CC") or shutil.which("cc") or "gcc").split()
        command = [*compiler, "-O3", "-o", str(self._program), str(HERE / "load" / "load.c")]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        self.missing = ""
        if made.returncode:
            self.missing = f"load.c does not compile here: {made.stderr.strip()[:300]}"

    def ours(self, users: int, journal: Path | None = None) -> Stage:
        """Start a server of ours.

        Args:
            users: who may connect.
            journal: a folder for its journal.
        """
        command = [sys.executable, str(HERE / "served_hub.py"), KEY]
        if journal is not None:
            command.append(str(journal))
        return Stage(command, self._load("pysignal", users))

    def socketio(self, users: int) -> Stage:
        """Start the relay of python-socketio."""
        relay = HERE / "rivals" / "socketio_relay.py"
        return Stage([sys.executable, str(relay)], self._load("socketio", users))

    def _load(self, protocol: str, users: int) -> list[str]:
        names = self._folder / f"users-{users}"
        if not names.exists():
            write_users(names, users)
        allow_files(users)
        return [str(self._program), protocol, "{port}", str(names)]


class Stage:
    """A server, and the load that is put on it.

    Args:
        server: its command; it says where it listens.
        load: the command of the load; `{port}` is where it connects to.
    """

    def __init__(self, server: list[str], load: list[str]) -> None:
        self.server = Child(server)
        port = PORT.search(self.server.told())
        assert port is not None, server
        self.load = Child([part.format(port=port[1]) for part in load])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End both; where something failed, what they say of it stands above already."""
        for child in (self.load, self.server):
            try:
                child.end()
            except (AssertionError, OSError):
                if error is None:
                    raise

    def run(self, command: str) -> Cost:
        """Let the load carry out a command, and return what it has cost the server."""
        before = self.server.cpu_s
        self.load.tell(command)
        told = json.loads(self.load.told())
        return Cost(told, self.server.cpu_s - before)
