"""The scenarios hold, and their runner finds what is wrong: in an engine, and in a scenario."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from pysignal import conformance
from pysignal.conformance import CannotRun, Recorder, Scenario, load, report
from pysignal.conformance.command import SHIPPED
from pysignal.conformance.embedded import Embedded
from pysignal.conformance.runner import Failure, Heard, identical, run
from pysignal.conformance.transport import Way
from pysignal.conformance.websocket import OverWebSocket

HEARD_BY_BOB = {
    "on": "on_receive_new_invitation",
    "invite_id": "$i",
    "inviter": "amy",
    "group_id": "",
    "invitee_list": ["bob"],
    "data": "hi",
}
INVITE = {"do": "invite", "by": "amy", "invitee": "bob", "data": "hi", "save": "i"}
RINGS = {"expect": {"bob": [HEARD_BY_BOB]}}
ACCEPT = {"do": "accept", "by": "bob", "invite_id": "$i", "data": "yes"}
ACCEPTED = {"on": "on_invitee_accepted", "invite_id": "$i", "invitee": "bob", "data": "yes"}
GOOD: list[Any] = [INVITE, RINGS, ACCEPT, {"expect": {"amy": [ACCEPTED]}}]


class Files:
    """Writes scenarios into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, *steps: Any, name: str = "call", **top: Any) -> Path:
        path = self.folder / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        raw = {"name": Path(name).name, "sessions": ["amy", "bob"], "steps": list(steps), **top}
        path.write_text(json.dumps(raw))
        return path

    def run(self, *steps: Any, way: Way = Embedded, **top: Any) -> Failure | None:
        return asyncio.run(run(load(self.write(*steps, **top)), way))


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def main(*arguments: object) -> int:
    return conformance.main([str(argument) for argument in arguments])


