"""The command line: its commands, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import pysignal
from pysignal import demo
from pysignal.__main__ import main

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
        main()
    code = caught.value.code
    return code if isinstance(code, int) else 0


def run_without(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a module of pysignal as a program where neither rich nor typer is installed."""
    code = (
        "import runpy, sys; sys.modules.update(rich=None, typer=None);"
        f"sys.argv[1:] = {arguments!r}; runpy.run_module({module!r}, run_name='__main__')"
    )
    return subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("asked", ["version", "--version"])
def test_version(asked: str) -> None:
    result = run(asked)
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
    assert "..." not in result.stdout.partition("Commands:")[2], "a help text is cut"


def test_conformance_is_called_by_the_name_that_was_typed() -> None:
    assert run("conformance", "--help").stdout.startswith("usage: pysignal conformance [")


def test_without_its_extra_it_says_in_a_line_how_to_get_it() -> None:
    result = run_without("pysignal", "version")
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "pip install 'pysignal-engine[cli]'" in line


def test_the_scenarios_need_no_extra() -> None:
    result = run_without("pysignal.conformance", "--list")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_what_develops_it_has_the_command_line_too() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    assert set(extras["cli"]) <= set(extras["dev"])
    assert not set(extras["cli"]) & set(project["dependencies"])


@pytest.mark.parametrize(
    "arguments",
    [
        ("pysignal.conformance", "--list"),
        ("pysignal", "conformance", "--list"),
        ("pysignal", "demo", "--plain"),
        ("pysignal", "demo"),
        ("pysignal", "version"),
        ("pysignal", "--version"),
    ],
    ids=" ".join,
)
def test_when_nobody_reads_on_it_ends_in_silence(arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm"}
    try:
        result = subprocess.run(
            (sys.executable, "-m", *arguments),
            cwd=ROOT,
            env=environment,
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (result.returncode, result.stderr) == (141, "")


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


def test_a_folder_that_could_not_be_made_is_refused_before_the_demo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "run", lambda settings: 0)
    missing = tmp_path / "no such"
    assert call(monkeypatch, "demo", "--out", str(missing / "folder")) == 2
    told = capsys.readouterr().err
    assert "--out" in told
    assert f"the folder '{missing}' does not exist" in told
    assert call(monkeypatch, "demo", "--out", str(missing)) == 0


def test_conformance_gets_all_its_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = ModuleType("pysignal.conformance")
    given: list[list[str]] = []

    def run_scenarios(arguments: list[str], prog: str) -> int:
        assert prog == "pysignal conformance"
        given.append(arguments)
        return 3

    runner.main = run_scenarios  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pysignal.conformance", runner)
    monkeypatch.setattr(pysignal, "conformance", runner, raising=False)
    assert call(monkeypatch, "conformance", "--over", "embedded", "here", "--help") == 3
    assert call(monkeypatch, "conformance") == 3
    assert given == [["--over", "embedded", "here", "--help"], []]


def test_another_missing_module_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(name: str) -> ModuleType:
        raise ModuleNotFoundError("No module named 'anything_else'", name="anything_else")

    monkeypatch.setattr("importlib.import_module", lack)
    with pytest.raises(ModuleNotFoundError, match="anything_else"):
        main()
