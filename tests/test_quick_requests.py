"""A request ID means the same whether a call is carried out at once or goes the general way.

The first call of a request may go one way and its retry the other, as where something waits before
it, or over a restart: the retry has the first result, and what is another argument to the one is
another to the other.
"""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from both_ways import BYTES_MAX, Odd, Room, Text, same
from general_way import GeneralWay
from refusals import refusal
from scale import scaled
from test_quick_way import BOOLS, DATA, TIMEOUTS, USERS

from pysignal import Hub, Limits, VirtualClock
from pysignal.journal import MemoryJournal
from pysignal.signaling import Signaling

pytestmark = pytest.mark.anyio

BOTH = pytest.mark.parametrize(
    ("first", "retry"),
    list(itertools.product([Signaling, GeneralWay], repeat=2)),
    ids=["quick quick", "quick general", "general quick", "general general"],
)
Way = type[Signaling]


@BOTH
@pytest.mark.parametrize("journaled", [False, True], ids=["bare", "journal"])
async def test_a_retry_by_either_way_has_the_first_result(
    clock: VirtualClock, first: Way, retry: Way, journaled: bool
) -> None:
    journal = MemoryJournal() if journaled else None
    async with Hub(clock=clock, journal=journal) as hub:
        amy, bob = (hub.acting_as(user) for user in ("amy", "bob"))
        for name, actor in (("accept", bob), ("reject", bob), ("cancel", amy)):
            opened = await first(amy).invite("bob", "ä", timeout=5.5, request_id=name)
            again = await retry(amy).invite("bob", "ä", timeout=5.5, request_id=name)
            assert again == opened
            others = {"data": "a"}, {"timeout": 5.501}, {"online_user_only": True}
            for other in others:
                options = {"data": "ä", "timeout": 5.5, **other}
                await refusal(hub, retry(amy).invite("bob", request_id=name, **options), 6017)
            await refusal(hub, retry(amy).invite("cy", "ä", timeout=5.5, request_id=name), 6017)
            request = f"{name} it"
            await getattr(first(actor), name)(opened, "d", request_id=request)
            position = hub.shard.machine.position
            await getattr(retry(actor), name)(opened, "d", request_id=request)
            await getattr(retry(actor), name)(str(opened), "d", request_id=request)
            assert hub.shard.machine.position == position
            await refusal(hub, getattr(retry(actor), name)(opened, "e", request_id=request), 6017)
            for other_name in {"accept", "reject", "cancel"} - {name}:
                call = getattr(retry(actor), other_name)(opened, "d", request_id=request)
                await refusal(hub, call, 6017)


@BOTH
@pytest.mark.parametrize(
    ("parameter", "values"),
    [("invitee", USERS), ("data", DATA), ("timeout", TIMEOUTS), ("online_user_only", BOOLS)],
    ids=["invitee", "data", "timeout", "online_user_only"],
)
async def test_every_argument_is_the_same_by_either_way(
    first: Way, retry: Way, parameter: str, values: list[Any]
) -> None:
    clock = VirtualClock()
    async with Hub(clock=clock, limits=Limits(data_bytes_max=BYTES_MAX), seed=7) as hub:
        room, amy = Room(hub, clock, first), hub.acting_as("amy")
        opened = 0
        for number, value in enumerate(values):
            given = {"invitee": "bob", "request_id": f"r/{number}", parameter: value}
            result = await room.result(first(amy).invite, **given)
            before = hub.shard.machine.position
            assert await room.result(retry(amy).invite, **given) == result, ascii(value)
            assert hub.shard.machine.position == before
            opened += result[0] == "Invitation"
            await clock.settle()
        assert opened >= 2


REQUESTS: list[Any] = [
    "r", " ", "~", "x" * 128, "x" * 129, "", "é" * 64, "é" * 65, "a\0", "a\x7f", "a\x80", "\ud800",
    7, b"r", True, Text("r"), Text("r\n"), Odd("o"), ["r"],
]  # fmt: skip


@pytest.mark.parametrize("request_id", REQUESTS, ids=ascii)
async def test_what_is_a_request_id(request_id: Any) -> None:
    async def act(room: Room) -> Any:
        amy, bob, results = room.signaling("amy"), room.signaling("bob"), []
        for number in range(2):
            results.append(await room.result(amy.invite, "bob", "d", request_id=request_id))
            name = results[0][1] if results[0][0] == "Invitation" else await amy.invite("bob")
            if number == 0:
                results.append(await room.result(bob.accept, name, request_id=request_id))
            results.append(await room.result(amy.cancel, name, "é" * 51, request_id=request_id))
            results.append(await room.result(bob.reject, 7, request_id=request_id))
            results.append(await room.result(bob.reject, name, request_id=request_id))
        return results

    await same(act, same_ids=False)


