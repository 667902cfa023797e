"""How a session gets its connection, keeps it, and gets another one."""

from __future__ import annotations

import asyncio
import random

import pytest
from client.script import EMPTY, News, ScriptedServer, fresh, recovered, refusal, turns, virtual

from pysignal import KickedOff, LimitExceeded, NotLoggedIn, SignalingError, connect
from pysignal.client.link import PAUSE_FIRST_S, PAUSE_MOST_S


@virtual
async def test_the_first_message_logs_in() -> None:
    server = ScriptedServer()
    session = server.session()
    assert not session.online
    await session.login()
    assert session.online
    assert not session.recovered
    assert session.snapshot.now == EMPTY["now"]
    [login] = server.logins
    client = login.pop("client")
    assert 1 <= len(client) <= 64
    assert login == {"user_id": "amy", "token": "token", "device_id": "1", "start": "cold"}
    assert server.got[0]["id"] == 0
    await session.logout()


@virtual
async def test_connect_is_awaited_or_entered() -> None:
    server = ScriptedServer()
    session = await connect("ws://nowhere", "amy", "token", dial=server.dial)
    assert session.online
    await session.logout()
    async with connect("ws://nowhere", "amy", "token", device_id="2", dial=server.dial) as other:
        assert other.online
        assert other.device_id == "2"
    assert not other.online
    assert [message["method"] for message in server.got] == ["login", "logout"] * 2
    assert [line.code for line in server.lines] == [1000, 1000]


@virtual
async def test_a_logout_ends_a_block_that_has_logged_out_already() -> None:
    server = ScriptedServer()
    async with connect("ws://nowhere", "amy", "token", dial=server.dial) as session:
        await session.logout()
    assert server.line.methods() == ["login", "logout"]


@virtual
async def test_a_lost_connection_is_followed_by_another_and_the_listener_is_told() -> None:
    server = ScriptedServer()
    server.login = recovered
    session, news = server.session(), News()
    session.add_connection_listener(news)
    await session.login()
    await turns()
    assert news.heard == ["connecting", "connected"]
    server.line.event()
    await turns()
    server.line.cut()
    await server.back(2)
    assert news.heard == [
        "connecting", "connected", ("disconnected", 6012), "connecting", "connected",
    ]  # fmt: skip
    assert session.online
    assert session.recovered
    again = server.logins[1]
    assert (again["start"], again["cursor"]) == ("hot", "i1-opened")
    assert again["client"] == server.logins[0]["client"]
    await session.logout()


@virtual
async def test_only_a_login_that_did_not_recover_replaces_the_snapshot() -> None:
    server = ScriptedServer()
    server.login = recovered
    session = await server.joined()
    first = session.snapshot
    server.line.cut()
    await server.back(2)
    assert session.snapshot is first
    server.login = lambda params: fresh(params, snapshot=EMPTY | {"now": 5})
    server.line.cut()
    await server.back(3)
    assert session.snapshot.now == 5
    assert not session.recovered
    await session.logout()


@virtual
async def test_a_token_callback_is_asked_before_each_login() -> None:
    server = ScriptedServer()
    tokens = iter(["one", "two"])

    async def slowly() -> str:
        await asyncio.sleep(1)
        return "three"

    def token() -> object:
        return next(tokens, None) or slowly()

    session = await server.joined(token)
    for count in (2, 3):
        server.line.cut()
        await server.back(count)
    assert [login["token"] for login in server.logins] == ["one", "two", "three"]
    await session.logout()


@virtual
async def test_an_expired_token_is_replaced_at_once_where_there_is_a_callback() -> None:
    server = ScriptedServer()
    session = await server.joined(lambda: "token", rng=Longest())
    news = News()
    session.add_connection_listener(news)
    before = asyncio.get_running_loop().time()
    ended = {"error": {"code": 6206, "message": "the token has expired"}}
    server.line.tell({"method": "session_ended", "params": ended})
    await server.back(2)
    assert asyncio.get_running_loop().time() - before < 0.1
    assert news.heard == [("disconnected", 6206), "connecting", "connected"]
    await session.logout()


