"""Texts that come from outside: checked once, at the door, and exact `str` from then on.

What passes here is compared, hashed, stored and sent without another look, so nothing may pass
that a later step would choke on: no lone surrogate (it has no UTF-8), no control character in an
ID (logs, terminals), and no subclass of `str`, whose own `__eq__` or `__hash__` would run inside
the engine's tables.

Sizes are bytes of UTF-8. An ASCII text, the common one, is measured by its length alone; another
one by encoding it into bytes that are thrown away. Asking CPython for a string's UTF-8 pointer
instead would leave a second copy inside the string for as long as it lives.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from pysignal.errors import DataTooLong, InvalidParameter

ID_BYTES_MAX: Final = 128
DATA_BYTES_MAX: Final = 12 * 1024

# Unicode category Cc is these two ranges and will stay so: the standard promises it.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


class _UserIds(tuple[str, ...]):
    """What `user_ids` gave: passed on, it is not looked at again."""

    __slots__ = ()


def user_id(value: object, parameter: str = "user_id") -> str:
    """Return `value` as the exact `str` of a user ID (SPEC §1).

    Args:
        value: 1 to 128 bytes of UTF-8 without a control character (Unicode Cc).
        parameter: how the caller's parameter is called, for the message.

    Raises:
        InvalidParameter: it is no `str`, empty, too long, or holds a character it may not.
    """
    return _identifier(value, parameter)


def group_id(value: object, parameter: str = "group_id") -> str:
    """Return `value` as the exact `str` of a group ID; the rules are those of `user_id`."""
    return _identifier(value, parameter)


def device_id(value: object, parameter: str = "device_id") -> str:
    """Return `value` as the exact `str` of a device ID; the rules are those of `user_id`."""
    return _identifier(value, parameter)


def user_ids(value: object, parameter: str) -> tuple[str, ...]:
    """Return the user IDs of a list or tuple, each kept once, the first place winning.

    A single `str` is refused, though Python would iterate over it: its characters are not meant.
    A set is refused, since its order differs from one process to the next.

    Raises:
        InvalidParameter: it is no list or tuple, or one of its items is no user ID.
    """
    if type(value) is _UserIds:
        return value
    if not isinstance(value, (list, tuple)):
        raise InvalidParameter(
            parameter, f"expected a list or tuple of user IDs, not {type(value).__name__}"
        )
    users = dict.fromkeys(value) if set(map(type, value)) == {str} else None
    # Thousands of IDs are looked at in one go; what is not plain is looked at one by one.
    if users is None or not _are_plain(users):
        users = dict.fromkeys([_identifier(item, parameter) for item in value])
    return _UserIds(users)


def label(value: object, parameter: str, bytes_max: int) -> str:
    """Return `value` as the exact `str` of a text that people read: a name, an introduction.

    Args:
        value: 0 to `bytes_max` bytes of UTF-8; line breaks are allowed.
        parameter: how the caller's parameter is called, for the message.
        bytes_max: the limit, at least 0.

    Raises:
        InvalidParameter: it is no `str`, too long, or holds a lone surrogate.
    """
    text = exact(value, parameter)
    size_bytes = _size_bytes(text, parameter)
    if size_bytes > bytes_max:
        raise InvalidParameter(
            parameter,
            f"{size_bytes} bytes of UTF-8, at most {bytes_max} are allowed; shorten it",
            size_bytes=size_bytes,
            bytes_max=bytes_max,
        )
    return text


def data(value: object, parameter: str = "data", *, bytes_max: int = DATA_BYTES_MAX) -> str:
    """Return `value` as the exact `str` of custom data, `""` for `None` (SPEC §2).

    Args:
        value: 0 to `bytes_max` bytes of UTF-8, any characters, or `None`.
        parameter: how the caller's parameter is called, for the message.
        bytes_max: the limit, at least 0.

    Raises:
        DataTooLong: over the limit; told first, also of a text that has a lone surrogate.
        InvalidParameter: it is neither `None` nor a `str`, or holds a lone surrogate.
    """
    if value is None:
        return ""
    text = exact(value, parameter)
    # No text has fewer bytes than characters, so a huge one is refused without encoding it.
    if len(text) > bytes_max:
        raise _too_long(parameter, bytes_max)
    if text.isascii():
        return text
    if len(text.encode("utf-8", "surrogatepass")) > bytes_max:
        raise _too_long(parameter, bytes_max)
    _size_bytes(text, parameter)
    return text


def exact(value: object, parameter: str) -> str:
    """Return `value` as a `str` that is of no subclass.

    Raises:
        InvalidParameter: it is no `str`; neither are `bytes` and `bool`.
    """
    if type(value) is str:
        return value
    # The type is asked, not `isinstance`, which believes what an object says in `__class__`.
    if issubclass(type(value), str):
        return str.__str__(value)
    raise InvalidParameter(parameter, f"expected a str, not {type(value).__name__}")


def _identifier(value: object, parameter: str) -> str:
    text = value if type(value) is str else exact(value, parameter)
    # Of the ASCII characters the unprintable ones are just the control characters; beyond ASCII
    # `isprintable` refuses more than those (the no-break space, say) and can't be used.
    if text.isascii() and text.isprintable() and 0 < len(text) <= ID_BYTES_MAX:
        return text
    _check_identifier(text, parameter)
    return text


def _are_plain(texts: Collection[str]) -> bool:
    """Whether all texts of a collection are IDs, and of ASCII; see `_identifier`."""
    whole = "".join(texts)
    sizes = set(map(len, texts))
    return whole.isascii() and whole.isprintable() and 0 not in sizes and max(sizes) <= ID_BYTES_MAX


def _check_identifier(text: str, parameter: str) -> None:
    """Raise what is wrong with `text` as an ID; return if nothing is."""
    if not text:
        raise InvalidParameter(parameter, "is empty; an ID has 1 to 128 bytes of UTF-8")
    if len(text) > ID_BYTES_MAX or _size_bytes(text, parameter) > ID_BYTES_MAX:
        raise InvalidParameter(
            parameter,
            f"{_shown(text)} is too long; an ID has at most {ID_BYTES_MAX} bytes of UTF-8",
            bytes_max=ID_BYTES_MAX,
        )
    control = _CONTROL.search(text)
    if control is not None:
        raise InvalidParameter(
            parameter,
            f"{_shown(text)} holds the control character U+{ord(control[0]):04X}; remove it",
        )


def _size_bytes(text: str, parameter: str) -> int:
    """Return the bytes of UTF-8 of `text`, or raise if it has none because of a surrogate."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidParameter(
            parameter,
            f"holds a lone surrogate at position {error.start}; pass text that has a UTF-8 form",
        ) from None


def _too_long(parameter: str, bytes_max: int) -> DataTooLong:
    return DataTooLong(
        f"{parameter}: more than {bytes_max} bytes of UTF-8; shorten it, or send a reference",
        parameter=parameter,
        bytes_max=bytes_max,
    )


def _shown(text: str) -> str:
    """Return `text` for a message: cut, quoted, and with what is unprintable escaped."""
    return repr(text if len(text) <= 40 else text[:40] + "...")
