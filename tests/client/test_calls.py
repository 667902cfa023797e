"""What becomes of a call: it takes effect once, and resolves once."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any

import pytest
from client.script import (
    Line,
    ScriptedServer,
    begin,
    play,
    recovered,
    turns,
    virtual,
)

from pysignal import (
    DataTooLong,
    Invitation,
    InvitationEnded,
    NotLoggedIn,
    OutcomeUnknown,
    RemoteSession,
    SignalingError,
)
from pysignal.client.calls import IN_FLIGHT_MAX


def invited(message: dict[str, Any]) -> dict[str, str]:
    return {"invite_id": f"i{message['id']}"}


@virtual
async def test_a_call_is_sent_at_once_and_answered() -> None:
    server = ScriptedServer()
    session = await server.joined()
    server.replies["invite"] = invited
    invitation = await session.signaling.invite("bob", "let's talk", timeout=5)
    assert invitation == "i1"
    assert isinstance(invitation, Invitation)
    [sent] = server.line.sent
    assert sent["jsonrpc"] == "2.0"
    assert sent["id"] == 1
    assert sent["method"] == "invite"
    assert sent["params"]["invitee"] == "bob"
    assert sent["params"]["data"] == "let's talk"
    assert sent["params"]["timeout"] == 5
    await session.logout()


@virtual
async def test_calls_of_one_turn_go_in_one_frame_in_order() -> None:
    server = ScriptedServer()
    session = await server.joined()
    server.replies["accept"] = lambda _: None
    server.line.frames = []
    await asyncio.gather(*(session.signaling.accept(f"i{n}") for n in range(5)))
    assert server.line.frames == [5]
    assert [message["id"] for message in server.line.sent] == [1, 2, 3, 4, 5]
    await session.logout()


@virtual
async def test_frames_are_bounded_and_messages_are_never_cut() -> None:
    server = ScriptedServer()
    session = await server.joined()
    server.replies["accept"] = lambda _: None
    server.line.frames = []
    await asyncio.gather(*(session.signaling.accept(f"i{n}", "x" * 12_000) for n in range(5)))
    assert server.line.frames == [2, 2, 1]
    await session.logout()


@virtual
async def test_a_refusal_is_raised_as_the_error_that_it_was() -> None:
    server = ScriptedServer()
    session = await server.joined()
    call = asyncio.create_task(session.signaling.accept("i1"))
    await turns()
    server.line.refuse(1, 8010, "it has ended", how="cancelled", status="cancelled")
    with pytest.raises(InvitationEnded) as caught:
        await call
    assert caught.value.message == "it has ended"
    assert caught.value.details == {"how": "cancelled", "status": "cancelled"}
    await session.logout()


@virtual
async def test_what_is_not_answered_is_sent_again_in_order_with_the_same_numbers() -> None:
    server = ScriptedServer()
    server.login = recovered
    session = await server.joined()
    calls = await begin(*(session.signaling.accept(f"i{n}") for n in range(1, 5)))
    await turns()
    server.line.answer(2)
    await turns()
    server.line.cut()
    await turns()
    calls.append(asyncio.create_task(session.signaling.accept("i5")))
    line = await server.back(2)
    again = [message for message in line.sent if message["method"] == "accept"]
    assert [(each["id"], each["params"]["invite_id"]) for each in again] == [
        (1, "i1"), (3, "i3"), (4, "i4"), (5, "i5"),
    ]  # fmt: skip
    for message in again:
        line.answer(message["id"])
    await asyncio.gather(*calls)
    await session.logout()


@virtual
async def test_a_call_that_was_sent_and_not_answered_has_an_unknown_outcome() -> None:
    server = ScriptedServer()
    session = await server.joined(call_timeout=4)
    loop = asyncio.get_running_loop()
    before = loop.time()
    with pytest.raises(OutcomeUnknown, match="invite: no answer within 4 s") as caught:
        await session.signaling.invite("bob")
    assert caught.value.code == 6012
    assert loop.time() - before == pytest.approx(4)
    server.line.answer(1, {"invite_id": "late"})
    await turns()
    server.line.cut()
    line = await server.back(2)
    assert line.methods() == ["login"], "who has given up does not ask again"
    await session.logout()


@virtual
async def test_a_call_that_was_never_sent_says_so() -> None:
    server = ScriptedServer()
    session = await server.joined(call_timeout=4)
    server.trouble = OSError("down")
    server.line.cut()
    await turns()
    with pytest.raises(NotLoggedIn, match=r"not sent within 4 s.*nothing was changed"):
        await session.signaling.invite("bob")
    server.trouble = None
    line = await server.back()
    assert line.methods() == ["login"]
    await session.logout()


@virtual
async def test_a_call_that_was_sent_before_the_break_is_unknown_when_it_times_out() -> None:
    server = ScriptedServer()
    session = await server.joined(call_timeout=4)
    call = asyncio.create_task(session.signaling.invite("bob"))
    await turns()
    server.trouble = OSError("down")
    server.line.cut()
    with pytest.raises(OutcomeUnknown):
        await call
    await session.logout()


@virtual
async def test_cancelling_the_await_neither_undoes_nor_drops_a_call() -> None:
    server = ScriptedServer()
    server.login = recovered
    session = await server.joined()
    call = asyncio.create_task(session.signaling.invite("bob"))
    await turns()
    call.cancel()
    await turns()
    server.line.cut()
    line = await server.back(2)
    assert line.methods() == ["login", "invite"]
    line.answer(1, {"invite_id": "i1"})
    await turns()
    line.cut()
    line = await server.back(3)
    assert line.methods() == ["login"]
    await session.logout()


@virtual
async def test_a_second_answer_is_passed_over() -> None:
    server = ScriptedServer()
    session = await server.joined()
    call = asyncio.create_task(session.signaling.invite("bob"))
    await turns()
    server.line.answer(1, {"invite_id": "i1"})
    server.line.answer(1, {"invite_id": "i2"})
    server.line.refuse(1, 8010)
    assert await call == "i1"
    server.line.answer(77, None)
    server.line.tell({"id": None, "error": {"code": -32700, "message": "no JSON"}})
    await turns()
    await session.logout()


@virtual
async def test_so_many_calls_are_in_flight_and_no_more() -> None:
    server = ScriptedServer()
    server.login = recovered
    session = await server.joined()
    count = IN_FLIGHT_MAX + 50
    calls = [asyncio.create_task(session.signaling.accept(f"i{n}")) for n in range(count)]
    await turns()
    assert len(server.line.sent) == IN_FLIGHT_MAX
    server.line.answer(1)
    await turns()
    assert [message["id"] for message in server.line.sent[-1:]] == [IN_FLIGHT_MAX + 1]
    server.line.cut()
    line = await server.back(2)
    server.replies["accept"] = lambda _: None
    assert len(line.sent) == 1 + IN_FLIGHT_MAX
    for message in list(line.sent[1:]):
        line.answer(message["id"])
    await asyncio.gather(*calls)
    numbers = [message["id"] for message in line.sent[1:]]
    assert numbers == list(range(2, count + 1))
    await session.logout()


@virtual
async def test_a_paused_wire_is_sent_nothing_until_it_goes_on() -> None:
    server = ScriptedServer()
    session = await server.joined()
    server.line.peer.paused()
    call = asyncio.create_task(session.signaling.invite("bob"))
    await turns()
    assert server.line.sent == []
    server.replies["invite"] = invited
    server.line.peer.resumed()
    assert await call == "i1"
    await session.logout()


@virtual
async def test_a_logout_comes_behind_what_was_called_before_it() -> None:
    server = ScriptedServer()
    session = await server.joined()
    server.replies["invite"] = invited
    call = asyncio.create_task(session.signaling.invite("bob"))
    await asyncio.sleep(0)
    leaving = asyncio.create_task(session.logout())
    assert await call == "i1"
    await leaving
    methods = [message["method"] for message in server.got]
    assert methods == ["login", "invite", "logout"]


@virtual
async def test_nothing_is_called_without_a_login() -> None:
    server = ScriptedServer()
    session = server.session()
    with pytest.raises(NotLoggedIn, match=r"await session\.login"):
        await session.signaling.invite("bob")
    with pytest.raises(NotLoggedIn):
        await session.groups.join_group("g1")
    with pytest.raises(NotLoggedIn):
        await session.logout()
    with pytest.raises(NotLoggedIn):
        await session.signaling.invite(b"bytes")  # type: ignore[arg-type]
    assert server.dials == 0


UNSENDABLE = [
    ("invitee", b"bob", {}),
    ("invitee", ["bob", object()], {}),
    ("invitee", {"bob", "eve"}, {}),
    ("invitee", "lone \ud800", {}),
    ("data", "bob", {"data": b"bytes"}),
    ("data", "bob", {"data": "lone \udfff"}),
    ("timeout", "bob", {"timeout": float("nan")}),
    ("timeout", "bob", {"timeout": float("inf")}),
    ("timeout", "bob", {"timeout": 1 << 64}),
    ("timeout", "bob", {"timeout": -(1 << 63) - 1}),
    ("timeout", "bob", {"timeout": 1j}),
    ("online_user_only", "bob", {"online_user_only": object()}),
    ("request_id", "bob", {"request_id": b"r"}),
    ("offline_push_info", "bob", {"offline_push_info": {1: 2}}),
    ("offline_push_info", "bob", {"offline_push_info": [[[[[[1]]]]]]}),
    ("data", b"bob", {"data": b"bytes", "timeout": float("nan")}),
]


@pytest.mark.parametrize(("name", "invitee", "options"), UNSENDABLE)
def test_what_json_cannot_carry_is_refused_by_name_and_nothing_is_sent(
    name: str, invitee: Any, options: dict[str, Any]
) -> None:
    async def scene() -> None:
        server = ScriptedServer()
        session = await server.joined()
        with pytest.raises(SignalingError) as caught:
            await session.signaling.invite(invitee, **options)
        assert caught.value.code == 6017
        assert caught.value.details["parameter"] == name
        await turns()
        assert server.line.sent == []
        server.replies["invite"] = invited
        assert await session.signaling.invite("bob") == "i1", "a refused call takes no number"
        await session.logout()

    play(scene)


@virtual
async def test_data_over_the_limit_is_told_before_what_cannot_be_sent() -> None:
    server = ScriptedServer()
    session = await server.joined()
    with pytest.raises(DataTooLong):
        await session.signaling.invite(b"bob", "x" * 13_000)  # type: ignore[arg-type]
    with pytest.raises(DataTooLong):
        await session.signaling.invite("bob", "lone \ud800" + "x" * 13_000)
    with pytest.raises(DataTooLong):
        await session.signaling.invite("bob", "x" * 3_000_000)
    with pytest.raises(SignalingError, match="invitee_list"):
        await session.signaling.invite_in_group("g", [f"user{n}" for n in range(300_000)])
    assert server.line.sent == []
    await session.logout()


@virtual
async def test_what_can_be_sent_is_judged_by_the_server() -> None:
    server = ScriptedServer()
    session = await server.joined()
    odd: list[Any] = ["", 5, None, True, ["bob", 5], [], "x" * 5000, "\x00", {}]
    calls = await begin(*(session.signaling.invite(each) for each in odd))
    await turns()
    assert [message["params"]["invitee"] for message in server.line.sent] == odd
    for number in range(1, len(odd) + 1):
        server.line.refuse(number, 6017, "invitee: no", parameter="invitee")
    for call in calls:
        with pytest.raises(SignalingError, match="invitee: no"):
            await call
    await session.logout()


class Remembering(ScriptedServer):
    """Carries each request out once, and remembers what it gave, as a real server does."""

    def __init__(self) -> None:
        super().__init__()
        self.login = recovered
        self.effects: list[int] = []

    def react(self, line: Line, message: dict[str, Any]) -> None:
        if message["method"] == "invite":
            if message["id"] not in self.effects:
                self.effects.append(message["id"])
            self.replies["invite"] = invited
        super().react(line, message)


POINTS = ("before", "sent", "received", "answered")


@pytest.mark.parametrize("cuts", list(itertools.product(POINTS, repeat=2)), ids="-".join)
def test_a_call_takes_effect_once_wherever_its_connection_is_cut(cuts: tuple[str, ...]) -> None:
    async def scene() -> None:
        server = Remembering()
        session = await server.joined()
        call: asyncio.Task[Any] | None = None
        for count, point in enumerate(cuts, 2):
            line = server.line
            if point == "before":
                line.cut()
            if point == "sent":
                line.freeze()
            if call is None:
                call = asyncio.create_task(session.signaling.invite("bob"))
                await asyncio.sleep(0)
            if point == "received":
                await asyncio.sleep(0)
                line.cut()
            elif point == "answered":
                while not server.effects:  # noqa: ASYNC110 - virtual time
                    await asyncio.sleep(0)
                line.cut()
            elif point == "sent":
                await turns()
                line.is_cut = False
                line.cut()
            await server.back(count)
        assert call is not None
        assert await call == "i1"
        assert server.effects == [1]
        await session.logout()

    for seed in (None, 1, 2):
        play(scene, seed=seed)


def test_calls_take_effect_once_through_a_storm_of_cuts() -> None:
    async def scene(seed: int) -> None:
        rng = random.Random(seed)
        server = Remembering()
        session = await server.joined(call_timeout=1000, rng=random.Random(seed))
        results: list[str] = []

        async def call() -> None:
            await asyncio.sleep(rng.random() * 3)
            results.append(await session.signaling.invite("bob"))

        calls = [asyncio.create_task(call()) for _ in range(40)]
        for _ in range(25):
            await asyncio.sleep(rng.random() / 4)
            for _ in range(rng.randrange(6)):
                await asyncio.sleep(0)
            rng.choice([server.line.cut, server.line.freeze])()
            if rng.random() < 0.5:
                server.line.is_cut = False
                server.line.cut()
        await asyncio.gather(*calls)
        assert sorted(results) == sorted(f"i{number}" for number in server.effects), seed
        assert len(server.effects) == 40, seed
        await session.logout()

    for seed in range(20):
        play(scene, seed, seed=seed)


@virtual
async def test_the_end_of_the_session_resolves_every_call() -> None:
    server = ScriptedServer()
    session = await server.joined()
    sent = asyncio.create_task(session.signaling.invite("bob"))
    await turns()
    server.trouble = OSError("down")
    server.line.cut()
    await turns()
    unsent = asyncio.create_task(session.signaling.invite("bob"))
    await turns()
    await session.logout()
    with pytest.raises(OutcomeUnknown, match="the session ended before the answer came"):
        await sent
    with pytest.raises(NotLoggedIn):
        await unsent


@virtual
async def test_groups_are_asked_by_the_same_way() -> None:
    server = ScriptedServer()
    session: RemoteSession = await server.joined()
    group = {
        "group_id": "g1", "group_type": "Work", "owner": "amy", "name": "n", "introduction": "",
        "notification": "", "face_url": "", "member_count": 2, "created_ms": 5,
    }  # fmt: skip
    member = {"user_id": "bob", "role": 200, "name_card": "", "joined_ms": 6}
    server.replies.update(
        create_group=lambda _: {"group_id": "g1"},
        invite_user_to_group=lambda _: {"bob": True},
        get_group_info=lambda _: group,
        get_joined_group_list=lambda _: [group],
        get_group_member_list=lambda _: {"members": [member], "next_seq": 3},
        kick_group_member=lambda _: None,
    )
    groups = session.groups
    assert await groups.create_group("Work", "g1", "n", member_list=("bob",)) == "g1"
    assert await groups.invite_user_to_group("g1", ["bob"]) == {"bob": True}
    info = await groups.get_group_info("g1")
    assert (info.group_type.name, info.member_count) == ("WORK", 2)
    assert await groups.get_joined_group_list() == [info]
    members, following = await groups.get_group_member_list("g1", role=200)
    assert (members[0].user_id, members[0].role, following) == ("bob", 200, 3)
    assert await groups.kick_group_member("g1", "bob") is None
    assert server.line.sent[0]["params"]["member_list"] == ["bob"]
    await session.logout()


def test_a_session_that_never_logged_in_needs_no_loop() -> None:
    session = ScriptedServer().session()
    assert not session.online
    assert "offline" in repr(session)


@virtual
async def test_a_change_that_is_two_minutes_old_is_not_sent_again() -> None:
    server = ScriptedServer()
    session = await server.joined(call_timeout=600.0)
    call = asyncio.ensure_future(session.signaling.invite("bob"))
    await asyncio.sleep(1)
    server.trouble = OSError("down")
    server.line.cut()
    await asyncio.sleep(115)
    server.trouble = None
    with pytest.raises(OutcomeUnknown, match="two minutes"):
        await call
    await session.logout()
