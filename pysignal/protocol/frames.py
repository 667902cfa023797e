"""How a frame becomes messages, on either side; whatever comes, it is told what is wrong with it.

A good frame costs the server a look at its depth and one call of a decoder that knows the types of
all requests. Only when that call fails is the frame taken apart, message by message and parameter
by parameter, to say in plain words which one is wrong. Its good messages are taken all the same.

A client decodes in two steps: what is common to all messages, then what belongs to this one, which
for an answer depends on what was asked.
"""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from typing import Any, Final, Literal

from msgspec import (
    UNSET,
    DecodeError,
    Raw,
    Struct,
    UnsetType,
    ValidationError,
    convert,
    to_builtins,
)
from msgspec.json import Decoder

from pysignal.errors import InvalidParameter
from pysignal.protocol.depth import nests_deeper
from pysignal.protocol.messages import NOTIFICATIONS, REQUESTS, Ack, Request
from pysignal.protocol.numbers import (
    BAD_MAX,
    DEPTH_MAX,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NUMBER_MAX,
    PARSE_ERROR,
)
from pysignal.protocol.refusals import to_wire
from pysignal.protocol.results import Error
from pysignal.protocol.shapes import has_half_a_character, method_of, name_of, problem_of, type_of


class FrameError(ValueError):
    """A frame of the server that this client can make nothing of: it speaks something else."""


class Bad(Struct, frozen=True, gc=False):
    """What was sent as a message, and is none that can be carried out.

    Attributes:
        id: its number, None where it has none.
        error: what to answer, as an object of JSON-RPC.
        data: of an operation with a wrong parameter, its custom data: where that is too long, this
            is what is told (SPEC §2).
    """

    id: int | None
    error: dict[str, Any]
    data: str | None = None


class Incoming(Struct, kw_only=True, gc=False):
    """A message of the server, of which only the common parts are decoded.

    Attributes:
        id: number of the request that it answers; null for a text that was no request.
        result, error: the answer.
        method, params: what it tells by itself.
    """

    jsonrpc: Literal["2.0"]
    id: int | UnsetType | None = UNSET
    method: str | UnsetType = UNSET
    params: Raw | UnsetType = UNSET
    result: Raw | UnsetType = UNSET
    error: Error | UnsetType = UNSET


_SENT: Final[tuple[type[Struct], ...]] = (*REQUESTS, Ack)
_KINDS: Final[dict[str, Any]] = {method_of(kind): kind for kind in _SENT}
_PARAMS: Final[dict[str, Any]] = {
    method: type_of(kind, "params") for method, kind in _KINDS.items()
}
_ANY_REQUEST: Final[Any] = reduce(or_, _KINDS.values())
_READ_REQUESTS: Final[Decoder[Any]] = Decoder(_ANY_REQUEST | list[_ANY_REQUEST])

_READ_INCOMING: Final[Decoder[Any]] = Decoder(Incoming | list[Incoming])
_READ_PARAMS: Final[dict[str, Decoder[Any]]] = {
    method_of(kind): Decoder(type_of(kind, "params")) for kind in NOTIFICATIONS
}
_READ_RESULTS: Final[dict[type[Request], Decoder[Any]]] = {
    kind: Decoder(result) for kind, result in REQUESTS.items()
}


def requests_in(text: str) -> list[Request | Ack | Bad]:
    """Return the messages of a client's frame, in order; it raises nothing.

    Args:
        text: a text frame.

    Returns:
        At least one: requests, `ack` notifications, and what is wrong with the others. Behind
        `BAD_MAX` bad ones the rest is left out, and nothing of it must be carried out.
    """
    try:
        if nests_deeper(text, DEPTH_MAX):
            return [_bad(None, PARSE_ERROR, f"it nests deeper than {DEPTH_MAX} levels")]
        decoded = _READ_REQUESTS.decode(text)
    except UnicodeEncodeError:
        return [_bad(None, PARSE_ERROR, "the text has no UTF-8 form")]
    except DecodeError:
        return _taken_apart(text)
    if type(decoded) is not list:
        return [decoded]
    return decoded or [_bad(None, INVALID_REQUEST, "the array is empty")]


