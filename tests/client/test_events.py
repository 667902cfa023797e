"""What a session hears over the network: everything once, in order, and never before its answer."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any

import pytest
from client.script import (
    EMPTY,
    News,
    ScriptedServer,
    begin,
    event,
    fresh,
    listening,
    play,
    recovered,
    turns,
    virtual,
)
from ears import Ear

from pysignal import (
    GroupListener,
    LimitExceeded,
    NotLoggedIn,
    SignalingEvent,
    SignalingListener,
)


def snapshot(*found: dict[str, Any], ended: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
    return EMPTY | {"open": list(found), "ended": list(ended)}


def standing(invite_id: str = "i1", **more: Any) -> dict[str, Any]:
    """An invitation from bob to amy, as a snapshot has it."""
    return {
        "invite_id": invite_id, "group_id": "", "inviter": "bob", "data": "", "state": "open",
        "reason": "", "statuses": {"amy": "pending"}, "opened_at": EMPTY["now"],
        "expires_at": EMPTY["now"] + 30_000, "ended_at": None, "seq": 1, "data_version": 1,
        "position": 1, "ended_position": 0, "online_only": False, "parties_only": False,
        "no_deadline": False,
    } | more  # fmt: skip


@virtual
async def test_an_event_is_heard_as_in_the_same_process() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    server.line.event(data="hello", invitation_data="hello")
    server.line.event("cancelled", data="bye", invitation_data="hello")
    await turns()
    assert ear.take() == [
        ("receive_new_invitation", "i1", "bob", "", ["amy"], "hello"),
        ("invitation_cancelled", "i1", "bob", "bye"),
    ]
    opened, cancelled = ear.events
    assert isinstance(opened, SignalingEvent)
    assert (opened.seq, opened.pending, opened.ends) == (1, ("amy",), False)
    assert (cancelled.seq, cancelled.pending, cancelled.ends) == (2, (), True)
    assert cancelled.expires_at == EMPTY["now"] + 30_000
    await session.logout()


@virtual
async def test_callbacks_begin_after_the_login_has_returned() -> None:
    server = ScriptedServer()
    server.login = lambda _: None
    session = server.session()
    ear, news = Ear(), News()
    session.add_signaling_listener(ear)
    session.add_connection_listener(news)
    seen: list[Any] = []

    async def enter() -> None:
        await session.login()
        seen.extend((list(ear.heard), list(news.heard)))

    [entering] = await begin(enter())
    await turns()
    server.line.tell({"id": 0, **fresh({})}, event(), event(invite_id="i2"))
    await entering
    await turns()
    assert seen == [[], ["connecting"]]
    assert len(ear.heard) == 2
    assert news.heard == ["connecting", "connected"]
    await session.logout()


@virtual
async def test_a_caller_has_the_answer_before_any_later_event_of_the_invitation() -> None:
    server = ScriptedServer()
    order: list[str] = []

    class Order(SignalingListener):
        def on_signaling_event(self, event: SignalingEvent) -> None:
            order.append(f"{event.kind} {event.invite_id}")

    session, _ = await listening(server, Order())

    async def call() -> None:
        await session.signaling.accept("i1")
        order.append("answered")

    calling = asyncio.create_task(call())
    await turns()
    server.line.tell(
        event("opened", "i0"),
        {"id": 1, "result": None},
        event("accepted", "i1"),
        event("opened", "i2"),
    )
    await calling
    await turns()
    assert order.index("answered") < order.index("accepted i1")
    assert [each for each in order if each != "answered"] == [
        "opened i0", "accepted i1", "opened i2",
    ]  # fmt: skip
    await session.logout()


@virtual
async def test_many_answers_and_events_in_one_frame_keep_their_order() -> None:
    server = ScriptedServer()
    order: list[Any] = []

    class Order(SignalingListener):
        def on_signaling_event(self, event: SignalingEvent) -> None:
            order.append(int(event.invite_id))

    session, _ = await listening(server, Order())

    async def call(number: int) -> None:
        await session.signaling.accept(str(number))
        order.append(-number)

    calls = await begin(*(call(number) for number in range(1, 21)))
    await turns()
    calls[4].cancel()
    messages: list[dict[str, Any]] = []
    for message in server.line.sent:
        messages.append({"id": message["id"], "result": None})
        messages.append(event("modified", message["params"]["invite_id"]))
    server.line.tell(*messages)
    await turns()
    await asyncio.gather(*calls, return_exceptions=True)
    assert [number for number in order if number > 0] == list(range(1, 21))
    for number in range(1, 21):
        if number != 5:
            assert order.index(-number) < order.index(number)
    await session.logout()


@virtual
async def test_an_opening_that_was_heard_is_not_heard_again() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    server.line.event(invite_id="i1")
    server.line.event(invite_id="i2")
    server.line.event("cancelled", "i2")
    await turns()
    ear.take()
    server.login = lambda params: fresh(params, snapshot=snapshot(standing("i1")), cursor="c9")
    server.line.cut()
    line = await server.back(2)
    assert not session.recovered
    line.event(invite_id="i1", replayed=True)
    line.event(invite_id="i2", replayed=True)
    line.event(invite_id="i3", replayed=True)
    await turns()
    assert [call[1] for call in ear.take()] == ["i3"]
    await session.logout()


@virtual
async def test_a_hot_login_after_a_lost_one_drops_repeats_and_a_cold_one_hears_them() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    server.line.event()
    await turns()
    for start, heard in (("hot", 0), ("cold", 1)):
        ear.take()
        server.line.cut(4409)
        await turns()
        assert not session.online
        await session.login(start)
        assert server.logins[-1].get("cursor") == ("i1-opened" if start == "hot" else None)
        server.line.event(replayed=True)
        await turns()
        assert len(ear.take()) == heard
    await session.logout()


@virtual
async def test_after_a_logout_it_is_the_server_that_knows_what_was_told() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    server.line.event()
    await turns()
    await session.logout()
    assert server.line.methods() == ["ack", "logout"]
    await session.login("hot")
    assert "cursor" not in server.logins[-1]
    server.line.event(replayed=True)
    await turns()
    assert len(ear.take()) == 2
    await session.logout()


@virtual
async def test_what_is_remembered_of_openings_is_bounded() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    for number in range(3000):
        server.line.event(invite_id=f"i{number}")
        server.line.event("cancelled", f"i{number}")
        if number % 100 == 0:
            await turns()
    for number in range(3000):
        server.line.event(invite_id=f"n{number}", expires_at=None)
    await asyncio.sleep(5)
    intake = session._intake
    assert len(intake._open) == 0
    assert len(intake._ended) == 1024
    assert intake.untaken == 0
    assert len(intake.delivery.told) == 0
    await session.logout()


@virtual
async def test_the_server_is_told_how_far_the_listeners_have_come() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    server.line.event(invite_id="i1")
    server.line.event(invite_id="i2")
    await asyncio.sleep(0.9)
    assert server.line.methods() == []
    await asyncio.sleep(0.2)
    [ack] = server.line.sent
    assert ack == {"jsonrpc": "2.0", "method": "ack", "params": {"cursor": "i2-opened"}}
    await asyncio.sleep(10)
    assert server.line.methods() == ["ack"]
    for number in range(200):
        server.line.event(invite_id=f"n{number}")
    await turns(400)
    assert "ack" in server.line.methods()
    server.line.event(invite_id="last")
    await turns()
    await session.logout()
    assert server.line.methods() == ["ack", "logout"]


class Slow(SignalingListener):
    """Hears an event a second."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        self.heard.append(event.invite_id)
        await asyncio.sleep(1)


