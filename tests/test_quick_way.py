"""What is carried out at once is what the general way would have done, refusals and all.

Each call is made twice, on two hubs that are alike to the last random bit (see `both_ways`).
"""

from __future__ import annotations

import itertools
import math
import random
import threading
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from both_ways import BYTES_MAX, DAYS_30, Odd, Part, Room, Text, Whole, same
from ears import join
from general_way import GeneralWay
from scale import scaled

from pysignal import Hub, VirtualClock
from pysignal.journal import MemoryJournal
from pysignal.signaling import Signaling

pytestmark = pytest.mark.anyio

USERS: list[Any] = [
    "bob", "cy", "a b", " ", "~", "x" * 128, "é" * 64, "\U0001f600" * 32, "a\xa0", "a\u200b",
    "ﬁ", "", "amy", "x" * 129, "é" * 65, "\U0001f600" * 33, "a\0", "\x1f", "a\x7f", "a\x80",
    "a\x9f", "a\n", "a\u2028", "\ud800", None, 7, b"bob", 1.5, ["bob"], ("bob", "cy"), [],
    ["bob", "bob"], ["", "cy"], Text("bob"), Text(""), Text("é" * 65),
    Odd("bob"), Odd(""), {"bob"}, object,
]  # fmt: skip
DATA: list[Any] = [
    "", "d", None, "x" * BYTES_MAX, "x" * (BYTES_MAX + 1), "é" * 50, "é" * 50 + "x", "é" * 51,
    "x" * 99 + "é", "x" * 100 + "é", "€" * 33 + "xx", "€" * 33 + "é", "€" * 33 + "xxx",
    "\U0001f600" * 25 + "x", "\U0001f600" * 25 + "é", "\0", "\x7f", "\ud800", "x" * 99 + "\udfff",
    7, b"d", ["d"], True, Text("d"), Text("x" * (BYTES_MAX + 1)), Odd("x" * (BYTES_MAX + 1)),
]  # fmt: skip
TIMEOUTS: list[Any] = [
    0, 0.0, -0.0, 5e-324, 1e-300, 0.0004, 0.00049999, 0.0005, 0.00050001, 0.001, 0.0014, 0.0015,
    0.0025, 0.0035, 1, 1.0005, 1.0015, 29.9996, 30, DAYS_30 - 1, DAYS_30, float(DAYS_30),
    math.nextafter(DAYS_30, 0), math.nextafter(DAYS_30, math.inf), DAYS_30 + 0.0004, DAYS_30 + 1,
    -1, -0.0001, -5e-324, math.nan, math.inf, -math.inf, 1e308, 2**31, 2**32, 2**53, 2**63 - 1,
    2**63, 2**64, 2**64 + 30, 10**30, -(2**63), -(2**63) - 1, -(10**30), True, False, None, "30",
    Decimal(30), Fraction(1, 2), 30j, Whole(5), Whole(DAYS_30 + 1), Part(0.0004), Part("nan"), [],
]  # fmt: skip
BOOLS: list[Any] = [True, False, 0, 1, None, "yes", 1.0, []]


@pytest.mark.parametrize("invitee", USERS, ids=ascii)
async def test_an_invitee(invitee: Any) -> None:
    async def act(room: Room) -> Any:
        return await room.result(room.signaling("amy").invite, invitee, "d")

    await same(act)


@pytest.mark.parametrize("data", DATA, ids=lambda data: f"{ascii(data)[:20]} {len(ascii(data))}")
async def test_data(data: Any) -> None:
    async def act(room: Room) -> Any:
        amy, bob = room.signaling("amy"), room.signaling("bob")
        results = [await room.result(amy.invite, "bob", data)]
        names = [await amy.invite("bob", "d") for _ in range(3)]
        results.append(await room.result(bob.accept, names[0], data))
        results.append(await room.result(bob.reject, names[1], data))
        results.append(await room.result(amy.cancel, names[2], data))
        return results

    await same(act)


@pytest.mark.parametrize("timeout", TIMEOUTS, ids=repr)
async def test_a_timeout(timeout: Any) -> None:  # noqa: ASYNC109
    async def act(room: Room) -> Any:
        amy = room.signaling("amy")
        results = [await room.result(amy.invite, "bob", timeout=timeout)]
        return results, room.hub.shard.machine.next_ms

    await same(act)


