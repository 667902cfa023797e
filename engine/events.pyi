"""Facts as events: a C face only."""

__pyx_capi__: dict[str, object]