@virtual
async def test_the_server_is_not_told_of_what_waits_for_a_slow_listener() -> None:
    server = ScriptedServer()
    session, _ = await listening(server, Slow())
    for number in range(10):
        server.line.event(invite_id=f"i{number}")
    await asyncio.sleep(5.5)
    acks = [each["params"]["cursor"] for each in server.line.sent if each["method"] == "ack"]
    assert acks[-1] in ("i4-opened", "i5-opened")
    await session.logout()
    await asyncio.sleep(2)


@virtual
async def test_a_listener_that_is_too_slow_ends_the_session_and_a_hot_login_catches_up() -> None:
    server = ScriptedServer()
    slow, news = Slow(), News()
    session, _ = await listening(server, slow, queue_max=4)
    session.add_connection_listener(news)
    for number in range(8):
        server.line.event(invite_id=f"i{number}")
    await asyncio.sleep(0.5)
    assert news.heard == [("disconnected", LimitExceeded.code)]
    assert not session.online
    assert server.line.code == 1000
    assert "logout" not in server.line.methods()
    with pytest.raises(NotLoggedIn, match="slow listener"):
        await session.signaling.invite("bob")
    await asyncio.sleep(2)
    heard = list(slow.heard)
    await session.login("hot")
    assert server.logins[0]["client"] != server.logins[1]["client"], "it has not gone on"
    cursor = server.logins[1]["cursor"]
    first = 0 if cursor == "c0" else int(cursor[1]) + 1
    for number in range(first, 8):
        server.line.event(invite_id=f"i{number}")
        await asyncio.sleep(2)
    assert heard + [f"i{number}" for number in range(first, 8)] == slow.heard
    assert sorted(set(slow.heard)) == [f"i{number}" for number in range(8)]
    assert len(slow.heard) == 8
    await session.logout()


