"""Each error that one side raises is raised by the other, with the same words and facts."""

from __future__ import annotations

import json
import math
import pickle
from typing import Any

import msgspec
import orjson
import pytest

from pysignal.errors import BY_CODE, InvalidParameter, Remedy, SignalingError
from pysignal.protocol import numbers
from pysignal.protocol.refusals import UnknownRefusal, from_wire, to_wire
from pysignal.protocol.results import Error, ErrorFields

DETAILS: dict[str, Any] = {
    "text": 'a "b" \u2028 \U0001f600',
    "count": 2**53,
    "share": 0.5,
    "yes": True,
    "nothing": None,
    "list": ["a", 1],
    "statuses": {"bob": "pending"},
}


def across(error: SignalingError) -> SignalingError:
    written = orjson.dumps(to_wire(error))
    assert written == orjson.dumps(json.loads(msgspec.json.encode(to_wire(error))))
    return from_wire(msgspec.json.decode(written, type=Error))


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=lambda kind: kind.__name__)
def test_every_error_is_the_same_on_the_other_side(kind: type[SignalingError]) -> None:
    given = ("invitee", "is empty") if kind is InvalidParameter else ("which: what; do this",)
    error = kind(*given, **DETAILS)
    arrived = across(error)
    for one in (arrived, arrived.again(), across(arrived), pickle.loads(pickle.dumps(arrived))):
        assert type(one) is kind
        assert (one.message, one.details, str(one)) == (error.message, error.details, str(error))
        assert (one.code, one.name, one.remedy) == (error.code, error.name, error.remedy)


def test_a_code_of_a_newer_server_is_visible() -> None:
    fields = ErrorFields(name="too_many_moons", remedy="retry", details={"moons": 3})
    error = from_wire(Error(code=9999, message="two moons at most", data=fields))
    for one in (error, error.again(), across(error), pickle.loads(pickle.dumps(error))):
        assert isinstance(one, UnknownRefusal)
        assert (one.code, one.name, one.remedy) == (9999, "too_many_moons", Remedy.RETRY)
        assert str(one) == "two moons at most [too_many_moons 9999]"
        assert one.details == {"moons": 3}


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (numbers.PARSE_ERROR, "parse_error"),
        (numbers.INVALID_REQUEST, "invalid_request"),
        (numbers.METHOD_NOT_FOUND, "method_not_found"),
        (numbers.INTERNAL_ERROR, "internal_error"),
        (-32099, "unknown"),
        (0, "unknown"),
    ],
)
def test_an_error_of_json_rpc_is_one_of_ours(code: int, name: str) -> None:
    error = from_wire(Error(code=code, message="no"))
    assert (error.code, error.name, error.message) == (code, name, "no")
    assert error.details == {}


class Stubborn:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_whatever_the_facts_are_they_can_be_written() -> None:
    details: dict[str, Any] = {
        "bytes": b"x", "set": {1}, "huge": 10**40, "nan": math.nan, "infinite": -math.inf,
        "half": "\ud800", "deep": [[[[[[1]]]]]], "keys": {1: {2: 3}, "\udfff": ()},
        "remedy": Remedy.RETRY, "stubborn": Stubborn(), "kind": dict, "\ud801": 1,
    }  # fmt: skip
    arrived = across(SignalingError("half \ud800 a character", **details))
    assert arrived.message == "half \\ud800 a character"
    assert arrived.details["huge"] == str(10**40)
    assert arrived.details["half"] == "\\ud800"
    assert arrived.details["keys"] == {"1": {"2": 3}, "\\udfff": []}
    assert arrived.details["stubborn"] == "a Stubborn"
    assert arrived.details["nan"] == "nan"


@pytest.mark.parametrize("code", [*BY_CODE, 9999])
def test_no_facts_of_the_other_side_harm_this_one(code: int) -> None:
    names = (
        "self", "message", "code", "name", "remedy", "parameter", "problem", "details", "args",
        "kind", "again", "", "a b", "__class__",
    )  # fmt: skip
    for value in ("text", 7, None, [1], {"a": 1}):
        details = dict.fromkeys(names, value)
        fields = ErrorFields(name="name", remedy="final", details=details)
        error = from_wire(Error(code=code, message="which: what", data=fields))
        assert error.again().message == error.message
        assert error.message.endswith("which: what")
        assert error.details[""] == value


def test_the_parameter_that_was_wrong_is_named_once() -> None:
    error = InvalidParameter("timeout", "a number is needed", given="x")
    arrived = across(across(error))
    assert isinstance(arrived, InvalidParameter)
    assert arrived.message == "timeout: a number is needed"
    assert arrived.details == {"parameter": "timeout", "given": "x"}
