"""Records and snapshots in their binary form: the classes of the C face."""

from typing import final

__pyx_capi__: dict[str, object]

@final
class Reader:
    def __new__(cls, source: bytes) -> Reader: ...
    def __len__(self) -> int: ...

@final
class Record: ...

@final
class Image: ...
