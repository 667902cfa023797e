"""Frames: how everything stands in the files of a log."""

from collections.abc import Sequence
from typing import Final, final

SEGMENT: Final = 1
COMMIT: Final = 2
SNAPSHOT: Final = 3
PIECES: Final = 4
END: Final = 5

MORE: Final = 0
BROKEN: Final = 1
MISPLACED: Final = 2
OTHER_VERSION: Final = 3
OTHER_KIND: Final = 4
MALFORMED: Final = 5

FORMAT: Final = 1
HEAD_SIZE: Final = 32

def checksum(data: bytes | bytearray, seed: int = 0, portable: bool = False) -> int: ...
def encode(
    kind: int, position: int, previous: int, records: Sequence[bytes]
) -> tuple[bytes, int]: ...
def decode(data: bytes, at: int = 0) -> tuple[int, int, int, int, int, int, list[bytes]] | None: ...
def version_of(data: bytes) -> int | None: ...
def find_sound(data: bytes | bytearray, start: int, stop: int) -> int: ...
def find_nonzero(data: bytes) -> int: ...

@final
class Run:
    position: int
    chain: int
    kind: int
    stop: int
    needs: int
    last: int
    mark: int
    bytes_after: int
    def __new__(cls, kind: int, position: int, chain: int) -> Run: ...
    def begin(self, chain: int) -> None: ...
    def check(self, data: bytes) -> int: ...
    def split(self, data: bytes, into: list[bytes], first: int, until: int) -> int: ...
