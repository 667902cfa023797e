"""Invite IDs: 128 bits that lead straight to their record."""

from typing import final

__pyx_capi__: dict[str, object]

@final
class IdSpace:
    def __new__(cls, key: bytes, shard: int = 0) -> IdSpace: ...
    def make(self, slot: int, generation: int, random: int) -> str: ...
    def read(self, text: str) -> tuple[int, int, int] | None: ...