@virtual
async def test_a_callback_whose_tokens_are_refused_is_asked_again_with_pauses() -> None:
    server = ScriptedServer()
    session = await server.joined(lambda: "token", rng=Longest())
    server.login = lambda _: refusal(0, 6206)
    server.line.cut()
    await asyncio.sleep(60)
    assert 3 < len(server.logins) < 15
    assert session.online
    server.login = fresh
    await asyncio.sleep(30)
    assert session.recovered is False
    await session.logout()


@virtual
async def test_a_token_that_has_expired_ends_the_session_where_it_is_a_text() -> None:
    server = ScriptedServer()
    session = await server.joined()
    news = News()
    session.add_connection_listener(news)
    ended = {"error": {"code": 6206, "message": "the token has expired"}}
    server.line.tell({"method": "session_ended", "params": ended})
    await turns()
    assert news.heard == ["expired"]
    assert not session.online
    with pytest.raises(NotLoggedIn, match="the token has expired"):
        await session.signaling.invite("bob")
    await session.login()
    await session.logout()


@virtual
async def test_a_refused_login_raises_what_the_server_says() -> None:
    server = ScriptedServer()
    for code, kind in (
        (7008, LimitExceeded),
        (6206, SignalingError),
        (6208, KickedOff),
        (70009, SignalingError),
    ):
        server.login = lambda _, code=code: refusal(0, code, f"refused by {code}")
        session = server.session()
        with pytest.raises(kind, match=f"refused by {code}") as caught:
            await session.login()
        assert caught.value.code == code
        assert not session.online
        with pytest.raises(NotLoggedIn):
            await session.signaling.invite("bob")
    assert server.dials == 4


@virtual
async def test_a_login_without_a_server_says_so_within_its_timeout() -> None:
    server = ScriptedServer()
    server.trouble = ConnectionRefusedError("Connect call failed ('127.0.0.1', 1)")
    session = server.session(call_timeout=3)
    before = asyncio.get_running_loop().time()
    with pytest.raises(NotLoggedIn, match=r"no login within 3 s: cannot connect: Connect call"):
        await session.login()
    assert asyncio.get_running_loop().time() - before <= 3
    assert server.dials > 1
    assert not session.online
    server.trouble = None
    await session.login()
    await session.logout()


@virtual
async def test_a_server_that_does_not_answer_the_login_is_told_apart() -> None:
    server = ScriptedServer()
    server.login = lambda _: None
    with pytest.raises(NotLoggedIn, match=r"no login within 10 s: the server d.* not answer"):
        await server.session().login()
    assert server.line.code == 1000


@virtual
async def test_a_cancelled_login_leaves_nothing_behind() -> None:
    for wait_s in (0, 0.001, 1):
        server = ScriptedServer()
        server.login = lambda _: None
        session = server.session()
        login = asyncio.create_task(session.login())
        await asyncio.sleep(wait_s)
        login.cancel()
        with pytest.raises(asyncio.CancelledError):
            await login
        assert not session.online
        assert all(line.code for line in server.lines), wait_s
        server.login = fresh
        await session.login()
        await session.logout()


@virtual
async def test_nobody_logs_in_twice() -> None:
    server = ScriptedServer()
    session = await server.joined()
    with pytest.raises(SignalingError, match="logged in already"):
        await session.login()
    await session.logout()


@virtual
async def test_another_login_of_the_device_ends_the_session_for_good() -> None:
    for how in ("told", "closed"):
        server = ScriptedServer()
        session = await server.joined()
        news = News()
        session.add_connection_listener(news)
        stream = session.events()
        call = asyncio.create_task(session.signaling.invite("bob"))
        await turns()
        if how == "told":
            ended = {"error": {"code": 6208, "message": "another login"}}
            server.line.tell({"method": "session_ended", "params": ended})
        else:
            server.line.cut(4409)
        await asyncio.sleep(60)
        assert news.heard == [("kicked", KickedOff.code)]
        assert not session.online
        assert server.dials == 1
        assert [event async for event in stream] == []
        with pytest.raises(SignalingError, match="unknown"):
            await call
        with pytest.raises(NotLoggedIn, match="another login"):
            await session.signaling.invite("bob")


