"""Results of requests as entries: what is written is read, and nothing else is taken for one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from pysignal import InvitationEnded
from pysignal.errors import InvalidParameter, SignalingError
from pysignal.groups.records import GroupRecord, RecordKind
from pysignal.journal import UnknownVersion
from pysignal.journal.readable import fields_of
from pysignal.journal.results import of_request, request_of
from pysignal.requests import Request, Requests

AT_MS = 1_700_000_000_123


def request_with(command: Callable[[int], Any], user: str = "amy", name: str = "amy/1") -> Request:
    """The request that a command has come to."""
    requests = Requests(lambda: AT_MS, 1000, 10)
    with suppress(SignalingError):
        requests.once(user, name, ("invite", "bob"), command)(AT_MS)
    (request,) = requests.of_user(user)
    return request


def refuse(error: SignalingError) -> Callable[[int], Any]:
    def command(_: int) -> Any:
        raise error

    return command


ENDED = InvitationEnded("it has ended: дa", how="you have rejected it", status="rejected")
WRONG = InvalidParameter("invitee", "is the inviter", user="amy")


@pytest.mark.parametrize("given", [None, "0123456789abcdefghjkmnpqrs", "", "текст"], ids=ascii)
@pytest.mark.parametrize(
    ("user", "name"), [("amy", "amy/1"), ("ä", "\U0001f600" * 32), ("x" * 128, "é" * 64)], ids=ascii
)
def test_a_result_is_read_as_it_was_written(given: str | None, user: str, name: str) -> None:
    first = request_with(lambda _: given, user, name)
    again = request_of(of_request(first))
    assert (again.user, again.name, again.at_ms) == (user, name, AT_MS)
    assert (again.arguments, again.result, again.error) == (first.arguments, given, None)
    fields = fields_of(of_request(first))
    assert (fields["kind"], fields["user"], fields["name"]) == ("request", user, name)
    assert (fields["v"], fields["at_ms"], fields.get("id")) == (1, AT_MS, given)
    assert int(fields["arguments"], 16) == first.arguments


@pytest.mark.parametrize("error", [ENDED, WRONG], ids=["ended", "wrong"])
def test_a_refusal_is_read_as_it_was_written(error: SignalingError) -> None:
    entry = of_request(request_with(refuse(error)))
    again = request_of(entry).error
    assert type(again) is type(error)
    assert again is not None
    assert (str(again), again.details) == (str(error), error.details)
    assert fields_of(entry)["error"][0] == error.code


def test_a_change_of_a_group_is_read_as_it_was_written() -> None:
    record = GroupRecord(RecordKind.JOINED, "crew", "amy", ("bob",), time_ms=AT_MS)
    entry = of_request(request_with(lambda _: record))
    assert request_of(entry).result == record
    assert fields_of(entry)["group"]["group_id"] == "crew"


def test_what_has_no_room_in_an_entry_is_not_written() -> None:
    with pytest.raises(ValueError, match="at most 255 bytes"):
        of_request(request_with(lambda _: None, user="é" * 128))


def test_an_entry_of_another_version_is_refused() -> None:
    entry = of_request(request_with(lambda _: "x"))
    for version in (0, 2, 255, ord("{")):
        other = entry[:1] + bytes([version]) + entry[2:]
        with pytest.raises(UnknownVersion, match=f"of version {version};"):
            request_of(other)
        assert fields_of(other)["kind"] == "unknown"


def test_what_is_no_entry_is_refused() -> None:
    entry = of_request(request_with(lambda _: None))
    for size in range(1, len(entry)):
        with pytest.raises(ValueError, match=r"cut short|empty name"):
            request_of(entry[:size])
        assert fields_of(entry[:size])["kind"] == "unknown"
    for wrong in (
        entry + b"x",
        entry[:2] + b"\4" + entry[3:],
        entry[:2] + b"\1" + entry[3:] + b"\xff",
    ):
        with pytest.raises(ValueError, match=r"has given|decode"):
            request_of(wrong)
