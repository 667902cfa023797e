"""A malformed scenario is told with file, step and what is wrong, and nothing is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pysignal.conformance import Malformed, load, main

INVITE = {"do": "invite", "by": "amy", "invitee": "bob", "save": "i"}
ACCEPT = {"do": "accept", "by": "bob", "invite_id": "$i"}
RINGS = {"expect": {"bob": [{"on": "on_receive_new_invitation", "invite_id": "$i"}]}}


def write(folder: Path, *steps: Any, name: str = "call", **top: Any) -> Path:
    path = folder / f"{name}.json"
    raw = {"name": name, "sessions": ["amy", "bob"], "steps": list(steps), **top}
    path.write_text(json.dumps(raw))
    return path


OFFLINE = {"disconnect": "bob"}


@pytest.mark.parametrize(
    ("steps", "step", "problem"),
    [
        ([{"do": "invite", "by": "amy", "invitee": "bob", "dat": ""}], 1, "unknown key 'dat'"),
        ([{"advance": 1}, {"do": "call", "by": "amy"}], 2, "'call'|\"call\""),
        ([{"do": "invite", "by": "amy"}], 1, "the key 'invitee' is missing"),
        ([{"do": "invite", "by": "eve", "invitee": "bob"}], 1, "none of the scenario's sessions"),
        ([{**INVITE, "error": 6017}], 1, "nothing to save"),
        ([{**ACCEPT, "invite_id": "x", "save": "i"}], 1, "unknown key 'save'"),
        ([{**ACCEPT, "invite_id": "x", "error": "8010"}], 1, "a whole number"),
        ([ACCEPT], 1, r'no step before this one saves "\$i"'),
        ([RINGS, INVITE], 1, "no step before this one saves"),
        ([{"advance": -1}], 1, "0 or more"),
        ([{"advance": True}], 1, "0 or more"),
        ([{"advance": 1, "expect": {}}], 1, "exactly one of the keys"),
        ([{"wait": 1}], 1, "exactly one of the keys"),
        ([{"advance": 1, "why": ""}], 1, "unknown key 'why'"),
        ([{"expect": {"eve": []}}], 1, "none of the scenario's sessions"),
        ([{"expect": {"bob": {}}}], 1, "an array"),
        ([{"expect": {"bob": [{"invite_id": "x"}]}}], 1, "expect: bob: on"),
        ([OFFLINE, OFFLINE], 2, "not logged in"),
        ([{"login": "bob", "start": "hot"}], 1, "follows a disconnect"),
        ([OFFLINE, {"login": "bob", "start": "warm"}], 2, '"cold" or "hot"'),
        ([[]], 1, "an object"),
    ],
)
def test_a_malformed_step_is_told_with_file_and_number(
    tmp_path: Path,
    steps: list[Any],
    step: int,
    problem: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path, *steps)
    with pytest.raises(Malformed, match=problem) as caught:
        load(path)
    assert caught.value.step == step
    good = write(tmp_path, name="good")
    assert main([str(good), str(path)]) == 2
    captured = capsys.readouterr()
    assert f"malformed: {path}: step {step}: " in captured.err
    assert captured.out == "", "nothing is run"


@pytest.mark.parametrize(
    ("top", "problem"),
    [
        ({"notes": ""}, "unknown key 'notes'"),
        ({"sessions": []}, "name at least one"),
        ({"sessions": ["bob", "bob#1"]}, "named twice"),
        ({"steps": {}}, "steps: an array"),
        ({"listen": ["signalling"]}, "none of signaling, group, message"),
        ({"groups": {"g": {"type": "Chat", "owner": "amy", "members": []}}}, "none of Work"),
        ({"groups": {"g": {"type": "Work", "owner": "amy", "members": ["amy"]}}}, "leaves the own"),
        ({"groups": {"g": {"type": "Work", "members": []}}}, "'owner' is missing"),
    ],
)
def test_a_malformed_file_is_told(tmp_path: Path, top: dict[str, Any], problem: str) -> None:
    with pytest.raises(Malformed, match=problem) as caught:
        load(write(tmp_path, **top))
    assert caught.value.step == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "cannot be read as JSON"),
        ("[1", "cannot be read as JSON"),
        ("[]", "a scenario: an object"),
        ('{"name": "x", "name": "y"}', "'name' stands twice"),
        ('{"name": NaN}', "NaN is no JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
    ],
)
def test_what_is_no_json_is_told(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(Malformed, match=problem):
        load(path)
    assert main([str(path)]) == 2
