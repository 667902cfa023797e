"""Applying records to a core: a C face only."""

__pyx_capi__: dict[str, object]
