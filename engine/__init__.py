"""The compiled core of pysignal: invite IDs, invitee tables, a timer wheel, and the machine.

Everything here is deterministic: time, randomness and limits are arguments. Nothing reads a clock,
opens a socket, starts a thread, logs, or knows asyncio. Each module has two faces: the `.pxd` is
the C API for other extensions, the `def` methods are the Python one.
"""
