"""What is written straight into bytes is what the types say, and what the event says."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import msgspec
import orjson
import pytest
from protocol.happened import TEXTS, a_history
from scale import scaled

from pysignal import Hub, Session
from pysignal.engine.entropy import Entropy
from pysignal.engine.facts import Event
from pysignal.engine.machine import Machine
from pysignal.protocol.messages import EventNotification
from pysignal.protocol.numbers import INVITEES_INLINE_MAX
from pysignal.protocol.results import EventFields, EventParams
from pysignal.protocol.writing import (
    event_fields,
    event_message,
    invite_answer,
    joined,
    null_answer,
)

NOW_MS = 1_700_000_000_000
READ = msgspec.json.Decoder(EventNotification)


def read(event: Event, cursor: str = "c-1", now: int = NOW_MS) -> EventParams:
    """Return what a message says, read in three ways that must agree."""
    message = event_message(event, cursor, now)
    notification = READ.decode(message)
    assert orjson.loads(message) == json.loads(message) == plain(notification)
    alone = event_fields(event)
    rest = {name: value for name, value in plain(notification.params).items() if name in NAMES}
    assert plain(msgspec.json.decode(alone, type=EventFields)) == orjson.loads(alone) == rest
    return notification.params


NAMES = {field.name for field in msgspec.structs.fields(EventFields)}


def plain(message: msgspec.Struct) -> Any:
    """Return a message as plain objects; a notification's type is its method."""
    return msgspec.to_builtins(message)


def assert_says(params: EventParams, event: Event) -> None:
    for name in (
        "kind", "reason", "invite_id", "group_id", "inviter", "invitee_list", "data",
        "invitation_data", "actor", "device", "seq", "data_version", "position", "time",
        "expires_at", "ends", "replayed", "online_only", "parties_only",
    ):  # fmt: skip
        assert getattr(params, name) == getattr(event, name), name
    assert params.pending_count == len(event.pending)
    if len(event.invitees) <= INVITEES_INLINE_MAX or event.kind == "opened":
        assert params.invitees == list(event.invitees)
        assert params.pending == list(event.pending)
    else:
        assert params.invitees is params.pending is msgspec.UNSET


