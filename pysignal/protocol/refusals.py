"""How an error travels: what a refusal says on one side is raised on the other.

An error crosses as its code, its message, and the facts of the message; the class follows from the
code. A newer server may refuse with a code that this side has no class for: then the code, the name
and the remedy are those that came, in an error of the same family.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec import UNSET

from pysignal.errors import BY_CODE, InvalidParameter, Remedy, SignalingError
from pysignal.protocol.numbers import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    NUMBER_MAX,
    PARSE_ERROR,
)
from pysignal.protocol.results import Error

# JSON-RPC's own errors carry no name.
NAMES: Final = {
    PARSE_ERROR: "parse_error",
    INVALID_REQUEST: "invalid_request",
    METHOD_NOT_FOUND: "method_not_found",
    INTERNAL_ERROR: "internal_error",
}

# Facts nest no deeper than this on the wire; what is deeper is told as a text.
_LEVELS_MAX: Final = 3


class UnknownRefusal(SignalingError):
    """A refusal whose code this version knows no class for; see its `code` and `name`."""

    # The class has one of each elsewhere: here they are what came.
    code: int  # type: ignore[misc]
    name: str  # type: ignore[misc]
    remedy: Remedy  # type: ignore[misc]

    def __init__(
        self, message: str, *, code: int, name: str, remedy: Remedy, **details: Any
    ) -> None:
        self.code, self.name, self.remedy = code, name, remedy
        super().__init__(message, **details)
        self._given = ((message,), {"code": code, "name": name, "remedy": remedy, **details})


def to_wire(error: SignalingError) -> dict[str, Any]:
    """Return an error as the object of an answer; any encoder of JSON takes it."""
    return {
        "code": error.code,
        "message": _text(error.message),
        "data": {
            "name": error.name,
            "remedy": error.remedy.value,
            "details": {
                _text(name): _plain(value, _LEVELS_MAX) for name, value in error.details.items()
            },
        },
    }


def from_wire(error: Error) -> SignalingError:
    """Return the error that an answer stands for, of the class that its code has here.

    Args:
        error: as it came; its details are whatever the other side says.
    """
    told = error.data
    details = {} if told is UNSET else dict(told.details)
    kind = BY_CODE.get(error.code)
    if kind is InvalidParameter:
        parameter = details.pop("parameter", "parameters")
        parameter = parameter if isinstance(parameter, str) else "parameters"
        problem = error.message.removeprefix(f"{parameter}: ")
        return InvalidParameter(parameter, problem, **_without(details, "problem"))
    if kind is not None:
        return kind(error.message, **_without(details))
    name = NAMES.get(error.code, "unknown") if told is UNSET else told.name
    known = told is not UNSET and told.remedy in {remedy.value for remedy in Remedy}
    remedy = Remedy(told.remedy) if told is not UNSET and known else Remedy.CALLER
    details = _without(details, "code", "name", "remedy")
    return UnknownRefusal(error.message, code=error.code, name=name, remedy=remedy, **details)


def _without(details: dict[str, Any], *names: str) -> dict[str, Any]:
    """Leave out facts that have the names of an error's own parameters; none of ours has."""
    return {
        name: value for name, value in details.items() if name not in ("self", "message", *names)
    }


def _plain(value: Any, levels: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) <= NUMBER_MAX:
        return value
    if type(value) is float:
        return value if value - value == 0 else str(value)  # neither infinite nor NaN
    if isinstance(value, dict) and levels:
        return {_text(name): _plain(each, levels - 1) for name, each in value.items()}
    if isinstance(value, (list, tuple)) and levels:
        return [_plain(each, levels - 1) for each in value]
    return _text(value)


def _text(value: object) -> str:
    """Return something as a text that has a UTF-8 form."""
    try:
        text = value if type(value) is str else str(value)
    except Exception:  # the error is told all the same
        text = f"a {type(value).__name__}"
    return text.encode(errors="backslashreplace").decode()
