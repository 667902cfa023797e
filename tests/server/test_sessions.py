"""What a client is promised by the server: logins, answers, events, and coming back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from server.lines import ABNORMAL, Line

from pysignal import Hub, TokenExpired, VirtualClock
from pysignal.server import Server, Settings
from pysignal.server.auth import Identity

pytestmark = pytest.mark.anyio


class Trusting:
    """Believes everybody whose token is their name; what follows a colon is when it expires."""

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        name, _, expires = token.partition(":")
        if name != user_id:
            raise TokenExpired("not this user's token")
        return Identity(user_id, int(expires) if expires else None)


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
async def server(hub: Hub, clock: VirtualClock, settings: Settings) -> AsyncIterator[Server]:
    async with Server(hub, Trusting(), settings=settings, clock=clock) as server:
        yield server


async def joined(server: Server, user: str, **params: Any) -> Line:
    """A client that is logged in."""
    line = Line(server)
    result = await line.login(user, **params)
    assert "snapshot" in result, result
    return line


async def test_an_invitation_goes_to_and_fro(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    invited = await amy.ask("invite", invitee="bob", data="let's talk", timeout=30)
    await bob.settle()
    [opened] = [message["params"] for message in bob.heard]
    assert opened["invite_id"] == invited["invite_id"]
    assert (opened["kind"], opened["data"], opened["inviter"]) == ("opened", "let's talk", "amy")
    assert await bob.ask("accept", invite_id=opened["invite_id"], data="yes") is None
    await amy.settle()
    [accepted] = [message["params"] for message in amy.heard]
    assert (accepted["kind"], accepted["data"], accepted["ends"]) == ("accepted", "yes", True)
    assert bob.events() == [("opened", opened["invite_id"])], (
        "nobody hears what they did themselves"
    )


async def test_requests_of_a_frame_take_effect_in_order_and_leave_in_one_frame(
    server: Server,
) -> None:
    amy = await joined(server, "amy")
    frames = amy.frames
    requests: list[dict[str, Any]] = [
        {"jsonrpc": "2.0", "id": n, "method": "invite", "params": {"invitee": f"user {n}"}}
        for n in range(1, 9)
    ]
    amy.write(*requests)
    await amy.answer(8)
    assert amy.frames == frames + 1
    ids = [amy.answers[n]["result"]["invite_id"] for n in range(1, 9)]
    infos = [(await server.hub.invitation(name)) for name in ids]
    positions = [info.position for info in infos if info is not None]
    assert positions == sorted(positions)
    assert len(positions) == 8


async def test_nothing_is_taken_before_a_login(server: Server) -> None:
    line = Line(server)
    line.request("invite", invitee="bob")
    assert line.answers[1]["error"]["code"] == 6014
    assert line.code == 4401
    assert server.hub.stats()["open"] == 0


async def test_a_login_that_is_refused_says_why_and_is_closed(server: Server) -> None:
    line = Line(server)
    error = await line.login("amy", token="bob")
    assert error["code"] == 6206
    assert line.code == 4401
    assert server.hub.stats()["sessions"] == 0


class TestImpatience:
    """Who does not log in, or only now and then."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), login_s=0.5)

    async def test_a_connection_without_a_login_is_closed(self, server: Server) -> None:
        line, other = Line(server), await joined(server, "amy")
        await asyncio.sleep(0.8)
        assert (line.code, other.code) == (4401, 0)


async def test_a_token_that_expires_ends_the_connection(
    server: Server, clock: VirtualClock
) -> None:
    line = await joined(server, "amy", token=f"amy:{clock.now_ms() + 20}")
    await asyncio.sleep(0.05)
    assert line.code == 4401
    assert line.heard[-1]["method"] == "session_ended"
    assert line.heard[-1]["params"]["error"]["code"] == 6206
    again = Line(server)
    assert (await again.login("amy", start="hot", cursor=line.cursor()))["recovered"]


async def test_another_client_of_the_same_device_takes_its_place(server: Server) -> None:
    old = await joined(server, "amy", client="old")
    new = await joined(server, "amy", client="new")
    assert old.code == 4409
    assert old.heard[-1]["params"]["error"]["code"] == 6208
    assert new.code == 0
    assert server.hub.stats()["sessions"] == 1


