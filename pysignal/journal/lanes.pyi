"""Threads that carry out jobs on the files of a folder; there is only a C face."""

__pyx_capi__: dict[str, object]
