"""Many operations in one call: one command, a result for each item, in slices."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pysignal import (
    Answer,
    DataTooLong,
    Hub,
    HubClosed,
    InvalidParameter,
    InvitationEnded,
    Invite,
    Limits,
    NoGroupPermission,
    NoSuchGroup,
    NotPermitted,
    SignalingListener,
    VirtualClock,
)
from pysignal.clock import stopwatch_ns
from pysignal.commands import Bulk
from pysignal.shard import MORE, STEPS_MAX

pytestmark = pytest.mark.anyio


class Ear(SignalingListener):
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str]] = []

    def on_receive_new_invitation(
        self, invite_id: str, inviter: str, group_id: str, invitee_list: list[str], data: str
    ) -> None:
        self.heard.append(("new", invite_id, data))

    def on_invitee_accepted(self, invite_id: str, invitee: str, data: str) -> None:
        self.heard.append(("accepted", invite_id, data))

    def on_invitee_rejected(self, invite_id: str, invitee: str, data: str) -> None:
        self.heard.append(("rejected", invite_id, data))


async def test_each_item_is_carried_out_as_its_own_call_would_be(
    hub: Hub, clock: VirtualClock
) -> None:
    amy, bob = Ear(), Ear()
    await hub.login("amy", listener=amy)
    await hub.login("bob", listener=bob)
    ids = await hub.invite_many(
        [
            Invite("amy", "bob", "one", 10),
            ("amy", "bob", "two"),
            Invite("amy", ["bob", "cat"], None, 0.5),
            Invite("amy", ["bob", "bob"], "dé", online_user_only=True),
        ]
    )
    await clock.settle()
    infos = [await hub.invitation(str(name)) for name in ids]
    assert [info and (info.data, info.invitee_list, info.online_only) for info in infos] == [
        ("one", ["bob"], False),
        ("two", ["bob"], False),
        ("", ["bob", "cat"], False),
        ("dé", ["bob"], True),
    ]
    assert [info and info.expires_at and info.expires_at - info.opened_at for info in infos] == [
        10_000, 30_000, 500, 30_000
    ]  # fmt: skip
    assert bob.heard == [
        ("new", name, data) for name, data in zip(ids, ("one", "two", "", "dé"), strict=True)
    ]
    # An act of the server has no acting session: amy's own hears of it, as of `invite_as`.
    assert amy.heard == bob.heard
    del amy.heard[:]
    names = [str(name) for name in ids]
    answers = [
        Answer("bob", names[0], True, "yes"),
        Answer("bob", names[1], False, "nö"),
        ("bob", names[2]),
    ]
    assert await hub.answer_many(answers) == [None, None, None]
    await clock.settle()
    assert amy.heard == [
        ("accepted", names[0], "yes"), ("rejected", names[1], "nö"), ("accepted", names[2], ""),
    ]  # fmt: skip


async def test_in_a_group_the_rules_of_groups_hold(hub: Hub, clock: VirtualClock) -> None:
    await hub.groups.put("class", ["amy", "bob"])
    name, no_group, stranger = await hub.invite_many(
        [
            Invite("amy", ["bob"], group_id="class"),
            Invite("amy", "bob", group_id="nowhere"),
            Invite("zoe", "bob", group_id="class"),
        ]
    )
    info = await hub.invitation(str(name))
    assert info is not None
    assert (info.group_id, info.invitee_list) == ("class", ["bob"])
    assert isinstance(no_group, NoSuchGroup)
    assert isinstance(stranger, NoGroupPermission)


@pytest.mark.parametrize(
    ("item", "error", "parameter"),
    [
        (Invite("", "bob"), InvalidParameter, "inviter"),
        (Invite("amy", "a\nb"), InvalidParameter, "invitee"),
        (Invite("amy", "amy"), InvalidParameter, "invitee"),
        (Invite("amy", []), InvalidParameter, "invitee"),
        (Invite("amy", [f"u{n}" for n in range(5)]), InvalidParameter, "invitee"),
        (Invite("amy", 5), InvalidParameter, "invitee"),  # type: ignore[arg-type]
        (Invite("amy", "bob", "x" * 11), DataTooLong, "data"),
        (Invite("amy", "bob", "ééééé\N{WAVING HAND SIGN}"), DataTooLong, "data"),
        (Invite("amy", "bob", "", -1), InvalidParameter, "timeout"),
        (Invite("amy", "bob", "", float("nan")), InvalidParameter, "timeout"),
        (Invite("amy", "bob", "", 10**30), InvalidParameter, "timeout"),
        (Invite("amy", "bob", "", True), InvalidParameter, "timeout"),
        (Invite("amy", "bob", "", 30, "\0"), InvalidParameter, "group_id"),
        (
            Invite("amy", "bob", online_user_only=1),  # type: ignore[arg-type]
            InvalidParameter,
            "online_user_only",
        ),
        (Invite("amy", "bob", request_id=""), InvalidParameter, "request_id"),
        (("amy",), InvalidParameter, "items"),
        ("amy", InvalidParameter, "items"),
        (None, InvalidParameter, "items"),
    ],
)
async def test_an_item_that_is_refused_stops_nobody_and_changes_nothing(
    item: Any, error: type[Exception], parameter: str
) -> None:
    async with Hub(limits=Limits(data_bytes_max=10, invitees_max=4), seed=1) as hub:
        first, refused, last = await hub.invite_many([("amy", "bob"), item, ("cat", "dan")])
        assert isinstance(refused, error)
        assert refused.details["parameter"] == parameter  # type: ignore[attr-defined]
        assert hub.stats()["open"] == 2
        assert {type(first), type(last)} == {str}


async def test_an_answer_that_is_refused_says_why(hub: Hub) -> None:
    (name,) = await hub.invite_many([Invite("amy", "bob")])
    name = str(name)
    results = await hub.answer_many(
        [
            Answer("amy", name),
            Answer("bob", "no such invitation"),
            Answer("bob", 5),  # type: ignore[arg-type]
            Answer("bob", name, "yes"),  # type: ignore[arg-type]
            Answer("bob", name, False, "busy"),
            Answer("bob", name),
        ]
    )
    assert [type(result) for result in results] == [
        NotPermitted, InvitationEnded, InvalidParameter, InvalidParameter, type(None),
        InvitationEnded,
    ]  # fmt: skip
    assert "rejected" in str(results[5])


async def test_the_call_itself_is_checked(hub: Hub) -> None:
    for items in ("amy", {("amy", "bob")}, iter([("amy", "bob")]), None):
        with pytest.raises(InvalidParameter, match="items: a list or tuple"):
            await hub.invite_many(items)  # type: ignore[arg-type]
        with pytest.raises(InvalidParameter, match="items: a list or tuple"):
            await hub.answer_many(items)  # type: ignore[arg-type]
    assert await hub.invite_many([]) == []
    assert await hub.answer_many(()) == []
    await hub.close()
    with pytest.raises(HubClosed):
        await hub.invite_many([("amy", "bob")])  # type: ignore[list-item]


async def test_a_request_id_carries_an_item_out_once(hub: Hub, clock: VirtualClock) -> None:
    bob = Ear()
    await hub.login("bob", listener=bob)
    items = [Invite("amy", "bob", request_id="r"), Invite("cat", "bob", request_id="r")]
    first = await hub.invite_many(items)
    assert await hub.invite_many(items) == first
    assert first[0] != first[1]
    again = Answer("bob", str(first[0]), request_id="a")
    assert await hub.answer_many([again, again]) == [None, None]
    await clock.settle()
    assert len(bob.heard) == 3
    (other,) = await hub.invite_many([Invite("amy", "cat", request_id="r")])
    assert isinstance(other, InvalidParameter)


async def test_many_items_are_carried_out_in_slices_and_nothing_comes_between(hub: Hub) -> None:
    """Every turn of the loop is shared; what arrives meanwhile is carried out behind."""
    count = 3 * STEPS_MAX
    turns = 0
    is_through = False

    async def others() -> None:
        nonlocal turns
        while not is_through:
            turns += 1
            await asyncio.sleep(0)

    watching = asyncio.ensure_future(others())
    items = [Invite("amy", f"u{n}") for n in range(count)]
    bulk = asyncio.ensure_future(hub.invite_many(items))
    await asyncio.sleep(0)
    late = asyncio.ensure_future(hub.invite_as("amy", "late"))
    ids = [*await bulk, await late]
    is_through = True
    await watching
    positions = [info.position for name in ids if (info := await hub.invitation(str(name)))]
    assert positions == sorted(positions)
    assert len(positions) == count + 1
    assert turns >= 3


async def test_what_is_due_ends_before_an_item_is_judged(hub: Hub, clock: VirtualClock) -> None:
    (name,) = await hub.invite_many([Invite("amy", "bob", "", 1)])
    bulk = None

    def answer() -> None:
        nonlocal bulk
        bulk = asyncio.ensure_future(hub.answer_many([Answer("bob", str(name))]))

    clock.call_at(hub.now_ms + 1000, answer)
    await clock.advance(1)
    assert bulk is not None
    (result,) = await bulk
    assert isinstance(result, InvitationEnded)


async def test_a_hub_that_closes_meanwhile_says_so(hub: Hub) -> None:
    items = [("amy", f"u{n}") for n in range(4 * STEPS_MAX)]
    bulk = asyncio.ensure_future(hub.invite_many(items))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    await hub.close()
    with pytest.raises(HubClosed):
        await bulk


async def test_a_slice_is_short(hub: Hub) -> None:
    """No slice comes near the 5 ms that a step of the loop may take, by a wide margin."""
    items = [Invite("amy", f"u{n}") for n in range(20_000)]
    bulk = asyncio.ensure_future(hub.invite_many(items))
    longest_ns = 0
    while not bulk.done():
        began_ns = stopwatch_ns()
        await asyncio.sleep(0)
        longest_ns = max(longest_ns, stopwatch_ns() - began_ns)
    assert len(await bulk) == 20_000
    assert longest_ns < 100_000_000


def test_no_item_is_carried_out_whose_result_gets_lost() -> None:
    """An item that raises, memory that has run out included, has that for a result."""
    done: list[int] = []

    def act(now_ms: int, item: int) -> Any:
        if item % 3 == 0:
            raise MemoryError
        if item % 3 == 1 and done[-1:] != [item]:
            done.append(item)
            return MORE
        done.append(item)
        return item

    bulk, result = Bulk(list(range(600)), act), MORE
    while result is MORE:
        result = bulk(1)
    assert [type(one) for one in result[::3]] == [MemoryError] * 200
    assert result[1::3] == list(range(1, 600, 3))
    assert result[2::3] == list(range(2, 600, 3))
