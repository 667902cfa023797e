"""Arguments of a request as a number that differs where they do."""

from collections.abc import Iterable

__pyx_capi__: dict[str, object]

def number_of(arguments: Iterable[object]) -> int: ...