@pytest.mark.parametrize("journaled", [False, True], ids=["bare", "journal"])
@pytest.mark.parametrize("mixed", [False, True], ids=["quick", "mixed"])
async def test_random_requests_are_the_same_by_either_way(journaled: bool, mixed: bool) -> None:
    """Few names and few places for them, so that all are repeated, pushed out and forgotten."""
    for seed in range(scaled(40, 3)):

        async def act(room: Room, seed: int = seed) -> Any:
            dice, ways = random.Random(seed), random.Random(-seed - 1)
            results: list[Any] = []
            names: list[str] = ["0" * 26]
            for _ in range(60):
                user = dice.choice(["amy", "bob"])
                is_general = mixed and ways.random() < 0.5
                actor = (GeneralWay if is_general else room.way)(room.sessions[user])
                options: dict[str, Any] = {"data": dice.choice("de")}
                options["request_id"] = dice.choice([None, *"rstuvwxy"])
                what = dice.choice(["invite", "accept", "reject", "cancel"])
                if what == "invite":
                    options["timeout"] = dice.choice([1, 2, 500])
                    result = await room.result(actor.invite, dice.choice(["bob", "cy"]), **options)
                    if result[0] == "Invitation":
                        names.append(result[1])
                else:
                    name = dice.choice(names[-4:])
                    result = await room.result(getattr(actor, what), name, **options)
                results.append((result, room.hub.stats()["requests_remembered"]))
                if dice.random() < 0.3:
                    await room.clock.advance(dice.choice([0.001, 0.5, 2]))
            return results

        limits = {"requests_max": 4, "requests_keep_s": 3, "open_max": 6, "ended_max": 3}
        options = {"journal": MemoryJournal()} if journaled else {}
        results = await same(act, same_ids=False, limits=limits, **options)
        found = {result[0] for result, _ in results}
        assert found >= {"Invitation", "InvalidParameter", "InvitationEnded"}, seed


@BOTH
async def test_a_retry_after_a_restart_by_either_way_has_the_first_result(
    clock: VirtualClock, first: Way, retry: Way
) -> None:
    journal = MemoryJournal()
    async with Hub(clock=clock, journal=journal) as hub:
        amy, bob = first(hub.acting_as("amy")), first(hub.acting_as("bob"))
        options = {"data": "grüße", "timeout": 600, "request_id": "amy/1"}
        opened = str(await amy.invite("bob", **options))
        await bob.accept(opened, "да", request_id="bob/1")
        error = await refusal(hub, bob.reject(opened, request_id="bob/2"), 8010)
        kept = hub.stats()["requests_remembered"]
    assert kept == 3
    async with Hub(clock=clock, journal=journal) as hub:
        amy, bob = retry(hub.acting_as("amy")), retry(hub.acting_as("bob"))
        position = hub.shard.machine.position
        assert hub.stats()["requests_remembered"] == kept
        assert await amy.invite("bob", **options) == opened
        await bob.accept(opened, "да", request_id="bob/1")
        again = await refusal(hub, bob.reject(opened, request_id="bob/2"), 8010)
        assert (str(again), again.details) == (str(error), error.details)
        for call in (
            amy.invite("bob", **options | {"data": "gruße"}),
            bob.accept(opened, "да!", request_id="bob/1"),
            bob.reject(opened, "x", request_id="bob/2"),
        ):
            await refusal(hub, call, 6017)
        assert hub.shard.machine.position == position


async def test_a_first_call_with_a_request_id_takes_no_turn_of_the_loop(hub: Hub) -> None:
    amy, bob = hub.acting_as("amy").signaling, hub.acting_as("bob").signaling
    names = [await amy.invite("bob") for _ in range(3)]
    for coroutine in (
        amy.invite("bob", request_id="1"),
        bob.accept(names[0], request_id="1"),
        bob.reject(names[1], request_id="2"),
        amy.cancel(names[2], request_id="2"),
        amy.cancel(names[2], request_id="2"),
    ):
        with pytest.raises(StopIteration):
            coroutine.send(None)
