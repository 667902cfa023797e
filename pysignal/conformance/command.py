"""The command line of the conformance scenarios: which to run, over which way, and what came out.

The output is for people, its last line and the exit status are for scripts: 0 when all passed, 1
when one failed, 2 when nothing was run because the command or a file is wrong, and beyond 128 when
it was interrupted or nobody reads on.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TextIO, cast

from pysignal.conformance import report, runner
from pysignal.conformance.embedded import Embedded
from pysignal.conformance.scenario import Malformed, Scenario, find, load
from pysignal.conformance.transport import Recorder, Transport, Way
from pysignal.exits import status_of

SHIPPED: Final = Path(__file__).resolve().parent / "scenarios"


def _over_websocket(recorder: Recorder) -> Transport:
    from pysignal.conformance.websocket import OverWebSocket  # it needs more than others do

    return OverWebSocket(recorder)


WAYS: Final[dict[str, Way]] = {"embedded": Embedded, "websocket": _over_websocket}

PASSED, FAILED, UNUSABLE = 0, 1, 2

_PROG: Final = "python -m pysignal.conformance"
_METHODS: Final = ("open", "login", "disconnect", "call", "advance", "settle", "close")


class UnknownWay(Exception):
    """`--over` names nothing that scenarios can be run over."""


def main(argv: Sequence[str] | None = None, prog: str = _PROG) -> int:
    """Run scenarios as the command line says, and return the exit status.

    Args:
        argv: the arguments after the command's name; None for those of this process.
        prog: the command's name.

    Returns:
        0 when all passed, 1 when one failed, 2 for bad usage or a malformed file; what `exits`
        says when it was interrupted or nobody reads on.
    """
    return status_of(lambda: _obey(argv, prog))


def _obey(argv: Sequence[str] | None, prog: str) -> int:
    try:
        options = _parser(prog).parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    try:
        way = find_way(options.over)
        scenarios = _load_all(options.paths or [SHIPPED])
    except (UnknownWay, FileNotFoundError) as error:
        _say(f"error: {error}", sys.stderr)
        return UNUSABLE
    if scenarios is None:
        return UNUSABLE
    if options.list:
        for scenario in scenarios:
            _say(f"{scenario.name}: {scenario.about}" if scenario.about else scenario.name)
        return PASSED
    with asyncio.Runner(loop_factory=_loop_factory()) as loop:
        return loop.run(_run_all(scenarios, way, options.verbose))


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Run conformance scenarios under a virtual clock.",
        epilog="Exit status: 0 all passed, 1 one failed, 2 bad usage or a malformed file.",
    )
    parser.add_argument(
        "paths",
        nargs="*",
        type=Path,
        metavar="PATH",
        help="scenario files or folders of them; those that come with pysignal by default",
    )
    parser.add_argument(
        "--over",
        default="embedded",
        metavar="WAY",
        help=f"what to run them over: {', '.join(WAYS)}, or a class of yours as module:Class",
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios, run none")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="name also the scenarios that pass"
    )
    return parser


def find_way(name: str) -> Way:
    """Return what makes transports, by a known name or as `module:Class`.

    Raises:
        UnknownWay: neither.
    """
    if name in WAYS:
        return WAYS[name]
    module_name, colon, class_name = name.partition(":")
    if not (module_name and colon and class_name):
        raise UnknownWay(
            f"--over {name}: unknown; known are {', '.join(WAYS)}, or a class as module:Class"
        )
    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        made: Any = getattr(importlib.import_module(module_name), class_name)
    except Exception as error:  # an import runs code that is not ours
        raise UnknownWay(f"--over {name}: {report.error(error)}") from error
    missing = [method for method in _METHODS if not callable(getattr(made, method, None))]
    if not callable(made) or missing:
        raise UnknownWay(
            f"--over {name}: not a transport, it lacks {', '.join(missing) or 'a constructor'}; "
            "see pysignal.conformance.transport"
        )
    return cast("Way", made)


def _load_all(paths: Sequence[Path]) -> list[Scenario] | None:
    """Read every file; None, after telling what is wrong, if one is malformed."""
    scenarios: list[Scenario] = []
    malformed: list[Malformed] = []
    for path in find(paths):
        try:
            scenarios.append(load(path))
        except Malformed as error:
            malformed.append(error)
    for problem in malformed:
        _say(f"malformed: {problem}", sys.stderr)
    return None if malformed else scenarios


async def _run_all(scenarios: Sequence[Scenario], way: Way, verbose: bool) -> int:
    failed = 0
    for scenario in scenarios:
        failure = await runner.run(scenario, way)
        if failure is not None:
            failed += 1
            _say(report.failure(failure) + "\n")
        elif verbose:
            _say(f"passed {scenario.name}")
    _say(f"{len(scenarios) - failed} passed, {failed} failed")
    return FAILED if failed else PASSED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return cast("Callable[[], asyncio.AbstractEventLoop]", uvloop.new_event_loop)


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print, whatever characters the stream can show."""
    stream = stream or sys.stdout
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
