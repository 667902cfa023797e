"""What SPEC §1 and §2 ask of parameters, and the failure of a call that doesn't meet it."""

from __future__ import annotations

import functools
import unicodedata
from typing import Any, Final

TIMEOUT_MAX_S: Final = 30 * 86_400


class Failure(Exception):
    """What a call is refused with: the code, and the details where they are promised."""

    def __init__(self, code: int, details: dict[str, Any] | None = None) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


def wrong(parameter: str) -> Failure:
    return Failure(6017, {"parameter": parameter})


def data(value: Any, bytes_max: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise wrong("data")
    if len(value.encode("utf-8", "surrogatepass")) > bytes_max:
        raise Failure(8001)
    if not _has_utf8(value):
        raise wrong("data")
    return value


def identifier(value: Any, parameter: str) -> str:
    if not isinstance(value, str) or not _is_identifier(value):
        raise wrong(parameter)
    return value


def text(value: Any, parameter: str, bytes_max: int) -> str:
    if not isinstance(value, str) or not _has_utf8(value) or len(value.encode()) > bytes_max:
        raise wrong(parameter)
    return value


def users(value: Any, parameter: str) -> list[str]:
    """A list or a tuple of users; the first place of each counts."""
    if not isinstance(value, (list, tuple)):
        raise wrong(parameter)
    return list(dict.fromkeys([identifier(user, parameter) for user in value]))


def invitees(value: Any, parameter: str, count_max: int) -> list[str]:
    found = users(value, parameter)
    if len(found) > count_max:
        raise wrong(parameter)
    return found


def boolean(value: Any, parameter: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(parameter)
    return value


def timeout_ms(value: Any) -> int:
    """The nearest ms, at least 1, and 0 for never."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong("timeout")
    if not 0 <= value <= TIMEOUT_MAX_S:
        raise wrong("timeout")
    return max(round(value * 1000), 1) if value else 0


def version(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise wrong("expected_version")
    return value


@functools.cache
def _is_identifier(value: str) -> bool:
    return (
        _has_utf8(value)
        and 1 <= len(value.encode()) <= 128
        and all(unicodedata.category(character) != "Cc" for character in value)
    )


@functools.cache
def _has_utf8(value: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in value)