class Deaf:
    """A way to an engine that answers as told and tells nobody anything."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.calls: list[tuple[str, str, Mapping[str, Any]]] = []

    async def open(self, scenario: Scenario) -> None:
        self.scenario = scenario

    async def login(self, session: str, start: str) -> None:
        pass

    async def disconnect(self, session: str) -> None:
        pass

    async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
        self.calls.append((session, op, arguments))
        return f"id-{len(self.calls)}" if op.startswith("invite") else None

    async def advance(self, seconds: float) -> None:
        pass

    async def settle(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Refusal(Exception):
    def __init__(self, code: int) -> None:
        self.code = code


# -- what is shipped ------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_the_embedded_engine_behaves_as_the_scenario_says(path: Path) -> None:
    assert asyncio.run(run(load(path), Embedded)) is None


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.json")), ids=lambda path: path.stem)
def test_server_and_clients_behave_as_the_scenario_says(path: Path) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
        assert loop.run(run(load(path), OverWebSocket)) is None


def test_the_command_runs_what_is_shipped_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    count = len(list(SHIPPED.glob("*.json")))
    assert count >= 62
    assert capsys.readouterr().out == f"{count} passed, 0 failed\n"


def test_a_scenario_is_called_like_its_file() -> None:
    assert [path for path in SHIPPED.glob("*.json") if load(path).name != path.stem] == []


# -- what a failure tells -------------------------------------------------------------------------


def test_a_wrong_scenario_fails_with_step_expected_and_heard_and_the_others_go_on(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"expect": {"amy": [ACCEPTED | {"data": "no"}]}}
    files.write(*GOOD[:3], wrong, name="a-wrong", about="Goes wrong.")
    files.write(*GOOD, name="b-good")
    assert main(files.folder) == 1
    out = capsys.readouterr().out
    assert "FAILED a-wrong: heard otherwise than expected" in out
    assert "step 4 of 4:" in out
    assert 'after step 3: {"do": "accept", "by": "bob", "invite_id": "$i", "data": "yes"}' in out
    assert '- expected on_invitee_accepted invite_id=$i invitee="bob" data="no"' in out
    assert '+ heard    on_invitee_accepted invite_id=$i invitee="bob" data="yes"' in out
    assert out.splitlines()[-1] == "1 passed, 1 failed"


def test_what_is_heard_where_no_expect_follows_fails(files: Files) -> None:
    for steps in ([INVITE], [INVITE, {"advance": 1}, RINGS]):
        failure = files.run(*steps)
        assert failure is not None
        assert failure.step == 1
        assert failure.reason == "heard, though no expect follows"


def test_a_session_that_is_not_named_must_have_heard_nothing(files: Files) -> None:
    failure = files.run(INVITE, {"expect": {}})
    assert failure is not None
    assert failure.lines[:2] == ("bob:", "  - expected nothing")


def test_order_and_count_within_a_session_matter(files: Files) -> None:
    leave = [
        {"do": "quit_group", "by": "bob", "group_id": "crew"},
        {"expect": {"amy": [{"on": "on_member_leave", "group_id": "crew", "member": "bob"}] * 2}},
    ]
    groups = {"crew": {"type": "Work", "owner": "amy", "members": ["bob"]}}
    failure = files.run(*leave, groups=groups, listen=["group"])
    assert failure is not None
    assert [line.split()[0] for line in failure.lines] == ["amy:", "both", "-"]


def test_an_answer_that_is_not_the_expected_one_fails(files: Files) -> None:
    for step, heard in (
        ({**INVITE, "invitee": "amy"}, "InvalidParameter 6017"),
        ({"do": "accept", "by": "bob", "invite_id": "x", "error": 8011}, "InvitationEnded 8010"),
        ({"do": "invite", "by": "amy", "invitee": "bob", "error": 6017}, "the call succeeded"),
    ):
        failure = files.run(step)
        assert failure is not None
        assert failure.step == 1
        assert heard in failure.lines[1]


def test_long_and_unprintable_texts_are_shortened_but_still_told_apart(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other = "\x1b" + "x" * 5000, "\x1b" + "x" * 4999 + "y"
    heard = {"expect": {"bob": [HEARD_BY_BOB | {"data": other}]}}
    path = files.write({**INVITE, "data": data}, heard)
    assert main(path) == 1
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) < 400
    assert "\x1b" not in out
    lines = [line for line in out.splitlines() if "(5001 characters, checksum " in line]
    *_, expected, actual = (line.partition("checksum")[2] for line in lines)
    assert expected != actual


# -- what counts ----------------------------------------------------------------------------------


def test_callbacks_of_groups_count_where_the_scenario_listens_to_them(files: Files) -> None:
    groups = {"crew": {"type": "Work", "owner": "amy", "members": ["bob"]}}
    leave = {"do": "quit_group", "by": "bob", "group_id": "crew"}
    heard = {"expect": {"amy": [{"on": "on_member_leave", "group_id": "crew", "member": "bob"}]}}
    assert files.run(leave, groups=groups) is None
    assert files.run(leave, heard, groups=groups, listen=["signaling", "group"]) is None
    assert files.run(leave, groups=groups, listen=["signaling", "group"]) is not None


def test_a_scenario_with_messages_fails_with_the_reason(files: Files) -> None:
    failure = files.run(listen=["signaling", "message"])
    assert failure is not None
    assert (failure.step, failure.reason) == (0, "this way has no messages")


def test_only_a_whole_text_that_names_something_saved_is_replaced(files: Files) -> None:
    for data in ("$", "$j", "$i, too", "costs $i"):
        rings = {"expect": {"bob": [HEARD_BY_BOB | {"data": data}]}}
        assert files.run({**INVITE, "data": data}, rings) is None


def test_deadlines_of_the_same_millisecond_may_fire_in_either_order(files: Files) -> None:
    class Tied(Deaf):
        async def advance(self, seconds: float) -> None:
            for invite_id in ("id-2", "id-1"):
                told: Any = {
                    "on": "on_invitation_timeout",
                    "invite_id": invite_id,
                    "invitee_list": [],
                }
                self.recorder.hear("amy", told)

    def steps(second_timeout: float) -> list[Any]:
        timeouts = [
            {"on": "on_invitation_timeout", "invite_id": f"${name}", "invitee_list": []}
            for name in "ij"
        ]
        other = {**INVITE, "save": "j", "timeout": second_timeout}
        return [INVITE, other, {"advance": 40}, {"expect": {"amy": timeouts}}]

    assert files.run(*steps(30.0002), way=Tied) is None
    assert files.run(*steps(30.001), way=Tied) is not None


def test_what_an_invitee_learned_from_a_push_comes_from_the_record_of_the_invite(
    files: Files,
) -> None:
    made: list[Deaf] = []

    def way(recorder: Recorder) -> Deaf:
        made.append(Deaf(recorder))
        return made[-1]

    several = {**INVITE, "invitee": ["bob", "cy", "bob"], "timeout": 0.25}
    learned = {"do": "add_invited_signaling", "by": "bob", "invite_id": "$i"}
    unknown = {"do": "add_invited_signaling", "by": "bob", "invite_id": "no-such-id"}
    assert files.run(several, learned, unknown, way=way) is None
    info, made_up = (arguments["info"] for _, _, arguments in made[0].calls[1:])
    assert info == {
        "invite_id": "id-1",
        "inviter": "amy",
        "group_id": "",
        "invitee_list": ["bob", "cy"],
        "data": "hi",
        "timeout": 1,
        "action_type": 1,
    }
    assert made_up.keys() == info.keys()
    assert made_up["invite_id"] == "no-such-id"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ([1, {"a": "b"}], [1, {"a": "b"}], True),
        (["a"], ("a",), False),
        (1, True, False),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        (["a", "b"], ["b", "a"], False),
        (float("nan"), float("nan"), True),
        (float("nan"), 1.0, False),
    ],
)
def test_parameters_are_compared_exactly(one: object, other: object, same: bool) -> None:
    assert identical(one, other) is same


# -- refusals -------------------------------------------------------------------------------------

REFUSED = {"do": "accept", "by": "bob", "invite_id": "x", "error": 8010}


def test_a_refused_call_that_is_heard_fails_even_if_an_expect_follows(files: Files) -> None:
    class Leaky(Deaf):
        async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
            self.recorder.hear("amy", {"on": "on_invitation_modified", "invite_id": "x"})
            raise Refusal(8010)

    heard = {"expect": {"amy": [{"on": "on_invitation_modified", "invite_id": "x"}]}}
    failure = files.run(REFUSED, heard, way=Leaky)
    assert failure is not None
    assert (failure.step, failure.reason) == (1, "the call was refused, and yet heard")


def test_a_refused_call_that_changes_something_fails(files: Files) -> None:
    class Changing(Deaf):
        state = 0
        change = 1

        async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
            self.state += self.change
            raise Refusal(8010)

        async def fingerprint(self) -> object:
            return self.state

    class Still(Changing):
        change = 0

    failure = files.run(REFUSED, way=Changing)
    assert failure is not None
    assert failure.reason == "the call was refused, and yet has changed something"
    assert files.run(REFUSED, way=Still) is None


def test_the_embedded_way_notices_changes_of_invitations_and_groups(files: Files) -> None:
    async def fingerprints() -> list[object]:
        groups = {"crew": {"type": "Work", "owner": "amy", "members": ["bob"]}}
        scenario = load(files.write(groups=groups))
        way = Embedded(Quiet())
        await way.open(scenario)
        await way.login("amy", "cold")
        await way.login("bob", "cold")
        seen = [await way.fingerprint(), await way.fingerprint()]
        invite_id = await way.call("amy", "invite", {"invitee": "bob"})
        seen.append(await way.fingerprint())
        await way.call("amy", "modify_invitation", {"invite_id": invite_id, "data": "x"})
        seen.append(await way.fingerprint())
        await way.call("bob", "quit_group", {"group_id": "crew"})
        seen.append(await way.fingerprint())
        await way.close()
        return seen

    class Quiet:
        def hear(self, session: str, callback: dict[str, Any]) -> None:
            pass

    first, again, *changed = asyncio.run(fingerprints())
    assert first == again
    assert all(one != other for one, other in zip([again, *changed], changed, strict=False))


# -- other ways -----------------------------------------------------------------------------------


def test_a_class_can_be_named_as_the_way(
    files: Files, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files.folder / "sdk_under_test.py").write_text(
        "from pysignal.conformance.embedded import Embedded\n"
        "class Way(Embedded):\n"
        "    async def open(self, scenario):\n"
        "        print('opened', scenario.name)\n"
        "        await super().open(scenario)\n"
    )
    monkeypatch.chdir(files.folder)
    monkeypatch.syspath_prepend(files.folder)
    assert main("--over", "sdk_under_test:Way", files.write(*GOOD)) == 0
    assert capsys.readouterr().out == "opened call\n1 passed, 0 failed\n"


@pytest.mark.parametrize("name", ["carrier-pigeon", "nowhere_at_all:Way", "json:loads", "json:x"])
def test_an_unknown_way_is_refused_by_name(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path.cwd())
    assert main("--over", name) == 2
    error = capsys.readouterr().err
    assert name in error
    assert ":" in name or "known are embedded" in error


def test_whatever_a_way_raises_is_a_failure_of_the_scenario(files: Files) -> None:
    class Broken(Deaf):
        async def advance(self, seconds: float) -> None:
            raise RuntimeError("out of time")

        async def close(self) -> None:
            raise RuntimeError("cannot close")

    class Picky(Deaf):
        def __init__(self, recorder: Recorder) -> None:
            raise RuntimeError("not today")

    class Lacking(Deaf):
        async def open(self, scenario: Scenario) -> None:
            raise CannotRun("no groups here")

    class Mute(Deaf):
        async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
            return None

    for way, step, reason in (
        (Broken, 1, "raised RuntimeError: out of time"),
        (Picky, 0, "the way cannot be made: RuntimeError: not today"),
        (Lacking, 0, "no groups here"),
    ):
        failure = files.run({"advance": 1}, way=way)
        assert failure is not None
        assert (failure.step, failure.reason) == (step, reason)
    failure = files.run(way=Broken)
    assert failure is not None
    assert failure.reason == "raised RuntimeError: cannot close"
    failure = files.run(INVITE, way=Mute)
    assert failure is not None
    assert "None was returned" in failure.lines[1]


def test_a_way_that_hangs_is_given_up(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Deaf):
        async def settle(self) -> None:
            await asyncio.Event().wait()

    monkeypatch.setattr("pysignal.conformance.runner.PATIENCE_S", 0.01)
    failure = files.run(way=Hanging)
    assert failure is not None
    assert "not come to an end within 0.01 real seconds" in failure.reason


# -- the command --------------------------------------------------------------------------------


def test_folders_are_searched_and_files_can_be_mixed_in(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    files.write(*GOOD, name="deep/inside")
    files.write(*GOOD, name="deep/beside")
    assert main("--verbose", files.folder / "deep", files.write(*GOOD, name="z")) == 0
    passed = "passed beside\npassed inside\npassed z\n"
    assert capsys.readouterr().out == f"{passed}3 passed, 0 failed\n"


def test_scenarios_are_listed(files: Files, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("--list", files.write(INVITE, about="Rings.")) == 0
    assert capsys.readouterr().out == "call: Rings.\n"
    assert main("--list") == 0
    assert "c2c-accept: " in capsys.readouterr().out


def test_bad_usage_is_told_apart_from_failures(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    (files.folder / "empty").mkdir()
    assert main("--no-such-option") == 2
    assert main("--help") == 0
    assert main(files.folder / "missing.json") == 2
    assert main(files.folder / "empty") == 2
    assert "holds no scenario" in capsys.readouterr().err


def test_a_long_list_is_shortened_and_its_size_told(files: Files) -> None:
    crowd = [f"user {number}" for number in range(40)]
    heard = {"expect": {"bob": [HEARD_BY_BOB | {"invitee_list": crowd}]}}
    failure = files.run(INVITE, heard)
    assert failure is not None
    assert "… 40 in all" in report.failure(failure)


def test_a_session_that_heard_nothing_is_told_so(files: Files) -> None:
    failure = files.run(INVITE, RINGS, way=Deaf)
    assert failure is not None
    assert "+ heard    nothing" in report.failure(failure)


def test_an_invite_id_that_is_used_twice_is_a_failure(files: Files) -> None:
    class Repeating(Deaf):
        async def call(self, session: str, op: str, arguments: Mapping[str, Any]) -> str | None:
            return "always the same"

    failure = files.run(INVITE, INVITE | {"save": "j"}, way=Repeating)
    assert failure is not None
    assert (failure.step, failure.lines[1]) == (2, "+ heard    that of an earlier invitation")


def test_a_failure_before_the_first_step_is_told_as_that(files: Files) -> None:
    class Shut(Deaf):
        async def open(self, scenario: Scenario) -> None:
            raise OSError("no way in")

    failure = files.run(*GOOD, way=Shut)
    assert failure is not None
    assert "before step 1" in report.failure(failure)


def test_a_way_is_looked_for_where_the_command_is_called(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    (files.folder / "way_beside.py").write_text(
        "from pysignal.conformance.embedded import Embedded as Way\n"
    )
    monkeypatch.chdir(files.folder)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert main("--over", "way_beside:Way", files.write(*GOOD)) == 0


def test_the_event_beside_a_callback_does_not_count_and_a_message_may() -> None:
    heard = Heard(frozenset({"signaling", "message"}))
    for name in ("on_signaling_event", "on_recv_c2c_text_message", "on_member_enter"):
        heard.hear("amy", {"on": name})
    assert heard.take() == {"amy": [{"on": "on_recv_c2c_text_message"}]}


def test_a_number_and_a_bell_are_told_as_they_can_be_read(files: Files) -> None:
    heard = {"expect": {"bob": [HEARD_BY_BOB | {"data": 5}]}}
    failure = files.run(INVITE, heard, about="ring \x07")
    assert failure is not None
    told = report.failure(failure)
    assert "about: ring \\x07" in told
    assert "data=5" in told


def test_without_uvloop_scenarios_run_on_the_loop_of_asyncio(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert main(files.write(*GOOD)) == 0
