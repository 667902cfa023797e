"""The judge can say no: each promise that it looks after, broken by one line."""

from __future__ import annotations

from typing import Any

import pytest

from crash.judge import Judge

NOW = 1_700_000_000_000
DETAILS = {
    "to": "bob", "group_id": "", "data": "1:", "timeout": 30, "online_only": False,
    "request_id": "r",
}  # fmt: skip


def found(state: str, status: str, **other: Any) -> list[Any]:
    """What a server tells of the invitation X."""
    shown = {
        "state": state, "reason": "", "statuses": {"bob": status}, "opened_at": NOW + 5,
        "expires_at": NOW + 30_005 if state == "open" else None, "group_id": "",
        "ended_at": None if state == "open" else NOW + 50, "data_version": 1,
        "data": "1:" if state == "open" else "",
    }  # fmt: skip
    return ["found", "X", "amy", False, shown | other]


def heard(kind: str, seq: int, at_ms: int = NOW + 50, **other: Any) -> list[Any]:
    """A callback of bob's session, which is number 2."""
    told = {
        "kind": kind, "seq": seq, "time": at_ms, "expires_at": NOW + 30_005, "ends": True,
        "reason": "", "affected": ["bob"],
    }  # fmt: skip
    return ["heard", 2, "X", told | other]


def asked(number: int, op: str, user: str, **details: Any) -> list[Any]:
    return ["asked", number, op, user, details]


INVITED = [asked(1, "invite", "amy", **DETAILS), ["done", 1, "X"]]
OPENED = heard("opened", 1, NOW + 5, ends=False)
LOGGED_IN = [asked(2, "login", "bob", device="1", start="hot"), ["done", 2, [["X"], []]]]
ANSWER = {"invite_id": "X", "data": "3:", "request_id": None}
ACCEPTED = [asked(3, "accept", "bob", **ANSWER), ["done", 3, None]]
CANCELLED = [asked(3, "cancel", "amy", **ANSWER), ["done", 3, None]]
RUNG = ["rung", 2, "X", "amy", "1:"]
BEGIN = ["begin"]
UP = ["up", NOW + 1000, False]
SHOWN = ["shown", NOW + 1000, 1]
AGAIN = [asked(9, "again", "amy", first=1)]
PUT = [asked(5, "put", "", group_id="g", users=["amy", "bob"]), ["done", 5, None]]

HOT = [asked(7, "login", "bob", device="1", start="hot")]
COLD = [asked(7, "login", "bob", device="1", start="cold")]
OPEN_AGAIN = [OPENED, BEGIN, UP, found("open", "pending")]


def judge(lines: list[Any]) -> None:
    """Let a judge hear lines, told by a server that begins with the first or at BEGIN."""
    judge = Judge(keep_ms=60_000)
    judge.begin([])
    judge.hear(["up", NOW, False])
    for line in lines:
        if line == BEGIN:
            judge.begin(list(judge.calls))
        else:
            judge.hear(line)


@pytest.mark.parametrize(
    "lines",
    [
        [*INVITED, *LOGGED_IN, RUNG, *OPEN_AGAIN, SHOWN, *HOT],
        [*INVITED, *LOGGED_IN, RUNG, *OPEN_AGAIN, *COLD, ["rung", 7, "X", "amy", "1:"]],
        [*INVITED, *ACCEPTED, BEGIN, UP, found("completed", "accepted"), SHOWN],
        [INVITED[0], BEGIN, UP, *AGAIN, ["done", 9, "X"], BEGIN, UP, found("open", "pending")],
        [INVITED[0], BEGIN, UP, ["shown", NOW + 1000, 0]],
        [*INVITED, CANCELLED[0], BEGIN, UP, found("cancelled", "cancelled"), SHOWN],
        [*PUT, BEGIN, UP, ["members", "g", ["bob", "amy"]]],
    ],
)
def test_what_may_be_is_not_held_against_a_server(lines: list[Any]) -> None:
    judge(lines)


