"""How a failure reads: short lines, the same names as in the scenario, what differs side by side.

Data may be 12 KiB of anything. Long texts are shown by their beginning, length and checksum, so
that two which differ look different; nothing unprintable reaches the terminal.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from pysignal.conformance.scenario import Callback

if TYPE_CHECKING:
    from pysignal.conformance.runner import Failure

TEXT_LENGTH_MAX: Final = 60
ITEMS_MAX: Final = 12
STEP_LENGTH_MAX: Final = 300

_BOTH, _EXPECTED, _HEARD = "  both    ", "- expected", "+ heard   "


def failure(failure: Failure) -> str:
    """Return a failure as text of several lines."""
    scenario = failure.scenario
    lines = [f"FAILED {scenario.name}: {failure.reason}", f"  in {scenario.path}"]
    if scenario.about:
        lines.append(f"  about: {_printable(scenario.about)}")
    if failure.step == 0:
        lines.append("  before step 1")
    else:
        source = scenario.sources[failure.step - 1]
        if "expect" in source and failure.step > 1:
            before = scenario.sources[failure.step - 2]
            lines.append(f"  after step {failure.step - 1}: {step(before)}")
        lines.append(f"  step {failure.step} of {len(scenario.steps)}: {step(source)}")
    lines += [f"    {line}" for line in failure.lines]
    return "\n".join(lines)


def step(source: Mapping[str, Any]) -> str:
    """Return a step on one line, as the file has it, with long texts shortened."""
    pairs = ", ".join(f"{_value(key, {})}: {_value(item, {})}" for key, item in source.items())
    text = f"{{{pairs}}}"
    return text if len(text) <= STEP_LENGTH_MAX else f"{text[:STEP_LENGTH_MAX]}…"


def error(error: BaseException) -> str:
    """Return an error with its code, if it has one."""
    code = getattr(error, "code", None)
    kind = type(error).__name__
    return _printable(f"{kind} {code}: {error}" if code is not None else f"{kind}: {error}")[:300]


def versus(expected: str, heard: str) -> list[str]:
    """Return the lines for what was expected of a call, and what came back."""
    return [f"{_EXPECTED} {expected}", f"{_HEARD} {heard}"]


def differences(
    sessions: Mapping[str, tuple[Sequence[Callback], Sequence[Callback]]],
    names: Mapping[str, str],
) -> list[str]:
    """Return the lines for callbacks that differ.

    Args:
        sessions: for each session what was expected of it and what it heard.
        names: what invite IDs are called in the scenario.
    """
    lines = []
    for session, (expected, heard) in sessions.items():
        lines.append(f"{_printable(session)}:")
        if not expected:
            lines.append(f"  {_EXPECTED} nothing")
        keys = [_key(callback) for callback in expected], [_key(callback) for callback in heard]
        matcher = SequenceMatcher(None, *keys, autojunk=False)
        for tag, first, last, heard_first, heard_last in matcher.get_opcodes():
            if tag == "equal":
                lines += _signed(_BOTH, expected[first:last], names)
            else:
                lines += _signed(_EXPECTED, expected[first:last], names)
                lines += _signed(_HEARD, heard[heard_first:heard_last], names)
        if not heard:
            lines.append(f"  {_HEARD} nothing")
    return lines


def _signed(sign: str, callbacks: Sequence[Callback], names: Mapping[str, str]) -> list[str]:
    return [f"  {sign} {_callback(callback, names)}" for callback in callbacks]


def _callback(callback: Callback, names: Mapping[str, str]) -> str:
    parameters = " ".join(
        f"{key}={_value(value, names)}" for key, value in callback.items() if key != "on"
    )
    return f"{_printable(str(callback.get('on')))} {parameters}".rstrip()


def _key(callback: Callback) -> str:
    return json.dumps(callback, sort_keys=True, default=repr)


def _value(value: Any, names: Mapping[str, str]) -> str:
    """Return a value as JSON writes it, shortened, with IDs by their names."""
    if isinstance(value, str):
        return names[value] if value in names else _text(value)
    if isinstance(value, list):
        items = [_value(item, names) for item in value[:ITEMS_MAX]]
        if len(value) > ITEMS_MAX:
            items.append(f"… {len(value)} in all")
        return f"[{', '.join(items)}]"
    if isinstance(value, dict):
        pairs = (f"{_text(str(key))}: {_value(item, names)}" for key, item in value.items())
        return f"{{{', '.join(pairs)}}}"
    return _text(value)


def _text(value: Any) -> str:
    shown = value
    if isinstance(value, str) and len(value) > TEXT_LENGTH_MAX:
        shown = value[: TEXT_LENGTH_MAX // 2]
    quoted = _printable(json.dumps(shown, ensure_ascii=False, default=repr))
    if shown is value:
        return quoted
    checksum = crc32(value.encode("utf-8", "surrogatepass"))
    return f'{quoted[:-1]}…" ({len(value)} characters, checksum {checksum:08x})'


def _printable(text: str) -> str:
    """Return a text with all that a terminal would not show as one character escaped."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
