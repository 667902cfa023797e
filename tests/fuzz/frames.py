"""What the fuzzer does with the protocol: any bytes are a frame, to the server and to a client."""

from __future__ import annotations

import contextlib
import json

import msgspec
import orjson

from pysignal.errors import TokenRefused
from pysignal.protocol.frames import (
    Bad,
    FrameError,
    messages_from,
    params_of,
    requests_in,
    result_of,
)
from pysignal.protocol.messages import REQUESTS, Ack, EventNotification, Login, Request
from pysignal.protocol.reading import event_from
from pysignal.protocol.refusals import from_wire, to_wire
from pysignal.protocol.results import Error, EventParams
from pysignal.protocol.writing import event_fields, event_message
from pysignal.server.auth import AnyOf, JwtAuthenticator, UserSigAuthenticator

KEY = "k" * 32
NOW_MS = 1_700_000_000_000
TOKENS = AnyOf(JwtAuthenticator(KEY), UserSigAuthenticator(1, KEY))


def run_frame(data: bytes) -> None:
    """Let some bytes come as a frame.

    Args:
        data: any; what is no UTF-8 becomes text with lone surrogates, which no socket lets through.

    Raises:
        AssertionError: something was read that reads otherwise once it was written.
    """
    text = data.decode(errors="surrogateescape")
    found = requests_in(text)
    assert found
    for message in found:
        if isinstance(message, Bad):
            _check_bad(message)
        else:
            _check_request(message)
    _read_as_a_client(text)


def _check_bad(message: Bad) -> None:
    answer = {"jsonrpc": "2.0", "id": message.id, "error": message.error}
    error = from_wire(msgspec.json.decode(orjson.dumps(message.error), type=Error))
    assert error.code == message.error["code"]
    (heard,) = messages_from(orjson.dumps(answer).decode())
    assert heard.id == message.id
    if "data" in message.error:
        assert to_wire(error) == message.error


def _check_request(message: Request | Ack) -> None:
    written = json.dumps(msgspec.to_builtins(message), ensure_ascii=False)
    assert requests_in(written) == [message], written
    if isinstance(message, Login):
        try:
            TOKENS.authenticate(message.params.user_id, message.params.token, NOW_MS)
        except TokenRefused:
            return
        raise AssertionError(f"nobody has signed {message.params.token!r}")


def _read_as_a_client(text: str) -> None:
    try:
        messages = messages_from(text)
    except FrameError:
        return
    for message in messages:
        for kind in REQUESTS:
            with contextlib.suppress(FrameError):
                result_of(message, kind)
        with contextlib.suppress(FrameError):
            params = params_of(message)
            if isinstance(params, EventParams):
                _check_event(params)


def _check_event(params: EventParams) -> None:
    try:
        event = event_from(params)
    except ValueError:
        return
    try:
        written = event_message(event, params.cursor, NOW_MS)
    except LookupError:  # who was invited is not known
        return
    again = msgspec.json.decode(written, type=EventNotification).params
    assert event_fields(event_from(again)) == event_fields(event)
