"""The order of an answer and the events behind it: who called has the result first (SPEC §4).

An answer resumes its caller at a later turn of the event loop, and nothing says which turns come
before that one. So events that came behind an answer wait until its caller has been resumed.
"""

from __future__ import annotations

from collections.abc import Callable


class Gate:
    """Counts answers, and how many of them have reached their callers.

    Args:
        moved: called with the number up to which events may leave, whenever it has grown.

    Attributes:
        answered: answers so far; an event that comes now rests on so many.
    """

    def __init__(self, moved: Callable[[int], None]) -> None:
        self.answered = 0
        self._moved = moved
        self._underway: dict[int, None] = {}

    def answer(self) -> int:
        """Count an answer whose caller is to be resumed, and return its number."""
        self.answered += 1
        self._underway[self.answered] = None
        return self.answered

    def resumed(self, number: int) -> None:
        """Note that a caller has been resumed.

        Args:
            number: of the answer.
        """
        first = next(iter(self._underway))
        del self._underway[number]
        if number == first:
            self._moved(next(iter(self._underway), self.answered + 1) - 1)