def test_a_message_says_what_the_event_says(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds, reasons = set(), set()
    for seed in range(scaled(30, at_least=10)):
        for event in a_history(seed, 200, monkeypatch).events:
            params = read(event, cursor=random.Random(seed).choice(TEXTS), now=event.time)
            assert_says(params, event)
            assert params.now == event.time
            kinds.add(event.kind)
            reasons.add(event.reason)
    assert kinds == {"opened", "accepted", "rejected", "cancelled", "timed_out", "modified"}
    assert reasons == {"", "left_group", "group_dismissed", "server", "lifetime"}


def machine() -> Machine:
    return Machine(key=b"sixteen bytes...", entropy=Entropy(1), now_ms=NOW_MS)


@pytest.mark.parametrize("text", TEXTS)
def test_each_text_arrives_as_it_was(text: str) -> None:
    one = machine()
    for inviter in ("amy", f"amy {text}"):
        invite_id = one.open(NOW_MS, inviter, f"bob {text}", text)
        one.accept(NOW_MS, invite_id, f"bob {text}", text + "!")
    for event in one.take():
        params = read(event, cursor=text)
        assert_says(params, event)
        assert params.cursor == text


def test_every_length_and_place_of_an_escape_is_right() -> None:
    one = machine()
    texts = [
        "x" * before + character + "y" * after
        for character in ("", '"', "\\", "\x00", "\x1f", "\x7f", "é", "\u2028", "\U0001f600")
        for before in range(18)
        for after in (0, 1, 7, 8, 9)
    ]
    for text in texts:
        one.open(NOW_MS, "amy", "bob", text)
    assert [read(event).data for event in one.take()] == texts


def test_a_message_may_be_large_and_the_next_one_small() -> None:
    one = machine()
    texts = ["\x01" * 1_000_000, "small", "漢" * 1_000_000, ""]
    for text in texts:
        one.open(NOW_MS, "amy", "bob", text)
    assert [read(event).data for event in one.take()] == texts


@pytest.mark.parametrize("count", [INVITEES_INLINE_MAX, INVITEES_INLINE_MAX + 1, 10_000])
def test_a_long_list_stands_in_the_opening_alone(count: int) -> None:
    one = machine()
    users = [f"user {i}" for i in range(count)]
    invite_id = one.open(NOW_MS, "amy", users, "data", group_id="class")
    for user in users[:20]:
        one.accept(NOW_MS, invite_id, user)
    one.modify(NOW_MS, invite_id, "amy", "new")
    one.cancel(NOW_MS, invite_id, "amy")
    events = one.take()
    for event in events:
        assert_says(read(event), event)
    sizes = [len(event_fields(event)) for event in events]
    if count > INVITEES_INLINE_MAX:
        assert max(sizes[1:-1]) < 600
    assert read(events[-2]).pending_count == count - 20
    assert read(events[-1]).pending_count == 0
    assert read(events[-1]).invitee_list == users[20:]


@pytest.mark.anyio
async def test_a_replayed_opening_says_who_is_pending_now(hub: Hub) -> None:
    amy, bob = await hub.login("amy"), await hub.login("bob")
    users = ["bob", "carl", *(f"user {i}" for i in range(40))]
    invite_id = await amy.signaling.invite(users, "data")
    await bob.signaling.accept(invite_id)
    event = await first_event(await hub.login("carl"))
    assert event.replayed
    params = read(event)
    assert_says(params, event)
    assert params.pending == users[1:]


@pytest.mark.anyio
async def test_the_acting_device_is_told(hub: Hub) -> None:
    amy, bob = await hub.login("amy"), await hub.login("bob", 'a "phone"')
    await bob.signaling.accept(await amy.signaling.invite("bob"))
    event = await first_event(amy)
    assert read(event).device == event.device == 'a "phone"'
    assert_says(read(event), event)


async def first_event(session: Session) -> Event:
    async with asyncio.timeout(5):
        async for event in session.events():
            assert isinstance(event, Event)
            return event
    raise AssertionError("nothing was heard")


def test_a_text_without_utf_8_is_refused_and_the_next_message_is_whole() -> None:
    one = machine()
    one.open(NOW_MS, "amy", "bob", "\ud800 alone")
    one.open(NOW_MS, "amy", "bob", "fine")
    alone, fine = one.take()
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        event_message(alone, "c", NOW_MS)
    with pytest.raises(UnicodeEncodeError, match="surrogates"):
        event_message(fine, "\udfff", NOW_MS)
    assert read(fine).data == "fine"


@pytest.mark.parametrize("number", [0, 7, 10, 2**53, 2**63 - 1, -1, -(2**63)])
def test_numbers_are_whole(number: int) -> None:
    assert orjson.loads(null_answer(number)) == {"jsonrpc": "2.0", "id": number, "result": None}
    assert invite_answer(number, 'a"b') == orjson.dumps(
        {"jsonrpc": "2.0", "id": number, "result": {"invite_id": 'a"b'}}
    )
    one = machine()
    one.open(NOW_MS, "amy", "bob")
    assert read(one.take()[0], now=number).now == number


def test_messages_are_joined_into_an_array_and_one_stays_as_it_is() -> None:
    messages = [null_answer(number) for number in range(20)]
    assert joined(messages[:1]) is messages[0]
    for count in range(2, 20):
        assert joined(messages[:count]) == b"[" + b",".join(messages[:count]) + b"]"
    with pytest.raises(ValueError, match="a message at least"):
        joined([])
    for wrong in ([None], ["text", b"bytes"], [b"bytes", bytearray(b"x")]):
        with pytest.raises(TypeError, match="a message is bytes"):
            joined(wrong)  # type: ignore[arg-type]