# -- coming back -----------------------------------------------------------------------------------


async def test_who_comes_back_hears_what_was_missed_in_order_and_once(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    first = await amy.ask("invite", invitee="bob")
    await bob.settle()
    bob.break_off()
    missed = [await amy.ask("invite", invitee="bob") for _ in range(3)]
    await amy.ask("cancel", invite_id=missed[0]["invite_id"])
    back = Line(server)
    result = await back.login("bob", start="hot", cursor=bob.cursor())
    assert result["recovered"]
    assert result["snapshot"] is None
    await back.settle()
    names = [each["invite_id"] for each in missed]
    assert back.events() == [*(("opened", name) for name in names), ("cancelled", names[0])]
    assert ("opened", first["invite_id"]) not in back.events()


async def test_a_break_before_anything_was_heard_loses_nothing(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    bob.break_off()
    await amy.ask("invite", invitee="bob")
    back = Line(server)
    assert (await back.login("bob", start="hot", cursor=bob.cursor()))["recovered"]
    await back.settle()
    assert [kind for kind, _ in back.events()] == ["opened"]


@pytest.mark.parametrize("taken", [1, 2, 3, 4])
async def test_a_cursor_holds_where_others_have_heard_things_in_another_order(
    server: Server, taken: int
) -> None:
    lines = {user: await joined(server, user) for user in ("amy", "bob", "cat", "dan")}
    await server.hub.groups.put("class", list(lines))
    amy, dan = lines["amy"], lines["dan"]
    name = (await amy.ask("invite_in_group", group_id="class", invitee_list=["bob", "cat", "dan"]))[
        "invite_id"
    ]
    await dan.settle()
    dan.heard.clear()
    # In one turn, so that amy, who comes first, hears the answers before anybody hears of her acts.
    amy.request("modify_invitation", invite_id=name, data="one")
    for user in ("bob", "cat"):
        lines[user].request("accept", invite_id=name)
    amy.request("modify_invitation", invite_id=name, data="two")
    await dan.settle()
    heard = [message["params"] for message in dan.heard]
    assert [each["seq"] for each in heard] == [2, 3, 4, 5]
    dan.break_off()
    back = Line(server)
    result = await back.login("dan", start="hot", cursor=heard[taken - 1]["cursor"])
    assert result["recovered"]
    await back.settle()
    seqs = [message["params"]["seq"] for message in back.heard]
    assert seqs == [2, 3, 4, 5][taken:]


async def test_a_half_open_connection_gives_way_to_the_new_one(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    back = Line(server)
    assert (await back.login("bob", start="hot", cursor=bob.cursor()))["recovered"]
    assert bob.code == 1001
    await amy.ask("invite", invitee="bob")
    await back.settle()
    assert [kind for kind, _ in back.events()] == ["opened"]
    assert bob.events() == []


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "garbage",
        "0-0-0",
        "-1",
        "x" * 500,
        "ffffffffffffffff-1-1",
        "RUN-" + "f" * 17 + "-0",
        None,
    ],
)
async def test_a_cursor_that_says_nothing_here_is_a_new_login(
    server: Server, cursor: str | None
) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    opened = await amy.ask("invite", invitee="bob")
    await bob.settle()
    bob.break_off()
    back = Line(server)
    if cursor is not None:
        cursor = cursor.replace("RUN", server.cursors.begin)
    result = await back.login("bob", start="hot", cursor=cursor)
    assert not result["recovered"]
    assert [each["invite_id"] for each in result["snapshot"]["open"]] == [opened["invite_id"]]


async def test_a_cursor_of_the_future_is_a_new_login(server: Server) -> None:
    bob = await joined(server, "bob")
    begin, _, position = bob.cursor().split("-")
    bob.break_off()
    back = Line(server)
    result = await back.login("bob", start="hot", cursor=f"{begin}-ffff-{position}")
    assert not result["recovered"]


class TestSmallHistory:
    """A client that misses more than is kept."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), history_max=4)

    async def test_there_is_no_silent_gap(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        bob.break_off()
        names = [(await amy.ask("invite", invitee="bob"))["invite_id"] for _ in range(5)]
        back = Line(server)
        result = await back.login("bob", start="hot", cursor=bob.cursor())
        assert not result["recovered"]
        assert [each["invite_id"] for each in result["snapshot"]["open"]] == names
        await back.settle()
        assert back.events() == [("opened", name) for name in names]

    async def test_what_fits_is_recovered(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        bob.break_off()
        names = [(await amy.ask("invite", invitee="bob"))["invite_id"] for _ in range(4)]
        back = Line(server)
        assert (await back.login("bob", start="hot", cursor=bob.cursor()))["recovered"]
        await back.settle()
        assert back.events() == [("opened", name) for name in names]

    async def test_what_was_acknowledged_makes_room(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        for _ in range(5):
            await amy.ask("invite", invitee="bob")
            await bob.settle()
            bob.write({"jsonrpc": "2.0", "method": "ack", "params": {"cursor": bob.cursor()}})
        bob.break_off()
        back = Line(server)
        assert (await back.login("bob", start="hot", cursor=bob.cursor()))["recovered"]


class TestShortWindow:
    """A client that comes back too late."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), resume_window_s=0.02)

    async def test_it_logs_in_hot_and_is_told_what_it_has_not_acknowledged(
        self, server: Server
    ) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        heard = await amy.ask("invite", invitee="bob")
        await bob.settle()
        bob.write({"jsonrpc": "2.0", "method": "ack", "params": {"cursor": bob.cursor()}})
        bob.break_off()
        missed = await amy.ask("invite", invitee="bob")
        await asyncio.sleep(0.05)
        assert server.hub.stats()["sessions"] == 1, "the window has ended"
        back = Line(server)
        result = await back.login("bob", start="hot", cursor=bob.cursor())
        assert not result["recovered"]
        await back.settle()
        assert back.events() == [("opened", missed["invite_id"])]
        open_now = [each["invite_id"] for each in result["snapshot"]["open"]]
        assert open_now == [heard["invite_id"], missed["invite_id"]]

    async def test_what_it_was_told_and_has_ended_is_in_its_snapshot(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        heard = await amy.ask("invite", invitee="bob")
        await bob.settle()
        bob.write({"jsonrpc": "2.0", "method": "ack", "params": {"cursor": bob.cursor()}})
        bob.break_off()
        await asyncio.sleep(0.05)
        await amy.ask("cancel", invite_id=heard["invite_id"])
        back = Line(server)
        result = await back.login("bob", start="hot", cursor=bob.cursor())
        assert [each["invite_id"] for each in result["snapshot"]["ended"]] == [heard["invite_id"]]
        await back.settle()
        assert back.events() == []


class TestHalfOpen:
    """A client that came back while its old connection was not known to be dead."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), resume_window_s=0.02)

    async def test_its_session_does_not_end_with_the_window(self, server: Server) -> None:
        bob = await joined(server, "bob")
        back = Line(server)
        assert (await back.login("bob", start="hot", cursor=bob.cursor()))["recovered"]
        await asyncio.sleep(0.06)
        assert back.code == 0
        await back.settle()

    async def test_a_cursor_shows_what_was_heard_and_not_acknowledged(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        heard = [(await amy.ask("invite", invitee="bob"))["invite_id"] for _ in range(2)]
        await bob.settle()
        bob.break_off()
        await asyncio.sleep(0.05)
        await amy.ask("cancel", invite_id=heard[0])
        back = Line(server)
        result = await back.login("bob", start="hot", cursor=bob.cursor())
        assert not result["recovered"]
        assert [each["invite_id"] for each in result["snapshot"]["ended"]] == [heard[0]]
        assert [each["invite_id"] for each in result["snapshot"]["open"]] == [heard[1]]
        await back.settle()
        assert back.events() == []


class TestTinyHistory:
    """A client that has missed the end of what it had heard."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), history_max=4)

    async def test_an_end_that_is_not_kept_is_in_the_snapshot(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        heard = (await amy.ask("invite", invitee="bob"))["invite_id"]
        await bob.settle()
        bob.break_off()
        await amy.ask("cancel", invite_id=heard)
        for _ in range(5):
            await amy.ask("invite", invitee="bob")
        back = Line(server)
        result = await back.login("bob", start="hot", cursor=bob.cursor())
        assert not result["recovered"]
        assert heard in [each["invite_id"] for each in result["snapshot"]["ended"]]


# -- retries ---------------------------------------------------------------------------------------


async def test_a_request_that_is_sent_again_gives_the_first_result(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    first = await amy.ask("invite", 7, invitee="bob", data="hello")
    amy.break_off()
    back = Line(server)
    await back.login("amy", start="hot", cursor=amy.cursor())
    assert await back.ask("invite", 7, invitee="bob", data="hello") == first
    await bob.settle()
    assert bob.events() == [("opened", first["invite_id"])]


async def test_a_number_used_for_something_else_is_refused(server: Server) -> None:
    amy = await joined(server, "amy")
    await amy.ask("invite", 7, invitee="bob", data="hello")
    amy.break_off()
    back = Line(server)
    await back.login("amy", start="hot", cursor=amy.cursor())
    assert (await back.ask("invite", 7, invitee="eve", data="hello"))["code"] == 6017


# -- slow readers ----------------------------------------------------------------------------------


class TestSlowReader:
    """A client that does not read what it is sent."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), waiting_max=10)

    async def test_it_is_closed_and_catches_up(self, server: Server) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        bob.pause()
        names = [(await amy.ask("invite", invitee="bob"))["invite_id"] for _ in range(12)]
        await amy.settle()
        assert bob.code == 4408
        assert bob.events() == []
        back = Line(server)
        assert (await back.login("bob", start="hot", cursor=bob.cursor()))["recovered"]
        await back.settle()
        assert back.events() == [("opened", name) for name in names]

    async def test_one_that_reads_again_in_time_hears_all_in_one_frame(
        self, server: Server
    ) -> None:
        amy, bob = await joined(server, "amy"), await joined(server, "bob")
        frames = bob.frames
        bob.pause()
        for _ in range(10):
            await amy.ask("invite", invitee="bob")
        await amy.settle()
        assert bob.frames == frames
        bob.resume()
        await amy.settle()
        assert bob.frames == frames + 1
        assert len(bob.events()) == 10


# -- more operations -------------------------------------------------------------------------------


async def test_an_outcome_is_answered_when_it_is_known(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    invited = await amy.ask("invite", invitee="bob")
    number = amy.request("outcome", invite_id=invited["invite_id"])
    await amy.settle()
    assert number not in amy.answers
    await bob.ask("reject", invite_id=invited["invite_id"], data="busy")
    outcome = (await amy.answer(number))["result"]
    assert (outcome["state"], outcome["statuses"]) == ("completed", {"bob": "rejected"})
    assert outcome["event"]["data"] == "busy"


async def test_a_following_tells_everything_from_the_opening_on(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    name = (await amy.ask("invite", invitee="bob"))["invite_id"]
    number = amy.request("follow", invite_id=name)
    await amy.ask("modify_invitation", invite_id=name, data="new")
    await bob.ask("accept", invite_id=name)
    await amy.settle()
    followed = [each["params"] for each in amy.heard if each["method"].startswith("follow")]
    kinds = [each["event"]["kind"] for each in followed[:-1]]
    assert kinds == ["opened", "modified", "accepted"]
    assert followed[-1] == {"follow": number, "error": None}


async def test_what_is_unfollowed_comes_to_its_end_and_nothing_else_does(server: Server) -> None:
    amy = await joined(server, "amy")
    name = (await amy.ask("invite", invitee="bob"))["invite_id"]
    outcome = amy.request("outcome", invite_id=name)
    follow = amy.request("follow", invite_id=name)
    sync = amy.request("sync")
    for number in (outcome, follow, sync, 12345):
        assert await amy.ask("unfollow", follow=number) is None
    assert (await amy.answer(outcome))["error"]["code"] == 7014
    assert (await amy.answer(follow))["result"] is None
    assert "result" in await amy.answer(sync)
    ends = [each["params"] for each in amy.heard if each["method"] == "follow_ended"]
    assert ends == [{"follow": follow, "error": None}]


async def test_a_logout_ends_the_session(server: Server) -> None:
    amy = await joined(server, "amy")
    assert await amy.ask("logout") is None
    assert amy.code == 1000
    assert amy.heard == []
    assert server.hub.stats()["sessions"] == 0
    assert not server.sessions


async def test_groups_are_made_joined_and_heard_of(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    group = await amy.ask("create_group", group_type="Meeting", group_id="class")
    assert group == {"group_id": "class"}
    assert await bob.ask("join_group", group_id="class") is None
    await amy.settle()
    [entered] = [each["params"] for each in amy.heard if each["method"] == "group_event"]
    assert entered["callback"] == "on_member_enter"
    assert entered["parameters"] == {"group_id": "class", "member_list": ["bob"]}
    page = await amy.ask("get_group_member_list", group_id="class")
    assert [member["user_id"] for member in page["members"]] == ["amy", "bob"]
    assert (await amy.ask("get_group_info", group_id="class"))["member_count"] == 2
    await amy.ask("invite_in_group", group_id="class", invitee_list=["bob"])
    [info] = await bob.ask("open_invitations", group_id="class")
    assert info["statuses"] == {"bob": "pending"}


async def test_the_end_of_the_server_is_told(server: Server) -> None:
    amy = await joined(server, "amy")
    await server.close()
    assert amy.code == 1001
    assert amy.heard[-1]["params"]["error"]["code"] == 6013
    assert server.hub.stats()["sessions"] == 0


async def test_sessions_of_both_kinds_meet_in_one_hub(server: Server, hub: Hub) -> None:
    amy = await joined(server, "amy")
    bob = await hub.login("bob")
    name = (await amy.ask("invite", invitee="bob"))["invite_id"]
    await bob.signaling.accept(name)
    await amy.settle()
    assert amy.events() == [("accepted", name)]


async def test_a_break_ends_nothing_but_the_connection(server: Server) -> None:
    amy = await joined(server, "amy")
    amy.break_off()
    assert amy.code == ABNORMAL
    assert server.hub.stats()["sessions"] == 1
    assert not server.connections


# -- what one frame may cost -----------------------------------------------------------------------


async def test_a_frame_of_very_many_requests_lets_others_have_their_turns(server: Server) -> None:
    amy, bob = await joined(server, "amy"), await joined(server, "bob")
    amy.write(
        *(
            {"jsonrpc": "2.0", "id": n, "method": "accept", "params": {"invite_id": "none"}}
            for n in range(1, 5001)
        )
    )
    assert 0 < len(amy.answers) < 5000
    assert (await bob.ask("invite", invitee="cat"))["invite_id"]
    assert len(amy.answers) < 5000
    await amy.answer(5000)
    assert [number for number in amy.answers if number] == list(range(1, 5001))


async def test_frames_behind_one_that_is_not_taken_yet_wait_for_it(server: Server) -> None:
    amy = await joined(server, "amy")
    amy.write(
        *(
            {"jsonrpc": "2.0", "id": n, "method": "accept", "params": {"invite_id": "none"}}
            for n in range(1, 3001)
        )
    )
    amy.request("accept", 3001, invite_id="none")
    await amy.answer(3001)
    assert list(amy.answers)[-2:] == [3000, 3001]


async def test_a_client_that_does_not_read_its_answers_is_asked_for_no_more(
    server: Server,
) -> None:
    amy = await joined(server, "amy")
    amy.pause()
    amy.write(
        *(
            {"jsonrpc": "2.0", "id": n, "method": "accept", "params": {"invite_id": "none"}}
            for n in range(1, 1001)
        )
    )
    for _ in range(50):
        await asyncio.sleep(0)
    assert amy.code == 0
    amy.resume()
    await amy.answer(1000)


class TestFewWaits:
    """A client that waits for too much."""

    @pytest.fixture
    def settings(self) -> Settings:
        return replace(Settings(), waits_max=3)

    async def test_one_wait_too_many_is_refused(self, server: Server) -> None:
        amy = await joined(server, "amy")
        name = (await amy.ask("invite", invitee="bob"))["invite_id"]
        for _ in range(3):
            amy.request("outcome", invite_id=name)
        assert (await amy.ask("outcome", invite_id=name))["code"] == 7008
        assert await amy.ask("cancel", invite_id=name) is None
        for _ in range(5):
            await asyncio.sleep(0)
        assert (await amy.ask("outcome", invite_id=name))["state"] == "cancelled"
