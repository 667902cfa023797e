"""L2 and L3: who is connected is told, and whoever asks is answered (docs/invariants.md).

Here a client speaks by hand over a connection in memory. The bulk of the proof are the histories of
`simulation/test_network.py`, with real clients on connections that break.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from doors import Trusting
from server.lines import Line
from slow_journal import SlowJournal

from pysignal import Hub, VirtualClock
from pysignal.protocol.numbers import CLOSE_KICKED, CLOSE_NORMAL
from pysignal.server import Server, Settings

pytestmark = pytest.mark.anyio

HISTORY = 4


@pytest.fixture
def journal() -> Iterator[SlowJournal]:
    journal = SlowJournal()
    yield journal
    assert journal.under_way == 0


@asynccontextmanager
async def serving(clock: VirtualClock, journal: SlowJournal | None) -> AsyncIterator[Server]:
    """A server that keeps a few messages for who is away."""
    settings = Settings(history_max=HISTORY)
    async with (
        Hub(clock=clock, journal=journal) as hub,
        Server(hub, Trusting(), settings=settings, clock=clock) as server,
    ):
        yield server


async def turns() -> None:
    """Let everything go on that can."""
    for _ in range(32):
        await asyncio.sleep(0)


async def came(server: Server, user: str, cursor: str | None = None) -> Line:
    """A client that has logged in, for the first time or again."""
    line = Line(server)
    more = {} if cursor is None else {"start": "hot", "cursor": cursor}
    result = await line.login(user, **more)
    assert result["recovered"] is (cursor is not None), result
    return line


async def test_l2_who_is_connected_hears_everything_once_over_all_connections(
    clock: VirtualClock,
) -> None:
    async with serving(clock, None) as server:
        amy = await server.hub.login("amy")
        bob = await came(server, "bob")
        told: list[tuple[str, str]] = []
        rung: list[tuple[str, str]] = []
        for number in range(12):
            if number % 4 == 3:
                bob.break_off()
            invitation = await amy.signaling.invite("bob", f"{number}")
            await amy.signaling.cancel(invitation)
            rung += [("opened", invitation), ("cancelled", invitation)]
            if bob.code:
                told += bob.events()
                bob = await came(server, "bob", bob.cursor())
            await bob.settle()
        assert told + bob.events() == rung


async def test_l2_who_has_missed_more_than_is_kept_is_told_that_it_has(clock: VirtualClock) -> None:
    async with serving(clock, None) as server:
        amy = await server.hub.login("amy")
        bob = await came(server, "bob")
        bob.break_off()
        opened = [await amy.signaling.invite("bob", f"{n}") for n in range(HISTORY + 1)]
        await turns()
        again = Line(server)
        result = await again.login("bob", start="hot", cursor=bob.cursor())
        await again.settle()
        assert not result["recovered"], "something of it is not there any more"
        assert {shown["invite_id"] for shown in result["snapshot"]["open"]} == {*opened}
        assert [name for _, name in again.events()] == opened


async def test_l2_of_two_logins_of_a_device_that_wait_one_is_told_that_it_was_replaced(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    async with serving(clock, journal) as server:
        amy = await server.hub.login("amy")
        journal.shut()
        first, second = Line(server), Line(server)
        logins = [
            asyncio.ensure_future(line.login("bob", client=client))
            for line, client in ((first, "one"), (second, "two"))
        ]
        await turns()
        journal.release(all_later=True)
        await turns()
        assert first.code == CLOSE_KICKED, "it would wait for ever for what the other is told"
        logins[0].cancel()
        assert not (await logins[1])["recovered"]
        invitation = await amy.signaling.invite("bob")
        await second.settle()
        assert second.events() == [("opened", invitation)]


async def test_l3_every_request_is_answered_however_long_it_waits(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    async with serving(clock, journal) as server:
        bob = await came(server, "bob")
        journal.shut()
        asked = [bob.request("invite", invitee="amy", data=f"{n}") for n in range(3)]
        asked += [bob.request(method, invite_id="none") for method in ("accept", "outcome")]
        asked += [bob.request("follow", invite_id="none"), bob.request("sync")]
        asked += [bob.request("sing"), bob.request("invite", invitee=7), bob.request("cancel")]
        await turns()
        journal.release(all_later=True)
        await turns()
        assert [number for number in asked if number not in bob.answers] == []
        invite_id = bob.answers[asked[0]]["result"]["invite_id"]
        outcome = bob.request("outcome", invite_id=invite_id)
        await server.hub.cancel_by_server(invite_id)
        await turns()
        assert outcome in bob.answers


async def test_l3_what_was_asked_before_a_logout_is_answered_before_it(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    async with serving(clock, journal) as server:
        bob = await came(server, "bob")
        journal.shut()
        first = bob.request("invite", invitee="amy")
        last = bob.request("logout")
        await turns()
        journal.release(all_later=True)
        await turns()
        assert bob.code == CLOSE_NORMAL
        assert [number for number in (first, last) if number not in bob.answers] == []


async def test_l3_what_is_unfollowed_is_answered_and_nothing_else_ends(
    clock: VirtualClock, journal: SlowJournal
) -> None:
    async with serving(clock, journal) as server:
        amy = await came(server, "amy")
        invite_id = (await amy.ask("invite", invitee="bob"))["invite_id"]
        journal.shut()
        asked = [amy.request("outcome", invite_id=invite_id), amy.request("reject", invite_id="-")]
        asked += [amy.request("invite", invitee="carl"), amy.request("sync")]
        await turns()
        asked += [amy.request("unfollow", follow=number) for number in list(asked)]
        asked.append(amy.request("follow", invite_id=invite_id))
        asked.append(amy.request("unfollow", follow=asked[-1]))
        await turns()
        journal.release(all_later=True)
        await turns()
        assert [number for number in asked if number not in amy.answers] == []