@virtual
async def test_a_silent_connection_is_given_up_within_a_minute() -> None:
    server = ScriptedServer()
    server.login = recovered
    session = await server.joined()
    line = server.line
    await asyncio.sleep(300)
    assert server.dials == 1, "a server that answers is alive"
    assert "sync" in line.methods()
    line.freeze()
    before = asyncio.get_running_loop().time()
    await server.back(2)
    assert asyncio.get_running_loop().time() - before <= 61
    assert line.code == 1001
    await session.logout()


class Longest(random.Random):
    """Draws the longest pause each time."""

    def uniform(self, a: float, b: float) -> float:
        return b


@virtual
async def test_pauses_double_up_to_a_bound_and_begin_anew_after_a_connection_that_lasted() -> None:
    server = ScriptedServer()
    session = await server.joined(rng=Longest())
    loop = asyncio.get_running_loop()
    await asyncio.sleep(10)
    for _ in range(2):
        server.trouble = OSError("down")
        server.line.cut()
        await turns()
        pauses = []
        for _ in range(9):
            before, dials = loop.time(), server.dials
            while server.dials == dials:  # noqa: ASYNC110 - virtual time
                await asyncio.sleep(0.001)
            pauses.append(loop.time() - before)
        doubled = [min(PAUSE_FIRST_S * 2**n, PAUSE_MOST_S) for n in range(9)]
        assert pauses == pytest.approx(doubled, abs=0.01)
        server.trouble = None
        await asyncio.sleep(60)
        assert session.online
    await session.logout()


@virtual
async def test_pauses_are_drawn_so_that_thousands_do_not_come_back_together() -> None:
    server = ScriptedServer()
    drawn = []

    class Noted(random.Random):
        def uniform(self, a: float, b: float) -> float:
            drawn.append((a, b))
            return super().uniform(a, b)

    session = await server.joined(rng=Noted(1))
    server.line.cut()
    await server.back(2)
    assert drawn == [(0, PAUSE_FIRST_S)]
    await session.logout()


@virtual
async def test_a_server_that_ends_is_waited_for() -> None:
    server = ScriptedServer()
    session = await server.joined()
    news = News()
    session.add_connection_listener(news)
    ended = {"error": {"code": 6013, "message": "the server is closing"}}
    server.line.tell({"method": "session_ended", "params": ended})
    server.login = lambda _: refusal(0, 6013, "the server is closing")
    await asyncio.sleep(3)
    server.login = fresh
    await asyncio.sleep(10)
    assert news.heard == [("disconnected", 6013), "connecting", "connected"]
    await session.logout()


@virtual
async def test_garbage_from_the_server_ends_the_connection_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = ScriptedServer()
    session = await server.joined()
    for count, garbage in enumerate(["{", "[]", "7", '{"jsonrpc": "2.0", "method": "event"}'], 2):
        line = server.line
        line.peer.received(garbage)
        if garbage in ("[]", '{"jsonrpc": "2.0", "method": "event"}'):  # that is passed over
            line.cut()
        await server.back(count)
        assert line.code in (0, 1008)
        assert session.online
    assert "none of this protocol" in caplog.text
    await session.logout()


@virtual
async def test_a_session_may_log_in_again_after_its_logout() -> None:
    server = ScriptedServer()
    session = await server.joined()
    await session.signaling._session.logout()
    with pytest.raises(NotLoggedIn, match="log in again"):
        session.events()
    await session.login("hot")
    assert session.online
    assert server.logins[1]["start"] == "hot"
    await session.logout()


@virtual
async def test_a_logout_without_a_connection_does_not_wait_for_one() -> None:
    server = ScriptedServer()
    session = await server.joined()
    server.trouble = OSError("down")
    server.line.cut()
    await turns()
    before = asyncio.get_running_loop().time()
    await session.logout()
    assert asyncio.get_running_loop().time() - before < 0.1
    assert not session.online


def test_calls_from_another_thread_are_refused() -> None:
    import threading

    from client.script import play

    async def scene() -> None:
        server = ScriptedServer()
        session = await server.joined()
        raised: list[BaseException] = []

        def elsewhere() -> None:
            for call in (session.events, lambda: session.remove_connection_listener(News())):
                try:
                    call()
                except RuntimeError as error:
                    raised.append(error)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert len(raised) == 2
        assert "run_coroutine_threadsafe" in str(raised[0])
        await session.logout()

    play(scene)
