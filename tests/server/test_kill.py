"""A server that is killed under load and comes back: its clients go on, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from scale import scaled

from pysignal import (
    Clock,
    Invitation,
    InvitationEnded,
    NotLoggedIn,
    OutcomeUnknown,
    RemoteSession,
    SignalingListener,
)
from pysignal.server.auth import sign_jwt

pytestmark = pytest.mark.anyio

KEY = "k" * 32
USERS = [f"user {number}" for number in range(8)]
KILLS = scaled(5, at_least=2)
PATIENCE_S = 60


class Server:
    """A server in a process of its own, always on the same port and journal."""

    def __init__(self, journal: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"ws://127.0.0.1:{self.port}"
        self._journal = journal
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pysignal", "serve", "--port", str(self.port),
             "--journal", str(self._journal)],
            env=os.environ | {"PYSIGNAL_JWT_KEY": KEY},
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert "listening" in self._process.stdout.readline()

    def kill(self) -> None:
        """Let it die without a word."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "journal")
    server.start()
    yield server
    server.kill()


class Person(SignalingListener):
    """Rings others, answers who rings, and writes down what was said and heard.

    Attributes:
        rung: what was heard to ring.
        opened: what was acknowledged as opened.
        answered: what was acknowledged as accepted or rejected.
        ended: how each invitation ended, as heard.
        twice: whose end was heard twice.
    """

    def __init__(self, url: str, name: str, seed: int) -> None:
        self.rng = random.Random(f"{seed} {name}")
        token = sign_jwt(name, KEY, Clock().now_ms())
        self.session = RemoteSession(url, name, token, rng=self.rng)
        self.session.add_signaling_listener(self)
        self.name = name
        self.rung: list[str] = []
        self.opened: list[Invitation] = []
        self.answered: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.twice: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self.rung.append(invite_id)
        task = asyncio.ensure_future(self.answer(invite_id))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self, invite_id: str) -> None:
        """Accept or reject, as long as it takes to know that it has come to pass."""
        kind = self.rng.choice(["accepted", "rejected"])
        operation = self.session.signaling.accept
        if kind == "rejected":
            operation = self.session.signaling.reject
        try:
            await operation(invite_id)
        except (OutcomeUnknown, NotLoggedIn, InvitationEnded):
            pass
        else:
            self.answered[invite_id] = kind

    async def ring(self) -> None:
        """Ring others without end."""
        while True:
            other = self.rng.choice([name for name in USERS if name != self.name])
            with contextlib.suppress(OutcomeUnknown, NotLoggedIn):
                self.opened.append(await self.session.signaling.invite(other, timeout=20))

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        self.end(invite_id, "accepted")

    def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        self.end(invite_id, "rejected")

    def on_invitation_timeout(self, invite_id: str, invitee_list: list[str]) -> None:
        self.end(invite_id, "timed_out")

    def end(self, invite_id: str, kind: str) -> None:
        """Write down an end, of which each invitation has one."""
        if invite_id in self.ended:
            self.twice.append(invite_id)
        self.ended[invite_id] = kind


async def test_clients_of_a_killed_server_go_on_and_nothing_acknowledged_is_lost(
    server: Server,
) -> None:
    rng = random.Random(1)
    people = [Person(server.url, name, 1) for name in USERS]
    await asyncio.gather(*(person.session.login() for person in people))
    ringing = [asyncio.ensure_future(person.ring()) for person in people]
    for _ in range(KILLS):
        await asyncio.sleep(rng.uniform(0.05, 0.4))
        server.kill()
        await asyncio.to_thread(server.start)
    await asyncio.sleep(0.3)
    for task in ringing:
        task.cancel()
    await asyncio.gather(*ringing, return_exceptions=True)
    async with asyncio.timeout(PATIENCE_S):
        for person in people:
            await person.session.sync()
            while person.tasks:
                await asyncio.wait(person.tasks)
    by_name = {person.name: person for person in people}
    opened = sum(len(person.opened) for person in people)
    assert opened > 20 * KILLS, f"only {opened} invitations: that was no load"
    for person in people:
        twice = {each for each in person.rung if person.rung.count(each) > 1}
        assert not twice, f"{person.name} was rung twice: {twice}"
        assert not person.twice, f"{person.name} heard twice how this ended: {person.twice}"
        async with asyncio.timeout(PATIENCE_S):
            for invitation in person.opened:
                outcome = await invitation.outcome()
                [(invitee, status)] = outcome.statuses.items()
                told = by_name[invitee].answered.get(invitation)
                assert told in (None, status), (
                    f"{invitation}: {told} was acknowledged, not {status}"
                )
                heard = person.ended.get(invitation)
                assert heard in (None, status), f"{invitation}: {heard} was heard, not {status}"
    acknowledged = {each for person in people for each in person.answered}
    assert len(acknowledged) > opened // 2
    for person in people:
        await person.session.logout()
