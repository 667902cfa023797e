"""The operations of the core: a C face, and the check that it is the one compiled against."""

__pyx_capi__: dict[str, object]

def require_abi(abi: int) -> None: ...