async def test_a_timeout_is_rounded_alike_wherever_it_lies() -> None:
    dice = random.Random(1)
    timeouts = [dice.uniform(0, 10.0 ** dice.randrange(-4, 7)) for _ in range(scaled(20_000, 500))]
    timeouts += [dice.randrange(2 * DAYS_30 * 1000) / 2000 for _ in range(scaled(20_000, 500))]

    async def act(room: Room) -> Any:
        amy = room.signaling("amy")
        expires = []
        for timeout in timeouts:
            result = await room.result(amy.invite, "bob", timeout=timeout)
            if result[0] == "Invitation":
                info = room.hub.shard.machine.info(result[1])
                assert info is not None
                expires.append(info.expires_at)
            expires.append(result)
            if len(expires) % 200 == 0:
                await room.clock.settle()
        return expires

    await same(act, limits={"queue_max": 1 << 20})


@pytest.mark.parametrize("online_only", BOOLS, ids=repr)
async def test_online_user_only(online_only: Any) -> None:
    async def act(room: Room) -> Any:
        amy = room.signaling("amy")
        return await room.result(amy.invite, "bob", online_user_only=online_only)

    await same(act)


@pytest.mark.parametrize("offline", [False, True])
async def test_of_several_broken_rules_the_same_is_told(offline: bool) -> None:
    """Every combination of what is right and wrong, in all places at once."""
    wrong = itertools.product(
        ["bob", "", 7, Text("a\0"), "amy", []],
        ["d", 7, "x" * 102, "é" * 51],
        [30, -1, "30", math.nan, 2**64],
        [False, "yes", 1],
        [None, 7, "r"],
    )

    async def act(room: Room) -> Any:
        amy = room.signaling("amy")
        if offline:
            await room.sessions["amy"].logout()
        results = []
        for invitee, data, timeout, online, request in wrong_list:
            options = {"timeout": timeout, "online_user_only": online, "request_id": request}
            results.append(await room.result(amy.invite, invitee, data, **options))
            if len(results) % 50 == 0:
                await room.clock.settle()
        return results

    wrong_list = list(wrong)
    results = await same(act)
    assert len({result[0] for result in results}) == (1 if offline else 3)


NAMES: list[Any] = [
    "", "x", "0" * 26, "0" * 25, "0" * 27, "é" * 26, "\ud800" * 26, " " * 26, None, 7, b"x" * 26,
    Text("0" * 26), Odd("0" * 26),
]  # fmt: skip


@pytest.mark.parametrize("name", ["accept", "reject", "cancel"])
@pytest.mark.parametrize("data", ["d", 7, "é" * 51], ids=ascii)
async def test_what_is_no_open_invitation(name: str, data: Any) -> None:
    async def act(room: Room) -> Any:
        amy, results = room.signaling("amy"), []
        handle = await amy.invite("bob", timeout=500)
        ended = await amy.invite("bob")
        await amy.cancel(ended)
        others = await room.hub.invite_as("bob", "cy", timeout=500)
        several = await amy.invite(["bob", "cy"], timeout=500)
        one = str(handle)
        given = [
            *NAMES, one.lower(), one.upper(), one + " ", one[:-1], Odd(one), Text(ended), ended,
            others, str(others), several, Text(one), one, handle, handle,
        ]  # fmt: skip
        for user in ("bob", "amy"):
            call = getattr(room.signaling(user), name)
            for each in given:
                results.append(await room.result(call, each, data))
                results.append(await room.result(call, each, data, request_id=7))
        return results

    results = await same(act)
    assert ("NoneType", None, True) in results or data != "d"


async def test_a_user_who_never_logged_in_may_act_by_the_server() -> None:
    """Of a server actor, whose number delivery and engine do not know yet."""

    async def act(room: Room) -> Any:
        results = []
        for user in ("zoe", "bob", "amy"):
            actor = room.way(room.hub.acting_as(user))
            result = await room.result(actor.invite, "cy", "d")
            results.append(result)
            for other in ("zoe", "cy", "bob"):
                answer = room.way(room.hub.acting_as(other))
                results.append(await room.result(answer.accept, result[1]))
        return results

    await same(act)


