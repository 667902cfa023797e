"""pysignal: invitations between users, one engine that owns each, and everybody told once.

async with pysignal.Hub() as hub:
amy = await hub.login("amy")
bob = await hub.login("bob", listener=MyListener())
invitation = await amy.signaling.invite("bob", "let's talk", timeout=30)
print((await invitation.outcome()).status)
"""

from typing import TYPE_CHECKING, Any

from pysignal.bulk import Answer, Invite
from pysignal.clock import Clock, VirtualClock
from pysignal.engine.facts import Event as SignalingEvent
from pysignal.engine.views import InvitationInfo
from pysignal.errors import (
    AlreadyTold,
    Blocked,
    DataTooLong,
    GroupIdTaken,
    HubClosed,
    InvalidParameter,
    InvitationEnded,
    InvitationRequired,
    KickedOff,
    LimitExceeded,
    Muted,
    NoGroupPermission,
    NoSuchGroup,
    NoSuchUser,
    NotAvailable,
    NotLoggedIn,
    NotPermitted,
    OutcomeUnknown,
    OwnerMayNotQuit,
    RateLimited,
    Remedy,
    SignalingError,
    TokenExpired,
    TokenMalformed,
    TokenOfOtherApp,
    TokenOfOtherUser,
    TokenRefused,
    TokenSignatureWrong,
    VersionConflict,
)
from pysignal.following import Outcome
from pysignal.groups.callbacks import GroupListener
from pysignal.groups.decisions import GroupInfo, GroupType, MemberInfo, Role
from pysignal.hub import Hub
from pysignal.invitation import Invitation
from pysignal.limits import Limits
from pysignal.listeners import ConnectionListener, SignalingListener
from pysignal.presence import Snapshot
from pysignal.receivers import Call
from pysignal.session import Session
from pysignal.signaling import SignalingInfo
from pysignal.sink import Sink

if TYPE_CHECKING:
    from pysignal.client import RemoteSession, connect

__version__ = "0.1.0"

__all__ = [
    "AlreadyTold",
    "Answer",
    "Blocked",
    "Call",
    "Clock",
    "ConnectionListener",
    "DataTooLong",
    "GroupIdTaken",
    "GroupInfo",
    "GroupListener",
    "GroupType",
    "Hub",
    "HubClosed",
    "InvalidParameter",
    "Invitation",
    "InvitationEnded",
    "InvitationInfo",
    "InvitationRequired",
    "Invite",
    "KickedOff",
    "LimitExceeded",
    "Limits",
    "MemberInfo",
    "Muted",
    "NoGroupPermission",
    "NoSuchGroup",
    "NoSuchUser",
    "NotAvailable",
    "NotLoggedIn",
    "NotPermitted",
    "Outcome",
    "OutcomeUnknown",
    "OwnerMayNotQuit",
    "RateLimited",
    "Remedy",
    "RemoteSession",
    "Role",
    "Session",
    "SignalingError",
    "SignalingEvent",
    "SignalingInfo",
    "SignalingListener",
    "Sink",
    "Snapshot",
    "TokenExpired",
    "TokenMalformed",
    "TokenOfOtherApp",
    "TokenOfOtherUser",
    "TokenRefused",
    "TokenSignatureWrong",
    "VersionConflict",
    "VirtualClock",
    "connect",
]

# What needs more packages than an embedded hub does is looked up when it is asked for.
_OF_THE_CLIENT = ("RemoteSession", "connect")


def __getattr__(name: str) -> Any:
    if name in _OF_THE_CLIENT:
        from pysignal import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
