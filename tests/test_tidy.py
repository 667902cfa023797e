"""What can be counted of the house's style, counted.

Sizes are limits that nobody should meet by accident: a file or function that reaches one holds two
things. The rest keeps sources readable in a diff and on half a screen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILE_LINES_MAX = 600  # 500 are the aim
FUNCTION_LINES_MAX = 70
LINE_LENGTH_MAX = 100
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX|H" + r"ACK)\b")

# The rivals are programs of their own, kept as they were measured.
EXEMPT = ROOT / "benchmarks" / "rivals"
FOLDERS = ("engine", "pysignal", "tests", "benchmarks", "examples")
SUFFIXES = (".py", ".pyx", ".pxd", ".pyi")


def find_sources() -> Iterator[Path]:
    yield ROOT / "setup.py"
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES and EXEMPT not in path.parents:
                yield path


SOURCES = list(find_sources())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield each function of a source with its size in lines."""
    text = path.read_text()
    if path.suffix in (".py", ".pyi"):
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, (node.end_lineno or 0) - node.lineno + 1
        return
    yield from cython_functions(text.splitlines())


HEADER = re.compile(
    r"^(?P<indent> *)(?:async +)?(?:c|cp)?def\b(?!.*\bextern\b)[^=]*?(?P<name>\w+) *\("
)


def cython_functions(lines: list[str]) -> Iterator[tuple[str, int]]:
    """Yield the functions of a Cython source: a body is what stands deeper than its header.

    A header may run over lines; it ends at the line that ends in a colon. A declaration has none.
    """
    number = 0
    while number < len(lines):
        header = HEADER.match(lines[number])
        start = number
        number += 1
        if not header or re.match(r" *cdef +(class|enum|struct|union|packed)\b", lines[start]):
            continue
        depth = len(header["indent"])
        end = start
        while not code(lines[end]).endswith(":") and end + 1 < len(lines):
            following = lines[end + 1]
            if indent(following) <= depth and not following.lstrip().startswith(")"):
                break
            end += 1
        if not code(lines[end]).endswith(":"):
            continue
        last = end
        for later in range(end + 1, len(lines)):
            if lines[later].strip():
                if indent(lines[later]) <= depth:
                    break
                last = later
        yield header["name"], last - start + 1


def code(line: str) -> str:
    return line.split("#")[0].rstrip()


def indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_says_first_what_it_is(path: Path) -> None:
    text = path.read_text()
    if path.suffix == ".pyi" or (path.stem == "__init__" and not text.strip()):
        return  # a stub speaks through the module that it describes
    comments = re.match(r"(?:(?:#[^\n]*)?\n)*", text)
    body = text[comments.end() :] if comments else text
    assert body.startswith(('"""', 'r"""')), "no module docstring"
    assert not body.startswith('""""""')


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_holds_one_thing(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_function_fits_on_a_screen(path: Path) -> None:
    long = [f"{name}: {size}" for name, size in functions(path) if size > FUNCTION_LINES_MAX]
    assert not long


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_lines_are_short_and_clean(path: Path) -> None:
    text = path.read_text()
    wrong = []
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > LINE_LENGTH_MAX:
            wrong.append(f"{number}: {len(line)} characters")
        if line != line.rstrip():
            wrong.append(f"{number}: space at the end")
        if "\t" in line:
            wrong.append(f"{number}: a tab")
    assert not wrong
    assert not text or re.search(r"[^\n]\n\Z", text), "one newline ends a file"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_nothing_is_left_for_later_in_a_comment(path: Path) -> None:
    assert not UNFINISHED.findall(path.read_text())


@pytest.mark.parametrize("folder", ["docs/adr"])
def test_decisions_are_numbered_without_gaps(folder: str) -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / folder).glob("[0-9]*.md"))
    assert numbers
    assert numbers[0] == 1
    assert all(after == before + 1 for before, after in pairwise(numbers))


def test_functions_of_cython_are_measured() -> None:
    lines = '''
cdef class Wheel:
    cdef int tick(self) noexcept nogil

    cdef inline uint64_t next_expiry(
        self,
        uint64_t now,
    ) noexcept nogil:
        return now

    def __init__(self, int size=3):  # why
        """Text."""

        self.size = size


cdef int *pointer = NULL
cdef (int, int) both(int a) except *:
    return a, a
'''.splitlines()
    assert list(cython_functions(lines)) == [("next_expiry", 5), ("__init__", 4), ("both", 2)]
