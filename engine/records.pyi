"""Records and snapshots in their binary form: a C face only."""

__pyx_capi__: dict[str, object]
