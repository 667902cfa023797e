"""The journal contract: what makes records durable, and says whether we may still decide.

A hub with a journal answers nobody and tells nobody of anything before the records that it rests on
are durable. It has one append under way at a time; what arrives meanwhile forms the next, so that
batches grow with load and a lone operation waits for one sync. From time to time a snapshot takes
the place of the records before it.

`log` keeps them in a folder, on one machine; `memory` as long as the process lives.
"""

from __future__ import annotations

from pysignal.journal.contract import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalInUse,
    NotOwner,
    UnknownVersion,
)
from pysignal.journal.log import LogJournal
from pysignal.journal.memory import MemoryJournal

__all__ = [
    "Journal",
    "JournalDamaged",
    "JournalError",
    "JournalInUse",
    "LogJournal",
    "MemoryJournal",
    "NotOwner",
    "UnknownVersion",
]