@pytest.mark.parametrize("limits", [{"open_max": 3}, {"users_max": 4}], ids=repr)
async def test_a_full_table(limits: dict[str, int]) -> None:
    async def act(room: Room) -> Any:
        amy, results = room.signaling("amy"), []
        for number in range(18):
            results.append(await room.result(amy.invite, f"user {number % 6}", timeout=5))
            if number % 6 == 5:
                await room.clock.advance(6)
        return results

    results = await same(act, same_ids=False, limits=limits | {"ended_max": 0})
    assert {result[0] for result in results} == {"Invitation", "LimitExceeded"}


@pytest.mark.parametrize("name", ["invite", "accept", "reject", "cancel"])
async def test_what_is_due_comes_first(name: str) -> None:
    """The clock has gone on, and the timer has not rung yet."""

    async def act(room: Room) -> Any:
        amy, bob = room.signaling("amy"), room.signaling("bob")
        due = await amy.invite("bob", timeout=1)
        later = await amy.invite("bob", timeout=3)
        room.clock._now_ms += 2000
        results = []
        for each in (due, later):
            call = {
                "invite": (amy.invite, "bob", "more"),
                "accept": (bob.accept, each),
                "reject": (bob.reject, each),
                "cancel": (amy.cancel, each),
            }[name]
            results.append(await room.result(*call))
        return results

    await same(act, same_ids=False)


async def test_a_journal() -> None:
    async def act(room: Room) -> Any:
        amy, bob, results = room.signaling("amy"), room.signaling("bob"), []
        for call in (bob.accept, bob.reject, amy.cancel):
            name = await amy.invite("bob")
            results.append(await room.result(call, name, "d"))
        return results

    await same(act, journal=MemoryJournal())


@pytest.mark.parametrize("when", ["never logged in", "logged out", "kicked", "closed"])
async def test_who_may_not_call(when: str) -> None:
    async def results(way: type[Signaling]) -> list[Any]:
        async with Hub(clock=VirtualClock(), seed=7) as hub:
            amy = hub.session("amy")
            if when != "never logged in":
                await amy.login()
            if when == "kicked":
                await hub.login("amy")
            elif when == "logged out":
                await amy.logout()
            elif when == "closed":
                await hub.close()
            room, actor = Room(hub, VirtualClock(), way), way(amy)
            return [
                await room.result(actor.invite, 7, 7),
                await room.result(actor.invite, "bob"),
                await room.result(actor.accept, "0" * 26),
                await room.result(actor.reject, 7),
                await room.result(actor.cancel, "0" * 26, "x" * 20_000),
            ]

    found = await results(Signaling)
    assert found == await results(GeneralWay)
    wanted = "HubClosed" if when == "closed" else "NotLoggedIn"
    assert {result[0] for result in found} == {wanted}


async def test_another_thread_is_refused(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    name = await amy.signaling.invite("bob")
    acting = hub.acting_as("bob").signaling
    refused: list[str] = []

    def call() -> None:
        for coroutine in (
            amy.signaling.invite("bob"),
            amy.signaling.cancel(name),
            acting.accept(name),
            acting.reject(name),
        ):
            try:
                coroutine.send(None)
            except RuntimeError as error:
                refused.append(str(error))

    before = hub.shard.machine.state_hash()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert len(refused) == 4
    assert all("another thread" in message for message in refused)
    assert hub.shard.machine.state_hash() == before


async def test_an_ordinary_call_takes_no_turn_of_the_loop(hub: Hub) -> None:
    amy, _ = await join(hub, "amy")
    bob, _ = await join(hub, "bob")
    name = await amy.signaling.invite("bob")
    for coroutine in (
        amy.signaling.invite("bob"),
        bob.signaling.accept(name),
        bob.signaling.reject(await amy.signaling.invite("bob")),
        amy.signaling.cancel(await amy.signaling.invite("bob")),
    ):
        with pytest.raises(StopIteration):
            coroutine.send(None)
