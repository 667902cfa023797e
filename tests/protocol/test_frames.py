"""Whatever comes in a frame is taken, or told what is wrong with it; nothing raises."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import orjson
import pytest
from protocol.mutations import a_request, broken, requests_of_all_kinds
from scale import scaled

from pysignal.errors import InvalidParameter, SignalingError
from pysignal.protocol import frames, messages, numbers
from pysignal.protocol.frames import (
    Bad,
    FrameError,
    messages_from,
    params_of,
    requests_in,
    result_of,
)
from pysignal.protocol.messages import REQUESTS, Ack, Request
from pysignal.protocol.refusals import from_wire
from pysignal.protocol.results import Error, EventParams, InviteResult, LoginResult


def only(text: str) -> Request | Ack | Bad:
    (message,) = requests_in(text)
    return message


def bad(text: str) -> tuple[int | None, int, str]:
    """Return number, code and message of what is wrong with the only message of a frame."""
    message = only(text)
    assert isinstance(message, Bad), message
    return message.id, message.error["code"], message.error["message"]


def refused(method: str, params: Any) -> SignalingError:
    """Return the error that answers a request with these parameters."""
    text = json.dumps({"jsonrpc": "2.0", "id": 5, "method": method, "params": params})
    message = only(text)
    assert isinstance(message, Bad), message
    assert message.id == 5
    return from_wire(msgspec.convert(message.error, Error))


def test_every_request_is_read_into_its_type() -> None:
    seen = set()
    for request in requests_of_all_kinds():
        text = json.dumps(request)
        message = only(text)
        assert not isinstance(message, Bad), message
        seen.add(type(message))
        assert msgspec.to_builtins(message).items() >= {"jsonrpc": "2.0"}.items()
        assert requests_in(f"[{text}, {text}]") == [message, message]
    assert seen == {*REQUESTS, Ack}


@pytest.mark.parametrize(
    ("text", "number", "code", "words"),
    [
        ("", None, -32700, "at character 0"),
        ("{", None, -32700, "at character 1"),
        ("[1", None, -32700, "at character"),
        ("NaN", None, -32700, "number"),
        ("1" * 5000, None, -32700, "digits"),
        ("[" * 9 + "]" * 9, None, -32700, "deeper than 8"),
        ("\ud800", None, -32700, "UTF-8"),
        ('"\x00"', None, -32700, "at character"),
        ("[]", None, -32600, "empty"),
        ("null", None, -32600, "an object, not null"),
        ("3", None, -32600, "an object, not a whole number"),
        ('"x"', None, -32600, "an object, not a string"),
        ("true", None, -32600, "an object, not a boolean"),
        ("1.5", None, -32600, "an object, not a number"),
        ("[[]]", None, -32600, "an object, not an array"),
        ("{}", None, -32600, "jsonrpc"),
        ('{"id":1,"method":"sync"}', 1, -32600, "jsonrpc"),
        ('{"jsonrpc":2.0,"id":1,"method":"sync"}', 1, -32600, "jsonrpc"),
        ('{"jsonrpc":"1.0","id":1,"method":"sync"}', 1, -32600, "jsonrpc"),
        ('{"jsonrpc":"2.0","id":1}', 1, -32600, "method"),
        ('{"jsonrpc":"2.0","id":1,"result":null}', 1, -32600, "method"),
        ('{"jsonrpc":"2.0","id":1,"method":7}', 1, -32600, "method"),
        ('{"jsonrpc":"2.0","id":1,"method":"Sync"}', 1, -32601, "'Sync'"),
        ('{"jsonrpc":"2.0","id":1,"method":"event","params":{}}', 1, -32601, "'event'"),
        ('{"jsonrpc":"2.0","method":"nothing"}', None, -32601, "'nothing'"),
        ('{"jsonrpc":"2.0","method":"sync"}', None, -32600, "number"),
    ],
)
def test_what_is_no_request_is_told_so(
    text: str, number: int | None, code: int, words: str
) -> None:
    told = bad(text)
    assert told[:2] == (number, code)
    assert words in told[2]
    assert "$" not in told[2]


@pytest.mark.parametrize(
    "number", ["null", "true", "1.0", "0.5", "-1", "9007199254740993", '"1"', "[1]", "{}", "1e3"]
)
def test_a_number_of_a_request_is_a_whole_one(number: str) -> None:
    text = f'{{"jsonrpc":"2.0","id":{number},"method":"sync"}}'
    assert bad(text) == (None, -32600, "id: a whole number from 0 to 9007199254740992")


@pytest.mark.parametrize("number", [0, 1, 2**53])
def test_every_whole_number_up_to_two_to_the_53rd_is_one(number: int) -> None:
    message = only(f'{{"jsonrpc":"2.0","id":{number},"method":"sync"}}')
    assert message == messages.Sync(id=number, jsonrpc="2.0")


@pytest.mark.parametrize(
    ("method", "params", "parameter", "words"),
    [
        ("invite", {"invitee": 5}, "invitee",
         "expected a string or a list of strings, not a whole number"),
        ("invite", {"invitee": ["bob", None]}, "invitee",
         "expected a string or a list of strings, not one with null in it"),
        ("invite", {}, "invitee", "is missing; a string or a list of strings is needed"),
        ("invite", {"invitee": "bob", "timeout": "30"}, "timeout",
         "expected a number, not a string"),
        ("invite", {"invitee": "bob", "timeout": True}, "timeout",
         "expected a number, not a boolean"),
        ("invite", {"invitee": "bob", "data": 5}, "data",
         "expected a string or null, not a whole number"),
        ("invite", {"invitee": "bob", "online_user_only": 1}, "online_user_only",
         "expected true or false, not a whole number"),
        ("invite", {"invitee": "b\ud800b"}, "invitee",
         "holds a lone surrogate; pass text that has a UTF-8 form"),
        ("invite", {"invitee": "bob", "offline_push_info": ["\ud800"]}, "offline_push_info",
         "holds a lone surrogate; pass text that has a UTF-8 form"),
        ("invite", ["bob"], "params",
         "expected an object that has each by its name, not an array"),
        ("sync", None, "params", "expected an object that has each by its name, not null"),
        ("invite_in_group", {"group_id": "g", "invitee_list": [], "notify": "all"}, "notify",
         'expected "members" or "parties", not another string'),
        ("invite_in_group", {"group_id": "g", "invitee_list": "bob"}, "invitee_list",
         "expected a list of strings, not a string"),
        ("modify_invitation", {"invite_id": "x", "data": "", "expected_version": 1.5},
         "expected_version", "expected a whole number or null, not a number"),
        ("add_invited_signaling", {"info": {"invite_id": "x"}}, "info",
         "inviter: is missing; a string is needed"),
        ("add_invited_signaling", {"info": {"invite_id": "\ud800", "inviter": "a"}}, "info",
         "holds a lone surrogate; pass text that has a UTF-8 form"),
        ("add_invited_signaling", {"info": "x"}, "info",
         "expected an object that has each by its name, not a string"),
    ],
)  # fmt: skip
def test_a_wrong_parameter_is_named(method: str, params: Any, parameter: str, words: str) -> None:
    error = refused(method, params)
    assert isinstance(error, InvalidParameter)
    assert error.details["parameter"] == parameter
    assert error.message == f"{parameter}: {words}"


def test_parameters_may_be_left_out_where_none_is_needed() -> None:
    assert isinstance(only('{"jsonrpc":"2.0","id":1,"method":"sync"}'), messages.Sync)
    message = only('{"jsonrpc":"2.0","id":1,"method":"invite"}')
    assert isinstance(message, Bad)
    assert message.error["code"] == InvalidParameter.code
    assert message.error["data"]["details"] == {"parameter": "invitee"}


def test_a_bad_notification_has_no_number_to_be_answered_by() -> None:
    message = only('{"jsonrpc":"2.0","method":"ack","params":{"cursor":5}}')
    assert isinstance(message, Bad)
    assert message.id is None


def test_good_messages_of_a_frame_are_taken_in_order_beside_bad_ones() -> None:
    text = (
        '[{"jsonrpc":"2.0","id":1,"method":"sync"}, 7, {"jsonrpc":"2.0","id":2,"method":"no"},'
        ' {"jsonrpc":"2.0","method":"ack","params":{"cursor":"c"}},'
        ' {"jsonrpc":"2.0","id":3,"method":"invite","params":{"invitee":"\\ud800"}},'
        ' {"jsonrpc":"2.0","id":4,"method":"logout"}]'
    )
    kinds = [getattr(each, "id", "ack") for each in requests_in(text)]
    assert kinds == [1, None, 2, "ack", 3, 4]
    assert [type(each).__name__ for each in requests_in(text)] == [
        "Sync", "Bad", "Bad", "Ack", "Bad", "Logout",
    ]  # fmt: skip


def test_bad_messages_of_a_frame_are_answered_up_to_a_number() -> None:
    good = '{"jsonrpc":"2.0","id":1,"method":"sync"}'
    found = requests_in("[" + ",".join([good, *["7"] * 100_000, good]) + "]")
    assert len(found) == 1 + numbers.BAD_MAX
    assert isinstance(found[0], messages.Sync)


def test_a_good_frame_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def taken_apart(text: str) -> Any:
        raise AssertionError(text)

    monkeypatch.setattr(frames, "_taken_apart", taken_apart)
    texts = [json.dumps(request) for request in requests_of_all_kinds()]
    assert len(requests_in(f"[{','.join(texts)}]")) == len(texts)


def test_no_frame_raises() -> None:
    good = found_bad = 0
    for seed in range(scaled(20_000, at_least=2_000)):
        source = random.Random(seed)
        text = broken(source, json.dumps([a_request(source) for _ in range(source.choice([1, 3]))]))
        try:
            for message in requests_in(text):
                assert isinstance(message, (Request, Ack, Bad))
                good += not isinstance(message, Bad)
                found_bad += isinstance(message, Bad)
                if isinstance(message, Bad):
                    orjson.dumps(message.error)
                    assert "`" not in message.error["message"]
                else:
                    json.dumps(msgspec.to_builtins(message), ensure_ascii=False).encode()
        except Exception as error:
            raise AssertionError(f"seed {seed}: {text!r}") from error
    assert good > found_bad / 10
    assert found_bad > good / 10


def test_a_client_reads_answers_and_what_it_is_told() -> None:
    text = """[{"jsonrpc":"2.0","id":1,"result":{"invite_id":"x"}},
        {"jsonrpc":"2.0","id":2,"result":null},
        {"jsonrpc":"2.0","id":3,"error":{"code":8010,"message":"m","data":
            {"name":"invitation_ended","remedy":"final"}}},
        {"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}},
        {"jsonrpc":"2.0","method":"follow_ended","params":{"follow":9}},
        {"jsonrpc":"2.0","method":"of_tomorrow","params":[1]}]"""
    invited, done, refusal, no_request, ended, unknown = messages_from(text)
    assert result_of(invited, messages.Invite) == InviteResult(invite_id="x")
    assert result_of(done, messages.Cancel) is None
    assert isinstance(refusal.error, Error)
    assert refusal.error.code == 8010
    assert no_request.id is None
    assert isinstance(no_request.error, Error)
    assert invited.error is done.error is msgspec.UNSET
    assert params_of(ended).follow == 9
    assert params_of(unknown) is None
    assert params_of(invited) is None


@pytest.mark.parametrize(
    "text",
    ["", "[1]", "{}", "null", '{"jsonrpc":"2.0","id":"x"}', '{"jsonrpc":"2.0","error":{}}',
     "[" * 100_000, "\ud800", '"\\ud800"', '{"jsonrpc":"2.0","method":5}'],
)  # fmt: skip
def test_a_client_refuses_what_is_no_frame(text: str) -> None:
    with pytest.raises(FrameError, match="server's frame"):
        messages_from(text)


@pytest.mark.parametrize("result", ["", ',"result":5', ',"result":[null]'])
def test_a_client_refuses_a_result_of_another_type(result: str) -> None:
    (message,) = messages_from(f'{{"jsonrpc":"2.0","id":1{result}}}')
    for kind in REQUESTS:
        with pytest.raises(FrameError, match="result of"):
            result_of(message, kind)
    (message,) = messages_from('{"jsonrpc":"2.0","method":"event"}')
    with pytest.raises(FrameError, match="notification event"):
        params_of(message)


def test_no_frame_of_a_server_raises_anything_else() -> None:
    event = dict.fromkeys(("invite_id", "group_id", "inviter", "data", "cursor"), "")
    told = {"jsonrpc": "2.0", "method": "event", "params": event | {"now": 1, "kind": "opened"}}
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"invite_id": "x"}}
    error = {"code": 1, "message": "m", "data": {"name": "n", "remedy": "final", "details": {}}}
    refusal = {"jsonrpc": "2.0", "id": 2, "error": error}
    refusals = 0
    for seed in range(scaled(10_000, at_least=1_000)):
        source = random.Random(seed)
        text = broken(source, json.dumps(source.choice([told, answer, refusal, [answer, told]])))
        try:
            for message in messages_from(text):
                params_of(message)
                result_of(message, messages.Invite)
        except FrameError:
            refusals += 1
        except Exception as error_found:
            raise AssertionError(f"seed {seed}: {text!r}") from error_found
    assert refusals


def test_types_of_what_a_client_reads_are_those_of_the_server() -> None:
    assert result_of(
        messages_from(
            '{"jsonrpc":"2.0","id":0,"result":{"recovered":true,"cursor":"c","now":1,'
            '"resume_window":60,"ping":25.0,"snapshot":null,"of_tomorrow":1}}'
        )[0],
        messages.Login,
    ) == LoginResult(
        recovered=True, cursor="c", now=1, resume_window=60.0, ping=25.0, snapshot=None
    )
    assert EventParams.__struct_fields__[-2:] == ("cursor", "now")
