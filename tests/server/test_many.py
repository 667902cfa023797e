"""Thousands of real clients at once, each of which rings another."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from doors import Trusting
from scale import scaled

from pysignal import Hub, Invitation, RemoteSession, SignalingListener
from pysignal.server import Server

pytestmark = pytest.mark.anyio

CLIENTS = scaled(2000, at_least=50)
AT_ONCE = 100  # who log in, or out, side by side
PATIENCE_S = 60

# Either end of a connection is a file here, and there are some more.
FILES = 2 * CLIENTS + 200


@pytest.fixture(autouse=True)
def files_enough() -> Iterator[None]:
    """Let the process open as many files as it needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < FILES:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(FILES, hard)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Hub() as hub, Server(hub, Trusting()) as server:
        await server.start()
        yield server


class Callee(SignalingListener):
    """Accepts what rings, and writes down what was heard.

    Attributes:
        rung: (invite ID, inviter) of each opening.
        answers: (invite ID, invitee) of each acceptance.
    """

    def __init__(self, session: RemoteSession) -> None:
        self.session = session
        self.rung: list[tuple[str, str]] = []
        self.answers: list[tuple[str, str]] = []
        self.tasks: list[asyncio.Task[None]] = []

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self.rung.append((invite_id, inviter))
        accept = self.session.signaling.accept(invite_id, f"yes to {data}")
        self.tasks.append(asyncio.ensure_future(accept))

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        self.answers.append((invite_id, invitee))


async def for_all(work: Any, items: list[Any]) -> list[Any]:
    """Do something with each, some side by side."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(item: Any) -> Any:
        async with room:
            return await work(item)

    async with asyncio.timeout(PATIENCE_S):
        return await asyncio.gather(*map(one, items))


async def test_thousands_ring_each_other_and_all_hear_what_is_theirs(server: Server) -> None:
    names = [f"user {number}" for number in range(CLIENTS)]
    sessions = [RemoteSession(server.url, name, name, call_timeout=PATIENCE_S) for name in names]
    callees = [Callee(session) for session in sessions]
    for session, callee in zip(sessions, callees, strict=True):
        session.add_signaling_listener(callee)
    await for_all(RemoteSession.login, sessions)
    assert len(server.sessions) == CLIENTS

    async def ring(number: int) -> Invitation:
        other = names[(number + 7) % CLIENTS]
        return await sessions[number].signaling.invite(other, names[number])

    async with asyncio.timeout(PATIENCE_S):
        invitations = await asyncio.gather(*map(ring, range(CLIENTS)))
        outcomes = await asyncio.gather(*(each.outcome() for each in invitations))
        await asyncio.gather(*(task for callee in callees for task in callee.tasks))
    await for_all(RemoteSession.sync, sessions)
    for number, callee in enumerate(callees):
        caller = (number - 7) % CLIENTS
        assert callee.rung == [(invitations[caller], names[caller])]
        assert callee.answers == [(invitations[number], names[(number + 7) % CLIENTS])]
        assert outcomes[number].status == "accepted"
    await for_all(RemoteSession.logout, sessions)
    assert not server.sessions
    async with asyncio.timeout(PATIENCE_S):
        while server.connections:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.01)
