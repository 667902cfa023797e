"""Operations for compiled callers: what was not done is a result, and not an exception."""

__pyx_capi__: dict[str, object]