def messages_from(text: str) -> list[Incoming]:
    """Return the messages of a server's frame, in order.

    Raises:
        FrameError: it is no frame of this protocol.
    """
    try:
        if nests_deeper(text, DEPTH_MAX):
            raise FrameError(f"the server's frame nests deeper than {DEPTH_MAX} levels")
        decoded = _READ_INCOMING.decode(text)
    except (DecodeError, UnicodeError) as error:
        raise FrameError(f"the server's frame is none of this protocol: {error}") from None
    return decoded if type(decoded) is list else [decoded]


def params_of(message: Incoming) -> Any:
    """Return what a notification carries, by its type; None where its method is not known here.

    Raises:
        FrameError: its parameters are not of the type that its method has.
    """
    read = _READ_PARAMS.get(message.method) if message.method is not UNSET else None
    if read is None:
        return None
    return _read(read, message.params, f"notification {message.method}")


def result_of(message: Incoming, asked: type[Request]) -> Any:
    """Return the result of an answer, by the type that the request's result has.

    Raises:
        FrameError: it is of another type, or there is none.
    """
    return _read(_READ_RESULTS[asked], message.result, f"result of {asked.__name__}")


def _read(decoder: Decoder[Any], part: Raw | UnsetType, what: str) -> Any:
    try:
        return decoder.decode(b"" if part is UNSET else part)
    except DecodeError as error:
        raise FrameError(f"the server's {what} is none of this protocol: {error}") from None


# -- what is wrong ---------------------------------------------------------------------------------


def _taken_apart(text: str) -> list[Request | Ack | Bad]:
    r"""Return the messages of a frame of which one at least is bad.

    The standard library's reader also takes an escape like `\ud800`, which stands for half a
    character: so it is told which parameter has it. JSON.stringify writes such escapes.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        return [_bad(None, PARSE_ERROR, f"{error.msg} at character {error.pos}")]
    except ValueError:
        return [_bad(None, PARSE_ERROR, "a number that is none, or has thousands of digits")]
    if not isinstance(value, list):
        return [_request(value)]
    found: list[Request | Ack | Bad] = []
    bad_count = 0
    for each in value:
        message = _request(each)
        found.append(message)
        bad_count += isinstance(message, Bad)
        if bad_count == BAD_MAX:
            break
    return found


def _request(value: Any) -> Request | Ack | Bad:
    try:
        request: Request | Ack = convert(value, _ANY_REQUEST)
    except (ValidationError, UnicodeEncodeError):
        return _diagnosed(value)
    return _diagnosed(value) if has_half_a_character(to_builtins(request)) else request


def _diagnosed(value: Any) -> Bad:
    """Say what is wrong with a message."""
    if not isinstance(value, dict):
        return _bad(None, INVALID_REQUEST, f"a request is an object, not {name_of(value)}")
    number, method = value.get("id"), value.get("method")
    if type(number) is not int or not 0 <= number <= NUMBER_MAX:
        if "id" in value:
            return _bad(None, INVALID_REQUEST, f"id: a whole number from 0 to {NUMBER_MAX}")
        number = None
    if value.get("jsonrpc") != "2.0":
        return _bad(number, INVALID_REQUEST, 'jsonrpc: "2.0" stands in each message')
    if not isinstance(method, str):
        return _bad(number, INVALID_REQUEST, "method: the name of an operation is needed")
    params = _PARAMS.get(method)
    if params is None:
        return _bad(number, METHOD_NOT_FOUND, f"there is no method {_shown(method)}")
    if number is None and _KINDS[method] is not Ack:
        return _bad(None, INVALID_REQUEST, f"id: {method} is a request, and has a number")
    wrong = problem_of(params, value.get("params", {}), "params")
    if wrong is None:
        return _bad(number, INVALID_REQUEST, "it is no request of this protocol")
    given = value["params"].get("data") if isinstance(value.get("params"), dict) else None
    data = given if isinstance(given, str) else None
    return Bad(number, to_wire(InvalidParameter(*wrong)), data)


def _bad(number: int | None, code: int, message: str) -> Bad:
    return Bad(number, {"code": code, "message": message})


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _shown(method: str) -> str:
    return repr(method if len(method) <= 40 else method[:40] + "...")
