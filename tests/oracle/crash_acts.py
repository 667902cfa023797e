"""A crash, as plain data: what is under way before it, how it happens, and who comes back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from oracle.acts import KINDS, Act, Drawer

NOBODY: Final = "", ""

HOW: Final = ("power cut", "power cut", "power cut", "kill", "kill", "close")

# What may be under way: what waits for nothing by itself.
AT_ONCE: Final = tuple(kind for kind in KINDS if kind not in (Drawer.wait, Drawer.offline))
# The same where events may have left since: of who comes or goes then, nobody can say whether they
# have heard them.
LATER: Final = tuple(kind for kind in AT_ONCE if kind not in (Drawer.login, Drawer.logout))


def crash(drawer: Drawer) -> Iterator[Act]:
    """Draw a crash, or some in a row; each act when the one before it has happened."""
    below = drawer.below
    crashes = 1
    while crashes:
        crashes -= 1
        was_online = list(drawer.oracle.online)
        if below(5):
            yield Act("begin", NOBODY, {"is_stuck": below(4) == 0})
            if below(3) == 0:
                yield drawer.next((Drawer.login,))
            for _ in range(below(4)):
                yield drawer.next(AT_ONCE)
            for _ in range(below(4)):
                yield Act("turns", NOBODY, {"count": 1 + below(4)})
                yield drawer.next(LATER)
            if below(2):
                yield Act("turns", NOBODY, {"count": 1 + below(12)})
        args = {"ms": drawer.span_ms(), "how": drawer.pick(HOW), "back": below(6) == 0}
        yield Act("crash", NOBODY, {**args, "look": below(3) > 0})
        for place in was_online:
            if below(2):
                start = "hot" if below(4) else "cold"
                yield Act("login", place, {"start": start, "anew": True})
        if below(5) == 0:
            crashes += 1
