"""What docs/protocol.md and asyncapi.json say of the protocol is what server and decoders do."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from server.lines import Line

from pysignal import Hub, VirtualClock
from pysignal.errors import BY_CODE
from pysignal.protocol import asyncapi, numbers
from pysignal.protocol.frames import Bad, messages_from, params_of, requests_in, result_of
from pysignal.protocol.messages import NOTIFICATIONS, REQUESTS, Ack, Request
from pysignal.protocol.reading import event_from
from pysignal.protocol.refusals import from_wire
from pysignal.protocol.results import Error, EventParams
from pysignal.protocol.shapes import method_of
from pysignal.server import Server
from pysignal.server.auth import Identity

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
FRAME = re.compile(r"^    (?:(\w+) ([→←]) )?(\{.*(?:\n        .*)*)$", re.MULTILINE)
CLOSE_CODES = {value for name, value in vars(numbers).items() if name.startswith("CLOSE_")}


# -- the session by hand ---------------------------------------------------------------------------


def steps() -> Iterator[tuple[str, str, Any]]:
    """Yield what happens in the session: (who, what, message)."""
    for part in re.split(r"\n\n", PAGE.partition("## 6.")[2]):
        if broken := re.match(r"(\w+)'s connection breaks\. After (\d+) seconds", part):
            yield broken[1].lower(), "breaks", int(broken[2])
        for who, arrow, text in FRAME.findall(part):
            yield who, arrow, json.loads(text)


class OrderedLine(Line):
    """A line that keeps what it was sent in order."""

    def __init__(self, server: Server) -> None:
        self.unread: deque[Any] = deque()
        super().__init__(server)

    def send(self, frame: bytes) -> None:
        read = json.loads(frame)
        self.unread.extend(read if isinstance(read, list) else [read])

    async def next_message(self) -> Any:
        for _ in range(1_000):
            if self.unread:
                break
            await asyncio.sleep(0)
        return self.unread.popleft()


class Trusting:
    """Believes everybody."""

    def authenticate(self, user_id: str, token: str, now_ms: int) -> Identity:
        return Identity(user_id, None)


class Names:
    """What is called otherwise in each run: invite IDs and cursors."""

    def __init__(self) -> None:
        self.real: dict[str, str] = {}

    def to_real(self, told: Any) -> Any:
        text = json.dumps(told, ensure_ascii=False)
        for name, real in self.real.items():
            text = text.replace(f'"{name}"', f'"{real}"')
        return json.loads(text)

    def learn(self, told: Any, real: Any) -> None:
        if isinstance(told, dict) and isinstance(real, dict):
            for key in told.keys() & real.keys():
                if key in ("invite_id", "cursor"):
                    assert self.real.setdefault(told[key], real[key]) == real[key]
                self.learn(told[key], real[key])


@pytest.mark.anyio
async def test_the_session_by_hand_goes_as_the_page_says(hub: Hub, clock: VirtualClock) -> None:
    names, lines, seen = Names(), dict[str, OrderedLine](), defaultdict[str, int](int)
    async with Server(hub, Trusting(), clock=clock) as server:
        for who, what, told in steps():
            seen[what] += 1
            if what == "breaks":
                lines.pop(who).break_off()
                await clock.advance(told)
                continue
            if who not in lines:
                lines[who] = OrderedLine(server)
            if what == "→":
                lines[who].write(names.to_real(told))
                continue
            real = await lines[who].next_message()
            names.learn(told, real)
            assert real == names.to_real(told)
        assert not any(line.unread for line in lines.values())
        assert lines["amy"].code == 1000
    assert seen == {"→": 11, "←": 13, "breaks": 1}


def test_every_frame_of_the_page_is_read_by_the_decoders() -> None:
    asked: dict[tuple[str, int], Any] = {}
    frames = FRAME.findall(PAGE)
    assert len(frames) == 30
    for who, _, shown in frames:
        # What is left out of an example is empty.
        text = re.sub(r"(?<=[\[{])…", "", shown).replace(": …", ": 0")
        if '"method": "event"' not in text and '"method"' in text:
            (request,) = requests_in(text)
            assert isinstance(request, Bad) == ('"invitee": 7' in text)  # one is bad on purpose
            if isinstance(request, Request):
                asked[who, request.id] = type(request)
            continue
        (message,) = messages_from(text)
        if isinstance(message.error, Error):
            assert type(from_wire(message.error)) is BY_CODE[message.error.code]
        elif message.method is not msgspec.UNSET:
            params = params_of(message)
            assert isinstance(params, EventParams)
            event_from(params)
        else:
            assert isinstance(message.id, int)
            result_of(message, asked[who, message.id])


def test_the_page_names_every_close_code_and_number() -> None:
    table = PAGE.partition("## 5.")[2].partition("## 6.")[0]
    assert {int(code) for code in re.findall(r"\b\d{4}\b", table)} >= CLOSE_CODES
    assert f"at most {numbers.DEPTH_MAX} levels" in PAGE
    assert f"more than {numbers.INVITEES_INLINE_MAX}" in PAGE
    assert f"{numbers.BAD_MAX}th bad one" in PAGE
    assert f"`{numbers.SUBPROTOCOL}`" in PAGE
    assert f"`{numbers.PATH}`" in PAGE


# -- the AsyncAPI document -------------------------------------------------------------------------

DOCUMENT = asyncapi.document()


def test_the_document_is_up_to_date() -> None:
    assert json.loads(asyncapi.DOCUMENT.read_text(encoding="utf-8")) == DOCUMENT, (
        "run: python -m pysignal.protocol.asyncapi"
    )


def parts(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from parts(each)


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    assert reference.startswith("#/")
    for name in reference[2:].split("/"):
        found = found[name]
    return found


def test_every_reference_leads_somewhere() -> None:
    references = {part["$ref"] for part in parts(DOCUMENT) if isinstance(part.get("$ref"), str)}
    assert len(references) > 100
    for reference in references:
        assert isinstance(resolved(reference), dict)


def test_the_document_has_the_parts_that_asyncapi_3_wants() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert DOCUMENT["info"].keys() >= {"title", "version"}
    for server in DOCUMENT["servers"].values():
        assert server.keys() >= {"host", "protocol"}
    channel = DOCUMENT["channels"]["signaling"]
    assert channel["address"] == numbers.PATH
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        assert resolved(operation["channel"]["$ref"]) is channel
        for message in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]:
            assert message["$ref"].startswith("#/channels/signaling/messages/")
    assert channel["messages"].keys() == DOCUMENT["components"]["messages"].keys()


def test_every_message_is_described_and_has_an_operation() -> None:
    operations = DOCUMENT["operations"]
    kinds = {method_of(kind): kind for kind in (*REQUESTS, Ack, *NOTIFICATIONS)}
    assert operations.keys() == kinds.keys()
    for method, kind in kinds.items():
        assert operations[method]["action"] == ("send" if kind in NOTIFICATIONS else "receive")
        assert ("reply" in operations[method]) == (kind in REQUESTS)
        assert DOCUMENT["components"]["messages"][method]["summary"]
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert schema["description"], name
        assert "Attributes" not in schema["description"], name
    described = DOCUMENT["components"]["schemas"]["EventParams"]["properties"]
    assert all(field["description"] for field in described.values())


def test_every_example_is_read_by_the_decoders_and_by_nothing_passed_over() -> None:
    asked = {method_of(kind): kind for kind in REQUESTS}
    told = {method_of(kind) for kind in NOTIFICATIONS}
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message["examples"]:
            payload, text = example["payload"], json.dumps(example["payload"])
            if name in told:
                read, sent = params_of(messages_from(text)[0]), payload["params"]
            elif name == "error":
                read, sent = messages_from(text)[0].error, payload["error"]
            elif name.removesuffix("_result") != name:
                kind = asked[name.removesuffix("_result")]
                read, sent = result_of(messages_from(text)[0], kind), payload["result"]
            else:
                (read,), sent = requests_in(text), payload
                assert not isinstance(read, Bad), name
            assert_holds(msgspec.to_builtins(read), sent)


def assert_holds(read: Any, sent: Any) -> None:
    """Check that all that was sent was read."""
    if isinstance(sent, dict):
        assert sent.keys() <= read.keys()
        for name, value in sent.items():
            assert_holds(read[name], value)
    elif isinstance(sent, list):
        assert len(read) == len(sent)
        for each_read, each_sent in zip(read, sent, strict=True):
            assert_holds(each_read, each_sent)
    else:
        assert read == sent


def test_the_command_writes_what_the_check_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asyncapi, "DOCUMENT", tmp_path / "asyncapi.json")
    assert asyncapi.main(["--check"]) == 1
    assert asyncapi.main([]) == 0
    assert asyncapi.main(["--check"]) == 0
