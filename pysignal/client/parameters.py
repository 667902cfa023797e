"""What a call hands over, written as JSON; what JSON cannot carry is refused by its name.

Everything that can be sent is judged by the server, with the words of the embedded hub. What cannot
be sent at all is refused here as the hub would, before anything leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

import orjson

from pysignal import text
from pysignal.errors import DataTooLong, InvalidParameter
from pysignal.shard import too_late

# The largest message that a server takes (one that carries a list of invitees).
MESSAGE_BYTES_MAX: Final = 2 * 1024 * 1024 - 1

# Lists and objects within a parameter; the frame, the message and its parameters are three more.
_LEVELS_MAX: Final = 4

_INT_MIN: Final = -(1 << 63)
_INT_MAX: Final = (1 << 64) - 1


def request(number: int, method: str, params: dict[str, Any]) -> bytes:
    """Write a request.

    Args:
        number: its number.
        method: its method.
        params: its parameters by name, in the order in which they are to be judged (SPEC §2).

    Raises:
        DataTooLong, InvalidParameter: a parameter cannot be sent.
    """
    for name, value in params.items():
        problem = _problem(value, 0)
        if problem:
            raise _refusal(name, problem, params)
    try:
        message = orjson.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    except orjson.JSONEncodeError:
        raise _unwritable(params) from None
    if len(message) > MESSAGE_BYTES_MAX:
        raise _too_large(len(message), params)
    return message


def acknowledgement(cursor: str) -> bytes:
    """Write how far the client has come.

    Args:
        cursor: of the last message that was taken.
    """
    return orjson.dumps({"jsonrpc": "2.0", "method": "ack", "params": {"cursor": cursor}})


def _problem(value: object, level: int) -> str:
    """Why JSON cannot carry a value, or `""`."""
    if value is None or isinstance(value, (str, bool)):
        return ""
    if isinstance(value, int):
        return "" if _INT_MIN <= value <= _INT_MAX else "a number of at most 64 bits is needed"
    if isinstance(value, float):
        return "" if math.isfinite(value) else f"a finite number is needed, not {value!r}"
    if isinstance(value, (list, tuple, dict)):
        if level == _LEVELS_MAX:
            return "lists and objects lie too deep in each other"
        items: Any = value
        if isinstance(value, dict):
            if not all(isinstance(key, str) for key in value):
                return "keys that are texts are needed"
            items = value.values()
        for item in items:
            problem = "" if type(item) is str else _problem(item, level + 1)
            if problem:
                return problem
        return ""
    return f"{type(value).__name__} cannot be sent over the network"


def _refusal(name: str, problem: str, params: dict[str, Any]) -> InvalidParameter:
    """The error for a parameter; what is wrong with those before it is raised (SPEC §2)."""
    for other, value in params.items():
        if other == name:
            break
        check = _CHECKS.get(other)
        if check is not None:
            check(value)
    return InvalidParameter(name, problem)


def _check_invitee(value: object) -> None:
    if not isinstance(value, (list, tuple)):
        text.user_id(value, "invitee")
    elif not text.user_ids(value, "invitee"):
        raise InvalidParameter("invitee", "the list is empty: name at least one user")


def _check_bool(value: object) -> None:
    if not isinstance(value, bool):
        raise InvalidParameter("online_user_only", f"True or False, not {value!r}")


# What a server would say of a parameter, where a later one keeps the request from being sent.
_CHECKS: Final[dict[str, Callable[[Any], object]]] = {
    "data": text.data,
    "invitee": _check_invitee,
    "group_id": text.group_id,
    "invitee_list": lambda value: text.user_ids(value, "invitee_list"),
    "online_user_only": _check_bool,
    "invite_id": lambda value: text.exact(value, "invite_id"),
}


def _unwritable(params: dict[str, Any]) -> InvalidParameter:
    """The error for the first parameter that has no form in UTF-8."""
    for name, value in params.items():
        if name == "data":
            text.data(value)  # too long comes before what it holds
        try:
            orjson.dumps(value)
        except orjson.JSONEncodeError:
            if name == "invite_id":
                raise too_late(None, None) from None  # no invitation has such an ID (SPEC §2)
            problem = "holds a lone surrogate; pass text that has a UTF-8 form"
            return _refusal(name, problem, params)
    raise AssertionError("each parameter alone can be written, all together cannot")


def _too_large(size_bytes: int, params: dict[str, Any]) -> DataTooLong | InvalidParameter:
    """The error for a message that no server takes: it names the largest parameter."""
    name = max(params, key=lambda name: len(orjson.dumps(params[name])))
    if name == "data":
        return DataTooLong(
            f"data: a message of {size_bytes} bytes, at most {MESSAGE_BYTES_MAX} can be sent; "
            "shorten it, or send a reference",
            parameter="data",
        )
    return InvalidParameter(
        name, f"a message of {size_bytes} bytes, at most {MESSAGE_BYTES_MAX} can be sent"
    )
