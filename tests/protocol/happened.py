"""Events and infos of machines that things happened to, with texts that JSON has to escape."""

from __future__ import annotations

from collections.abc import Iterator

import machine_histories
import pytest
from machine_histories import History

from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo

TEXTS = [
    "",
    "plain",
    'a "quoted" \\ text',
    "".join(map(chr, range(128))),
    "\x7f\x80\x9f\xa0\xff",
    "é and ß",
    "漢字\u2028\u2029\ufeff\uffff",
    "\U0001f600\U0010ffff \x00",
    '{"version": 4, "businessID": "av_call", "data": {"cmd": "videoCall"}}',
    "\\" * 9 + '"' * 9,
    "1234567\n",
    "12345678\t1234567\x1f",
]

# What an event says; the wire says the same.
EVENT_FIELDS = (
    "kind", "reason", "invite_id", "group_id", "inviter", "data", "invitation_data", "actor",
    "device", "seq", "data_version", "position", "time", "expires_at", "ends", "replayed",
    "online_only", "parties_only", "no_deadline", "invitee_list", "invitees", "affected", "invitee",
    "pending",
)  # fmt: skip


def a_history(seed: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> History:
    """Return a history whose texts are those of this module, with all its events heard."""
    monkeypatch.setattr(machine_histories, "TEXTS", TEXTS)
    monkeypatch.setattr(
        machine_histories, "USERS", ["amy", 'b"ob', "c\\arl", "ü\U0001f600", "漢", "eve", "f f"]
    )
    history = History(seed)
    for _ in range(steps):
        history.step()
    history.check()
    return history


def infos(history: History) -> Iterator[InvitationInfo]:
    """Yield what the machine still knows of its invitations, and something of each state."""
    for name in history.ids:
        info = history.machine.info(name)
        if info is not None:
            yield info


def said(event: Event) -> dict[str, object]:
    """Return all that an event says, by name."""
    return {name: getattr(event, name) for name in EVENT_FIELDS}