@virtual
async def test_an_iterator_that_is_not_read_ends_the_session() -> None:
    server = ScriptedServer()
    session, _ = await listening(server, queue_max=4)
    stream = session.events()
    for number in range(8):
        server.line.event(invite_id=f"i{number}")
    await asyncio.sleep(1)
    assert not session.online
    assert [event.invite_id async for event in stream] == ["i0", "i1", "i2", "i3"]


@virtual
async def test_an_iterator_yields_what_the_session_hears_and_ends_at_the_logout() -> None:
    server = ScriptedServer()
    session, _ = await listening(server)
    stream = session.events()
    server.line.event()
    assert (await anext(stream)).invite_id == "i1"
    await session.logout()
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@virtual
async def test_nothing_is_heard_once_logout_was_called() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    server.line.event()
    leaving = asyncio.create_task(session.logout())
    await asyncio.sleep(0)
    server.line.event(invite_id="i2")
    heard = len(ear.heard)
    await leaving
    await turns()
    assert len(ear.heard) == heard


@virtual
async def test_callbacks_of_groups_are_called_by_name_and_unknown_ones_passed_over(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Any] = []

    class Members(GroupListener):
        def on_member_kicked(self, group_id: str, op_user: str, member_list: list[str]) -> None:
            heard.append((group_id, op_user, member_list))

    server = ScriptedServer()
    session = server.session()
    session.groups.add_group_listener(Members())
    await session.login()

    def tell(callback: str, **parameters: Any) -> None:
        params = {"cursor": "c", "now": 1, "callback": callback, "parameters": parameters}
        server.line.tell({"method": "group_event", "params": params})

    tell("on_member_kicked", member_list=["bob"], op_user="eve", group_id="g1")
    tell("on_member_promoted", group_id="g1")
    tell("on_member_kicked", group_id="g1")
    server.line.tell({"method": "some_news", "params": {"new": True}})
    await turns()
    assert heard == [("g1", "eve", ["bob"])]
    assert "on_member_promoted" in caplog.text
    await session.logout()


# -- long lists ------------------------------------------------------------------------------------

MANY = [f"user{number}" for number in range(40)]


def of_many(kind: str, seq: int, changed: list[str], pending: int) -> dict[str, Any]:
    """An event that leaves the list of invitees out."""
    message = event(kind, seq=seq, invitee_list=changed, pending_count=pending, ends=pending == 0)
    for name in ("invitees", "pending"):
        del message["params"][name]
    return message


