"""`pysignal serve` and `pysignal token`, as processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from pysignal.protocol.numbers import SUBPROTOCOL

pytestmark = pytest.mark.anyio

KEY = "k" * 32


def start(*arguments: str, key: str = KEY) -> subprocess.Popen[str]:
    """Start the server."""
    return subprocess.Popen(
        [sys.executable, "-m", "pysignal", "serve", "--port", "0", *arguments],
        env=os.environ | {"PYSIGNAL_JWT_KEY": key},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def url_of(process: subprocess.Popen[str]) -> str:
    """Read where it listens."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("pysignal is listening on "), line
    return line.split()[4]


def token(user: str) -> str:
    """Have a token printed."""
    run = subprocess.run(
        [sys.executable, "-m", "pysignal", "token", user],
        env=os.environ | {"PYSIGNAL_JWT_KEY": KEY},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


async def login(url: str) -> dict[str, object]:
    params = {"user_id": "amy", "token": token("amy"), "client": "by hand"}
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(url.replace("ws:", "http:"), protocols=[SUBPROTOCOL]) as socket,
    ):
        await socket.send_str(
            json.dumps({"jsonrpc": "2.0", "id": 0, "method": "login", "params": params})
        )
        answer: dict[str, object] = await socket.receive_json()
        return answer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_it_serves_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    process = start("--journal", str(tmp_path / "calls"))
    try:
        answer = await login(url_of(process))
        assert "result" in answer
        process.send_signal(number)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, out, err) == (0, "stopping\n", "")


async def test_a_unix_socket_is_taken_away_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "door"
    process = start("--unix", str(path))
    try:
        assert url_of(process) == f"unix://{path}"
        assert path.is_socket()
        process.terminate()
        process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "key", "said"),
    [
        ((), "", "PYSIGNAL_JWT_KEY"),
        ((), "short", "32 or more"),
        (("--usersig-app", "7"), KEY, "PYSIGNAL_USERSIG_KEY"),
        (("--journal", "/dev/null"), KEY, "/dev/null"),
        (("--host", "192.0.2.1"), KEY, "address"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(
    arguments: tuple[str, ...], key: str, said: str
) -> None:
    process = start(*arguments, key=key)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 2
    assert out == ""
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_token_needs_a_user_that_can_be_one() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pysignal", "token", "amy"],
        env={name: value for name, value in os.environ.items() if name != "PYSIGNAL_JWT_KEY"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2
    assert "--jwt-key" in run.stderr
