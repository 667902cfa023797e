"""Texts from outside: what passes is exact and safe, what doesn't is named."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from enum import StrEnum

import pytest

from pysignal import text
from pysignal.errors import DataTooLong, InvalidParameter

CHECKS = [text.user_id, text.group_id, text.device_id]


class Loud(str):
    """A str whose own methods must never run inside the engine."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared")

    def __hash__(self) -> int:
        raise AssertionError("hashed")

    def __str__(self) -> str:
        raise AssertionError("converted")

    def __len__(self) -> int:
        raise AssertionError("measured")

    def isascii(self) -> bool:
        raise AssertionError("asked")


class Name(StrEnum):
    AMY = "amy"


class Liar:
    """Says that it is a str, and isn't."""

    def __getattribute__(self, name: str) -> object:
        return str if name == "__class__" else object.__getattribute__(self, name)


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "value",
    [
        "a",
        "x" * 128,
        "é" * 64,
        "漢" * 42,
        "😀" * 32,
        " ",
        "a b",
        "a\xa0b",
        "a\u200bb",
        "\u2028",
        "\xad",
    ],
)
def test_an_id_of_1_to_128_bytes_without_control_characters_passes_unchanged(
    check: Callable[[object], str], value: str
) -> None:
    assert check(value) == value


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    "value",
    ["", "x" * 129, "é" * 64 + "x", "é" * 65, "漢" * 43, "😀" * 33, "x" * 10_000_000],
)
def test_an_id_is_limited_in_bytes_of_utf8(check: Callable[[object], str], value: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        check(value)
    assert len(str(caught.value)) < 300


def test_an_id_refuses_exactly_the_control_characters_and_the_surrogates() -> None:
    for point in range(0x110000):
        category = unicodedata.category(chr(point))
        for value in (chr(point), "é" + chr(point)):
            try:
                text.user_id(value)
            except InvalidParameter:
                assert category in {"Cc", "Cs"}, hex(point)
            else:
                assert category not in {"Cc", "Cs"}, hex(point)


@pytest.mark.parametrize("value", [None, True, 1, 1.5, b"amy", ["amy"], object()])
def test_what_is_no_str_is_refused_naming_the_parameter(value: object) -> None:
    for check in CHECKS:
        with pytest.raises(InvalidParameter) as caught:
            check(value, "callee")
        assert caught.value.details["parameter"] == "callee"
        assert str(caught.value).startswith("callee: ")
    if value is not None:
        with pytest.raises(InvalidParameter):
            text.data(value)


def test_what_only_says_that_it_is_a_str_is_refused() -> None:
    assert isinstance(Liar(), str)
    for check in [*CHECKS, text.data]:
        with pytest.raises(InvalidParameter):
            check(Liar())


def test_an_error_message_can_be_encoded_whatever_the_text_was() -> None:
    for value in ("a\ud800", "\ud800" * 200, "a\x00\udfff"):
        with pytest.raises(InvalidParameter) as caught:
            text.user_id(value)
        str(caught.value).encode()


def test_a_subclass_of_str_becomes_an_exact_str_and_its_own_methods_never_run() -> None:
    for check in [*CHECKS, text.data]:
        for value, plain in ((Loud("amy"), "amy"), (Name.AMY, "amy"), (Loud("émy"), "émy")):
            checked = check(value)
            assert type(checked) is str
            assert checked == plain
    assert text.user_ids([Loud("amy"), "amy"], "users") == ("amy",)
    with pytest.raises(InvalidParameter):
        text.user_id(Loud("a\x00"))


def test_user_ids_keep_each_user_once_and_the_first_place_wins() -> None:
    assert text.user_ids(["b", "a", "b", "c", "a"], "users") == ("b", "a", "c")
    assert text.user_ids((), "users") == ()


@pytest.mark.parametrize("value", ["amy", None, {"amy"}, {"amy": 1}, iter(["amy"]), 3, ["amy", 3]])
def test_user_ids_take_a_list_or_tuple_of_ids_only(value: object) -> None:
    with pytest.raises(InvalidParameter) as caught:
        text.user_ids(value, "invitee_list")
    assert caught.value.details["parameter"] == "invitee_list"


def test_data_of_none_is_empty_and_any_other_text_is_kept_to_the_byte() -> None:
    assert text.data(None) == ""
    for value in ("", '{"a":1}', "\x00\r\n", "é漢😀", "\ufeff", "a" * 12_288, "é" * 6_144):
        assert text.data(value) == value


@pytest.mark.parametrize("value", ["a" * 12_289, "é" * 6_144 + "a", "漢" * 4_097, "a" * 9_999_999])
def test_data_over_12_kib_of_utf8_is_too_long(value: str) -> None:
    with pytest.raises(DataTooLong) as caught:
        text.data(value)
    assert caught.value.details["bytes_max"] == 12_288


def test_the_limit_of_data_is_an_argument() -> None:
    assert text.data("abcd", bytes_max=4) == "abcd"
    for value in ("abcde", "éé1"):
        with pytest.raises(DataTooLong):
            text.data(value, bytes_max=4)


def test_data_over_the_limit_is_told_before_its_surrogate() -> None:
    with pytest.raises(DataTooLong):
        text.data("\ud800" * 4_097)
    with pytest.raises(InvalidParameter):
        text.data("\ud800" * 4_096)


def test_a_label_has_a_limit_of_its_own_and_may_have_line_breaks() -> None:
    assert text.label("two\nlines", "introduction", 9) == "two\nlines"
    for value in ("0123456789", "ééééé", "\ud800", None, 5):
        with pytest.raises(InvalidParameter) as caught:
            text.label(value, "introduction", 9)
        assert caught.value.details["parameter"] == "introduction"
