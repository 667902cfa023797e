"""What a client decodes, as the objects that the engine itself gives."""

from pysignal.engine.facts import Event
from pysignal.engine.views import InvitationInfo
from pysignal.protocol.results import EventFields, InvitationFields

__pyx_capi__: dict[str, object]

def event_from(fields: EventFields, opening: Event | None = None) -> Event: ...
def info_from(fields: InvitationFields) -> InvitationInfo: ...
def opening_from(info: InvitationInfo) -> Event: ...
