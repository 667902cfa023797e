"""The command line: its commands, and how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pysignal
from pysignal import cli, demo

ROOT = Path(__file__).resolve().parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "pysignal", *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Call the command line in this process, and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["pysignal", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def test_version() -> None:
    result = run("version")
    assert (result.returncode, result.stdout) == (0, f"{pysignal.__version__}\n")


def test_an_unknown_command_is_told_and_exits_with_2() -> None:
    result = run("dial")
    assert result.returncode == 2
    assert "dial" in result.stderr


def test_help_names_every_command() -> None:
    result = run("--help")
    assert result.returncode == 0
    for command in ("demo", "conformance", "version"):
        assert command in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--invitations", "0"),
        ("--invitations", "1000001"),
        ("--students", "0"),
        ("--students", "10001"),
        ("--seed", "x"),
        ("extra",),
    ],
    ids=" ".join,
)
def test_demo_refuses_what_it_cannot_play(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(monkeypatch, "demo", *arguments) == 2


def test_demo_hands_its_options_on_and_exits_with_its_code(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played: list[demo.Settings] = []

    def play(settings: demo.Settings) -> int:
        played.append(settings)
        return len(played) - 1

    monkeypatch.setattr(demo, "run", play)
    options = ("--invitations", "5", "--students", "6", "--seed", "7", "--plain", "--out", "there")
    assert call(monkeypatch, "demo", *options) == 0
    assert call(monkeypatch, "demo") == 1
    assert played == [
        demo.Settings(invitations=5, students=6, seed=7, plain=True, out=Path("there")),
        demo.Settings(),
    ]


def test_conformance_gets_all_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ModuleType("pysignal.conformance")
    given: list[list[str]] = []

    def run_scenarios(arguments: list[str]) -> int:
        given.append(arguments)
        return 3

    runner.main = run_scenarios  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pysignal.conformance", runner)
    monkeypatch.setattr(pysignal, "conformance", runner, raising=False)
    assert call(monkeypatch, "conformance", "--over", "embedded", "here", "--help") == 3
    assert call(monkeypatch, "conformance") == 3
    assert given == [["--over", "embedded", "here", "--help"], []]
