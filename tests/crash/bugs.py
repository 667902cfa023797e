"""Bugs that can be planted into a server, to see that killing it finds them."""

from __future__ import annotations

