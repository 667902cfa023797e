"""The handle of an invitation over the network: its outcome, its events, over connections."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from client.script import ScriptedServer, fields, listening, recovered, turns, virtual

from pysignal import InvitationEnded, LimitExceeded, NotLoggedIn


async def invitation_of(server: ScriptedServer, session: Any) -> Any:
    server.replies["invite"] = lambda message: {"invite_id": f"i{message['id']}"}
    invitation = await session.signaling.invite("bob")
    server.line.methods()
    return invitation


def told(number: int, kind: str, seq: int, **more: Any) -> dict[str, Any]:
    params = {"follow": number, "event": fields(kind, seq=seq, **more)}
    return {"method": "followed", "params": params}


OUTCOME = {
    "invite_id": "i1", "state": "completed", "reason": "", "statuses": {"bob": "accepted"},
}  # fmt: skip


@virtual
async def test_an_outcome_waits_as_long_as_it_takes_and_over_connections() -> None:
    server = ScriptedServer()
    server.login = recovered
    session, _ = await listening(server, call_timeout=2)
    invitation = await invitation_of(server, session)
    outcome = asyncio.create_task(invitation.outcome())
    await asyncio.sleep(100)
    assert "outcome" in server.line.methods()
    server.line.cut()
    line = await server.back(2)
    [asked] = [each for each in line.sent if each["method"] == "outcome"]
    last = fields("accepted", actor="bob", data="yes")
    line.answer(asked["id"], OUTCOME | {"event": last})
    found = await outcome
    assert (found.status, found.accepted, found.data) == ("accepted", ["bob"], "yes")
    assert found.event is not None
    assert found.event.ends
    await session.logout()


@virtual
async def test_waiting_outcomes_hold_up_no_other_call() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    invitation = await invitation_of(server, session)
    outcomes = [asyncio.create_task(invitation.outcome()) for _ in range(600)]
    await turns()
    assert await session.signaling.invite("bob") == "i602"
    for message in server.line.sent:
        if message["method"] == "outcome":
            server.line.answer(message["id"], OUTCOME | {"event": None})
    assert {(await outcome).event for outcome in outcomes} == {None}
    await session.logout()


@virtual
async def test_an_outcome_that_is_not_known_any_more_is_refused() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    invitation = await invitation_of(server, session)
    outcome = asyncio.create_task(invitation.outcome())
    await turns()
    server.line.refuse(2, 8010, "not remembered")
    with pytest.raises(InvitationEnded, match="not remembered"):
        await outcome
    await session.logout()


@virtual
async def test_the_end_of_the_session_fails_outcomes_and_iterations() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    invitation = await invitation_of(server, session)
    outcome = asyncio.create_task(invitation.outcome())
    step = asyncio.create_task(anext(aiter(invitation)))
    await turns()
    await session.logout()
    for waiting in (outcome, step):
        with pytest.raises(NotLoggedIn, match="logged out"):
            await waiting
    with pytest.raises(NotLoggedIn):
        await invitation.outcome()
    with pytest.raises(NotLoggedIn):
        aiter(invitation)


@virtual
async def test_an_iteration_goes_on_over_connections_without_repeats() -> None:
    server = ScriptedServer()
    server.login = recovered
    server.replies["follow"] = lambda _: None
    session, _ = await listening(server)
    invitation = await invitation_of(server, session)
    seen: list[int] = []

    async def follow() -> None:
        async for each in invitation:
            seen.append(each.seq)  # noqa: PERF401 - what was seen before the break counts

    following = asyncio.create_task(follow())
    await turns()
    server.line.tell(told(2, "opened", 1), told(2, "modified", 2))
    await turns()
    server.line.cut()
    line = await server.back(2)
    [asked] = [each for each in line.sent if each["method"] == "follow"]
    assert asked["id"] == 2
    assert asked["params"] == {"invite_id": "i1", "after": 2}
    line.tell(told(2, "modified", 2), told(2, "modified", 3), told(2, "accepted", 4))
    line.tell({"method": "follow_ended", "params": {"follow": 2}})
    await following
    assert seen == [1, 2, 3, 4]
    assert len(session._calls) == 0
    await session.logout()


@virtual
async def test_a_closed_iteration_lets_the_server_know() -> None:
    server = ScriptedServer()
    server.replies["follow"] = lambda _: None
    session, _ = await listening(server)
    invitation = await invitation_of(server, session)
    async with aiter(invitation) as stream:
        await turns()
        server.line.tell(told(2, "opened", 1))
        assert (await anext(stream)).seq == 1
    await turns()
    assert server.line.methods() == ["follow", "unfollow"]
    server.line.tell(told(2, "modified", 2))
    await turns()
    assert len(session._calls) == 0
    await session.logout()


@virtual
async def test_an_iteration_that_is_refused_says_so_at_its_first_step() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    invitation = await invitation_of(server, session)
    stream = aiter(invitation)
    step = asyncio.create_task(anext(stream))
    await turns()
    server.line.refuse(2, 8010, "not remembered")
    with pytest.raises(InvitationEnded):
        await step
    await session.logout()


@virtual
async def test_an_iteration_that_is_not_read_ends_behind_what_found_room() -> None:
    server = ScriptedServer()
    server.replies["follow"] = lambda _: None
    session, _ = await listening(server, queue_max=3)
    invitation = await invitation_of(server, session)
    stream = aiter(invitation)
    await turns()
    server.line.tell(*(told(2, "modified", seq) for seq in range(1, 7)))
    await turns()
    assert [(await anext(stream)).seq for _ in range(3)] == [1, 2, 3]
    with pytest.raises(LimitExceeded):
        await anext(stream)
    assert session.online
    assert server.line.methods() == ["follow", "unfollow"]
    await session.logout()