@virtual
async def test_events_of_a_long_list_have_it_from_the_opening() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    server.line.tell(event(invitees=MANY, invitee_list=MANY, pending=MANY, pending_count=40))
    server.line.tell(of_many("accepted", 2, ["user3"], 39))
    server.line.tell(of_many("rejected", 3, ["user0"], 38))
    await turns()
    opened, accepted, rejected = ear.events
    assert opened.invitees == accepted.invitees == rejected.invitees == tuple(MANY)
    assert len(opened.pending) == 40
    assert "user3" not in accepted.pending
    assert "user0" in accepted.pending
    assert set(MANY) - set(rejected.pending) == {"user0", "user3"}
    server.line.tell(of_many("cancelled", 4, MANY[1:3], 0))
    await turns()
    assert ear.events[-1].pending == ()
    assert not session._intake._lists
    await session.logout()


@virtual
async def test_events_of_a_long_list_have_it_from_the_snapshot() -> None:
    server = ScriptedServer()
    statuses = dict.fromkeys(MANY, "pending") | {"user7": "accepted"}
    server.login = lambda params: fresh(
        params, snapshot=snapshot(standing(statuses=statuses, seq=2))
    )
    session, ear = await listening(server)
    server.line.tell(of_many("accepted", 3, ["user3"], 38))
    await turns()
    [accepted] = ear.events
    assert accepted.invitees == tuple(MANY)
    assert set(MANY) - set(accepted.pending) == {"user3", "user7"}
    await session.logout()


@virtual
async def test_events_of_ones_own_long_list_have_it_from_the_call() -> None:
    server = ScriptedServer()
    session, ear = await listening(server)
    calling = asyncio.create_task(session.signaling.invite([*MANY, "user1"]))
    await turns()
    server.line.tell(
        {"id": 1, "result": {"invite_id": "i1"}}, of_many("accepted", 2, ["user3"], 39)
    )
    await calling
    await turns()
    [accepted] = ear.events
    assert accepted.invitees == tuple(MANY)
    assert set(MANY) - set(accepted.pending) == {"user3"}
    await session.logout()


def test_everything_is_heard_once_and_in_order_through_a_storm_of_cuts() -> None:
    async def scene(seed: int) -> None:
        rng = random.Random(seed)
        server = ScriptedServer()
        history: list[dict[str, Any]] = []

        def resume(params: dict[str, Any]) -> dict[str, Any]:
            if params["start"] == "cold":
                return fresh(params)
            return recovered(params)

        server.login = resume
        plain, slow = Ear(), Quick()
        session, _ = await listening(server, plain, rng=random.Random(seed))
        session.add_signaling_listener(slow)

        def tell(number: int) -> None:
            kind = "opened" if number % 2 else "cancelled"
            history.append(event(kind, f"i{(number + 1) // 2}", cursor=str(number)))
            server.line.tell(history[-1])

        for number in range(1, 201):
            tell(number)
            if rng.random() < 0.1:
                for _ in range(rng.randrange(5)):
                    await asyncio.sleep(0)
                server.line.cut()
                line = await server.back(len(server.lines) + 1)
                cursor = int(server.logins[-1]["cursor"].removeprefix("c"))
                line.tell(*history[cursor:]) if history[cursor:] else None
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() / 10)
        await asyncio.sleep(30)
        wanted = [
            ("opened" if number % 2 else "cancelled", f"i{(number + 1) // 2}")
            for number in range(1, 201)
        ]
        assert [(each.kind, each.invite_id) for each in plain.events] == wanted, seed
        assert slow.heard == wanted, seed
        await session.logout()

    for seed in range(4):
        play(scene, seed, seed=seed)


class Quick(SignalingListener):
    """Hears events in a task."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []

    async def on_signaling_event(self, event: SignalingEvent) -> None:
        self.heard.append((event.kind, event.invite_id))
        await asyncio.sleep(0)
