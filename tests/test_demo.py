"""The demo: it runs, it tells what it found, and it fails when anything at all was wrong.

Each planted error stands for a hub that does one thing wrong, once. The demo has to notice it, name
the check, and exit with 1.
"""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from general_way import take_general_way

from pysignal import InvitationEnded, LimitExceeded, Limits, NotPermitted, demo, listeners
from pysignal.demo import Settings, call, classroom, plot, rush, script
from pysignal.demo.figures import Checks, Figures, Samples, duration
from pysignal.demo.script import CALLER, FIRST, RACE, SECOND, Script
from pysignal.demo.view import View
from pysignal.shard import Shard

ROOT = Path(__file__).resolve().parent.parent
PNG = b"\x89PNG\r\n\x1a\n"

Method = Callable[..., Any]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """A demo that takes a second."""
    monkeypatch.setattr(call, "UNANSWERED_RING_S", 0.2)
    monkeypatch.setattr(rush, "ANSWERING_S", 0.3)
    monkeypatch.setattr(rush, "HEADWAY_MS", 400)
    monkeypatch.setattr(demo, "LIMITS", Limits(lifetime_s=0.3))
    return Settings(invitations=300, students=30, plain=True, out=tmp_path)


@pytest.fixture
def unseen(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A quick demo without the picture."""
    monkeypatch.setattr(demo, "draw", lambda figures, folder: "")
    return quick


def failed(told: str) -> set[str]:
    """The names of the checks that failed, from what was printed."""
    return set(re.findall(r"^ *failed: (.*)$", told, re.MULTILINE))


def test_the_command_plays_everything_and_draws_a_picture(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "pysignal", "demo", "--plain", "--seed", "7")
    sizes = ("--invitations", "300", "--students", "30", "--out", str(tmp_path / "new"))
    result = subprocess.run(
        (*command, *sizes), cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr == ""
    told = result.stdout
    for line in (
        "bob accepts on his phone",
        "rejects by itself with line_busy",
        "both hear of the timeout",
        "amy is left behind and tells bob: hung up after",
        "everybody sees every hand: 900 of 900 deliveries",
        "opening: 300 of 300 opened",
        "answering: 300 of 300 ended",
    ):
        assert line in told
    assert re.search(r"invitations open at the same moment +\| +300 ", told)
    assert re.search(r"^all \d\d+ checks passed$", told, re.MULTILINE)
    assert "\x1b" not in told
    assert max(map(len, told.replace(str(tmp_path), "").splitlines())) <= 100
    assert "/s)" not in told, "rates stand in their table"
    assert (tmp_path / "new" / plot.NAME).read_bytes().startswith(PNG)


def test_it_runs_in_a_process_of_ones_own(
    quick: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.run(quick) == 0
    told = capsys.readouterr().out
    assert not failed(told)
    expected = Script(quick.invitations, quick.seed).statuses()
    # Beside the rush: two invitees in the class beyond its size, and those of the call.
    expected.update(accepted=30 + 1 + 1, rejected=1, timed_out=2)
    for status, count in expected.items():
        name = status.replace("_", " ")
        assert re.search(rf"\| {name} +\| +{count} \| +{count} \|", told), name
    assert (quick.out / plot.NAME).read_bytes().startswith(PNG)


def test_on_a_terminal_progress_is_live(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert demo.run(dataclasses.replace(unseen, plain=False)) == 0
    told = capsys.readouterr().out
    assert "\x1b[" in told
    assert "of 300 ended" in told
    assert "checks passed" in told


def test_without_matplotlib_it_says_how_to_get_it(
    quick: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert demo.run(quick) == 0
    assert "pip install 'pysignal-engine[plots]'" in capsys.readouterr().out
    assert not list(quick.out.iterdir())


def test_the_picture_needs_nothing_of_the_home_folder(
    quick: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    paint = plot._draw

    def note(*args: Any) -> None:
        told.append(os.environ["MPLCONFIGDIR"])
        paint(*args)

    monkeypatch.setattr(plot, "_draw", note)
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    figures = Figures(about="nothing at all")
    assert plot.draw(figures, quick.out) == f"picture: {quick.out / plot.NAME}"
    assert not Path(told[0]).exists(), "it goes away"
    monkeypatch.setenv("MPLCONFIGDIR", str(quick.out))
    plot.draw(figures, quick.out)
    assert told[1:] == [str(quick.out)], "what the user chose holds"
    assert plot.draw(figures, quick.out / "no" / "such").startswith("no picture: ")


def test_long_lines_are_broken_at_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "50")
    words = "each of these words is on one line or on another but never on both of them"
    View().step(words)
    lines = re.sub(r"\x1b\[\d*m", "", capsys.readouterr().out).splitlines()
    assert len(lines) == 2
    assert max(map(len, lines)) <= 50
    assert " ".join(line[13:] for line in lines) == words


# -- stopped ---------------------------------------------------------------------------------------


def stop(signum: int, *options: str) -> tuple[int, str]:
    """Start a demo, send it a signal in the rush, and return its exit code and all it told."""
    # A process that was started in the background of a shell may have been told to ignore SIGINT.
    # With many looks at what is open, one of them would meet the closing hub.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from pysignal.demo import rush; rush._LOOK_S = 0;"
        "from pysignal.__main__ import main; main()"
    )
    sizes = ("--invitations", "50", "--students", "5")
    with subprocess.Popen(
        (sys.executable, "-c", code, "demo", *sizes, *options),
        cwd=ROOT,
        env={**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        told = ""
        for line in process.stdout:
            told += line
            if "answering" in line:
                process.send_signal(signum)
                break
        told += process.stdout.read()
    return process.returncode, told


@pytest.mark.parametrize(
    ("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize("options", [("--plain",), ()], ids=["plain", "live"])
def test_a_demo_that_is_stopped_says_so_in_a_line(
    signum: int, status: int, options: tuple[str, ...]
) -> None:
    code, told = stop(signum, *options)
    assert code == status
    assert "Traceback" not in told
    assert "exception" not in told
    assert told.splitlines()[-1].endswith("interrupted")
    shown, hidden = "\x1b[?25h", "\x1b[?25l"
    assert (hidden in told) == (not options)
    assert told.rfind(shown) >= told.rfind(hidden), "the cursor is back"


# -- planted errors --------------------------------------------------------------------------------


class Meddler:
    """Changes one call of one method of the phones in one act.

    Args:
        act: the module of the listeners.
        name: the method.
        change: called instead with the method and its arguments.
    """

    def __init__(self, act: str, name: str, change: Method) -> None:
        self._act = f"pysignal.demo.{act}"
        self._name = name
        self._change: Method | None = change
        self._overridden = listeners.overridden

    def overridden(self, listener: object, base: type, name: str) -> Method | None:
        """Look a method up as `listeners.overridden` does, and put the change in its place."""
        method = self._overridden(listener, base, name)
        if method is None or name != self._name or type(listener).__module__ != self._act:
            return method

        def meddle(*args: Any) -> None:
            change, self._change = self._change, None
            if change is None:
                method(*args)
            else:
                change(method, *args)

        return meddle


def drop(method: Method, *args: Any) -> None:
    """A callback that is lost."""


def repeat(method: Method, *args: Any) -> None:
    """A callback that comes twice."""
    method(*args)
    method(*args)


def change_last(method: Method, *args: Any) -> None:
    """A callback whose payload has changed on the way."""
    method(*args[:-1], args[-1] + " ")


@pytest.mark.parametrize(
    ("act", "name", "change", "checks"),
    [
        ("ledger", "on_receive_new_invitation", drop, {"rush: .* heard each opening once"}),
        ("ledger", "on_invitee_accepted", drop, {"rush: .* heard each end once"}),
        ("ledger", "on_invitee_accepted", repeat, {"rush: .* heard each end once"}),
        ("ledger", "on_invitee_rejected", drop, {"rush: .* heard the end of the script"}),
        ("ledger", "on_invitation_cancelled", repeat, {"rush: .* heard each end once"}),
        ("ledger", "on_invitation_timeout", drop, {"rush: each callback has its event"}),
        (
            "ledger",
            "on_receive_new_invitation",
            change_last,
            {"rush: never a ring that is not as it was sent"},
        ),
        (
            "ledger",
            "on_invitee_accepted",
            change_last,
            {"rush: never an answer that is not as it was sent"},
        ),
        (
            "classroom",
            "on_invitee_accepted",
            drop,
            {"class: deliveries of hands", "class: .* saw every hand once"},
        ),
        (
            "classroom",
            "on_invitee_accepted",
            repeat,
            {"class: deliveries of hands", "class: .* saw every hand once"},
        ),
        ("classroom", "on_receive_new_invitation", drop, {"class: members who missed .*"}),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (value if type(value) is str else ""),
)
def test_a_wrong_callback_is_found(
    act: str,
    name: str,
    change: Method,
    checks: set[str],
    unseen: Settings,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners, "overridden", Meddler(act, name, change).overridden)
    assert demo.run(unseen) == 1
    told = capsys.readouterr().out
    for expected in checks:
        assert any(re.fullmatch(expected, found) for found in failed(told)), told
    assert "checks passed" not in told


def test_a_hand_that_one_student_does_not_see_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show = classroom.TimedMember.on_invitee_accepted

    def blind(member: classroom.TimedMember, invite_id: str, invitee: str, data: str) -> None:
        # Two wrongs that cancel out in the sum: one hand is not seen, another is seen twice.
        if member is not members[5] or invitee not in ("student-3", "student-4"):
            show(member, invite_id, invitee, data)
        elif invitee == "student-4":
            show(member, invite_id, invitee, data)
            show(member, invite_id, invitee, data)

    members: list[classroom.Member] = []
    make = classroom.TimedMember.__init__

    def make_and_note(member: classroom.TimedMember, room: classroom.Room) -> None:
        make(member, room)
        members.append(member)

    monkeypatch.setattr(classroom.TimedMember, "__init__", make_and_note)
    monkeypatch.setattr(classroom.TimedMember, "on_invitee_accepted", blind)
    assert demo.run(unseen) == 1
    told = capsys.readouterr().out
    assert failed(told) == {"class: every student saw every other hand once"}
    assert "student-5 saw the hand of student-3 0 times" in told


def test_a_lost_message_of_the_call_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "PATIENCE_S", 0.5)
    note = call.Phone._note

    def forgetful(phone: call.Phone, *entry: object) -> None:
        if entry[0] != "timeout":
            note(phone, *entry)

    monkeypatch.setattr(call.Phone, "_note", forgetful)
    assert demo.run(unseen) == 1
    names = {f"call: {user}'s phone heard what the story gives" for user in ("carol", "dave")}
    assert failed(capsys.readouterr().out) == names


def test_an_early_timeout_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tick = Shard.tick
    monkeypatch.setattr(Shard, "tick", lambda shard, now_ms: tick(shard, now_ms + 20))
    assert demo.run(unseen) == 1
    assert "rush: never a timeout before its deadline" in failed(capsys.readouterr().out)


def test_a_race_that_both_win_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_general_way(monkeypatch.setattr)
    accept = Shard.accept

    def lenient(shard: Shard, *args: Any) -> Any:
        try:
            return accept(shard, *args)
        except InvitationEnded:
            return None

    monkeypatch.setattr(Shard, "accept", lenient)
    assert demo.run(unseen) == 1
    assert failed(capsys.readouterr().out) == {
        "rush: exactly one answer or cancel counts",
        "rush: each loser of a race is refused",
    }


def test_an_answer_that_does_nothing_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rush, "PATIENCE_S", 0.3)
    take_general_way(monkeypatch.setattr)
    monkeypatch.setattr(Shard, "reject", lambda *args: None)
    monkeypatch.setattr(call, "PATIENCE_S", 0.1)
    assert demo.run(unseen) == 1
    names = failed(capsys.readouterr().out)
    assert "call: the line was busy" in names
    assert "rush: rejected as the script gives" in names
    assert "in all: open at the end" in names


def test_a_refused_call_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "PATIENCE_S", 0.1)
    monkeypatch.setattr(rush, "PATIENCE_S", 0.3)
    take_general_way(monkeypatch.setattr)
    invite, accept = Shard.invite, Shard.accept

    def full(shard: Shard, now_ms: int, actor: str, *args: Any) -> Any:
        if actor == script.caller_name(0):
            raise LimitExceeded("full")
        return invite(shard, now_ms, actor, *args)

    def refuse(shard: Shard, now_ms: int, actor: str, *args: Any) -> Any:
        if actor.startswith(("student", "callee")):
            raise NotPermitted("not you")
        return accept(shard, now_ms, actor, *args)

    monkeypatch.setattr(Shard, "invite", full)
    monkeypatch.setattr(Shard, "accept", refuse)
    assert demo.run(unseen) == 1
    told = capsys.readouterr().out
    assert {"class: every hand could be raised", "class: the chosen one can accept"} <= failed(told)
    assert "full" in told
    assert "not you" in told


def test_an_answer_that_is_always_too_late_is_found(
    unseen: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rush, "PATIENCE_S", 0.3)
    take_general_way(monkeypatch.setattr)
    accept = Shard.accept

    def late(shard: Shard, now_ms: int, actor: str, *args: Any) -> Any:
        if actor.startswith("callee"):
            raise InvitationEnded("too late")
        return accept(shard, now_ms, actor, *args)

    monkeypatch.setattr(Shard, "accept", late)
    assert demo.run(unseen) == 1
    assert "too late" in capsys.readouterr().out


# -- its parts -------------------------------------------------------------------------------------


def test_a_script_is_made_of_its_seed_alone() -> None:
    one, same, other = Script(500, 3), Script(500, 3), Script(500, 4)
    assert one.fates == same.fates
    assert one.moments == same.moments
    assert one.fates != other.fates
    assert set(one.fates) == set(range(5)), "every fate is met"
    assert one.statuses().total() == 500


def test_a_script_tells_what_each_phone_hears() -> None:
    plan = Script(500, 3)
    ends = [plan.ends(phone) for phone in (CALLER, FIRST, SECOND)]
    rings = [plan.rings(phone) for phone in (CALLER, FIRST, SECOND)]
    for number, fate in enumerate(plan.fates):
        both = plan.devices[plan.callees[number]] == 2
        assert [ring[number] for ring in rings] == [0, 1, int(both)]
        # Whoever acts hears nothing; all others hear the end.
        acting = 1 if fate != script.TIMEOUT else 0
        heard = [end[number] for end in ends if end[number]]
        assert len(heard) == 2 + both - acting
        assert len(set(heard)) <= 1
        assert fate != RACE or (both and heard == [script.ACCEPTED] * 2)
    assert plan.refusals().count(1) == plan.fates.count(RACE)


def test_the_order_of_answers_is_that_of_their_moments() -> None:
    plan = Script(200, 1)
    order = plan.order()
    assert sorted(order) == [n for n, fate in enumerate(plan.fates) if fate != script.TIMEOUT]
    assert [plan.moments[n] for n in order] == sorted(plan.moments[n] for n in order)


def test_with_more_invitations_than_users_everybody_has_several() -> None:
    plan = Script(2 * script.USERS_MAX, 1)
    assert set(Counter(plan.callees).values()) == {2}
    assert set(Counter(map(plan.caller, range(plan.size))).values()) == {2}


def test_quantiles_are_exact() -> None:
    samples = Samples("anything", "any")
    assert samples.quantiles(0.5, 1.0) == [0, 0]
    for value in range(1000, 0, -1):
        samples.add(value)
    assert samples.quantiles(0.5, 0.99, 1.0) == [501, 991, 1000]


@pytest.mark.parametrize(
    ("ns", "told"),
    [(0, "0 ns"), (999, "999 ns"), (1500, "1.5 µs"), (2.5e6, "2.5 ms"), (12.34e9, "12.3 s")],
)
def test_durations_are_told_for_people(ns: float, told: str) -> None:
    assert duration(ns) == told


def test_a_failed_check_says_where_the_first_difference_is() -> None:
    checks = Checks()
    checks.same("names", b"\0\1\2", b"\0\1\2")
    checks.same("kinds", b"\0\1\2\2", b"\0\1\1\1", ("none", "one", "two"))
    assert checks.count == 2
    (failure,) = checks.failures
    assert failure.name == "kinds"
    assert failure.found == "2 of 4 differ, the first is number 2: found two, expected one"