@pytest.mark.parametrize(
    ("problem", "lines"),
    [
        ("is lost", [*INVITED, BEGIN, UP, ["gone", "X", NOW + 1000]]),
        ("were not told of", [*INVITED, BEGIN, UP, SHOWN]),
        ("was forgotten early", [*INVITED, *CANCELLED, BEGIN, UP, ["gone", "X", NOW + 1000]]),
        ("is open again", [*INVITED, *CANCELLED, BEGIN, UP, found("open", "pending")]),
        ("was accepted and is rejected", [*INVITED, *ACCEPTED, found("completed", "rejected")]),
        (
            "was accepted and is cancelled",
            [*INVITED, *LOGGED_IN, *ACCEPTED, BEGIN, UP, found("cancelled", "cancelled")],
        ),
        ("nobody has accepted", [*INVITED, BEGIN, UP, found("completed", "accepted")]),
        ("nobody has cancelled", [*INVITED, *LOGGED_IN, heard("cancelled", 2)]),
        (
            "a modification is lost",
            [
                *INVITED,
                asked(3, "modify_invitation", "amy", **ANSWER),
                ["done", 3, None],
                *[BEGIN, UP, found("open", "pending")],
            ],
        ),
        (
            "had answered and are pending",
            [
                *INVITED,
                asked(3, "accept", "bob", **ANSWER),
                ["refused", 3, 8010],
                *[BEGIN, UP, found("open", "pending")],
            ],
        ),
        ("ms early", [*INVITED, *LOGGED_IN, OPENED, heard("timed_out", 2, NOW + 30_004)]),
        ("due and still open", [*INVITED, BEGIN, ["up", NOW + 30_005, False], *OPEN_AGAIN[3:]]),
        ("has not ended", [["late", 101]]),
        ("time stepped back", [*INVITED, *LOGGED_IN, OPENED, BEGIN, ["up", NOW + 4, False]]),
        ("is rung again", [*INVITED, *LOGGED_IN, RUNG, RUNG]),
        (
            "is rung again",
            [*INVITED, *LOGGED_IN, RUNG, *OPEN_AGAIN, *HOT, ["rung", 7, "X", "amy", "1:"]],
        ),
        (
            "which it has accepted",
            [*INVITED, *ACCEPTED, BEGIN, UP, *HOT, ["rung", 7, "X", "amy", "1:"]],
        ),
        ("it had ended", [*INVITED, *CANCELLED, BEGIN, UP, *HOT, ["rung", 7, "X", "amy", "1:"]]),
        ("heard the end", [*INVITED, CANCELLED[0], *LOGGED_IN, heard("cancelled", 2), RUNG]),
        (
            "heard twice",
            [*INVITED, *LOGGED_IN, CANCELLED[0], heard("cancelled", 2), heard("cancelled", 3)],
        ),
        ("and is", [*INVITED, *LOGGED_IN, OPENED, heard("opened", 1, NOW + 6)]),
        ("did not find", [*INVITED, LOGGED_IN[0], ["done", 2, [[], []]], *OPEN_AGAIN[1:]]),
        ("found Call", [*INVITED, *CANCELLED, BEGIN, UP, *LOGGED_IN]),
        (
            "is the ID of two",
            [*INVITED, asked(4, "invite", "amy", **DETAILS | {"data": "4:"}), ["done", 4, "X"]],
        ),
        ("opened X and Y", [*INVITED, *LOGGED_IN, ["rung", 2, "Y", "amy", "1:"]]),
        ("were opened", [*INVITED, BEGIN, UP, found("open", "pending"), ["shown", NOW, 2]]),
        ("asked again", [*INVITED, BEGIN, UP, *AGAIN, ["done", 9, "Y"]]),
        ("asked again", [*INVITED, BEGIN, UP, *AGAIN, ["refused", 9, 6017]]),
        ("and has effect", [INVITED[0], ["refused", 1, 6017], BEGIN, UP, found("open", "pending")]),
        ("not one of", [*PUT, BEGIN, UP, ["members", "g", ["amy"]]]),
        ("the server complained", [["logged", "ERROR", "the journal failed"]]),
        ("the server failed", [["failed", "a traceback"]]),
    ],
)
def test_a_broken_promise_is_noticed(problem: str, lines: list[Any]) -> None:
    with pytest.raises(AssertionError, match=problem):
        judge(lines)
