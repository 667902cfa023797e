"""The one family of errors: what went wrong, with which thing, and what to do about it.

Every refusal of the SDK is a `SignalingError`. Its `code` is the number that the users of Tencent
Cloud Chat know (SPEC §5), its `name` a word for logs and metrics, its message names the thing,
what was wrong with it and what to do, and `details` holds the same facts for programs. `remedy` is
the class of the error: retry the same call, mend the caller, or accept that it is so.

One subclass for each code, so that an `except` clause needs no number.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, ClassVar


class Remedy(Enum):
    """What a caller can do about an error."""

    RETRY = "retry"  # the same call, with the same request ID, may succeed later
    CALLER = "caller"  # the call itself is wrong: a bug of the caller, or bad input
    FINAL = "final"  # the call is well-formed, and the answer is no


class SignalingError(Exception):
    """A refused operation. Nothing was changed by it, except where the message says so.

    Attributes:
        code: the number of the error, as in SPEC §5.
        name: the same as a word, stable, for logs and metrics.
        remedy: whether to retry, to mend the call, or to take no for an answer.
        message: which thing, what was wrong, what to do.
        details: the facts of the message for programs; keys depend on the error.
    """

    code: ClassVar[int] = 0
    name: ClassVar[str] = "error"
    remedy: ClassVar[Remedy] = Remedy.FINAL

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(f"{message} [{self.name} {self.code}]")
        self.message = message
        self.details = details
        # What made it, so that it can be made again: in another process, or without a traceback.
        self._given: tuple[tuple[str, ...], dict[str, Any]] = ((message,), details)

    def again(self) -> SignalingError:
        """Return an equal error with no traceback of its own, to be raised a second time."""
        return _make(type(self), *self._given)

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (type(self), *self._given)


def _make(
    kind: type[SignalingError], args: tuple[str, ...], details: dict[str, Any]
) -> SignalingError:
    return kind(*args, **details)


class OutcomeUnknown(SignalingError):
    """The connection or the journal failed: whether the operation took effect is unknown."""

    code, name, remedy = 6012, "outcome_unknown", Remedy.RETRY


class HubClosed(SignalingError):
    """The hub is not open yet, or closed."""

    code, name, remedy = 6013, "hub_closed", Remedy.CALLER


class NotLoggedIn(SignalingError):
    """The session is not logged in, or was kicked off."""

    code, name, remedy = 6014, "not_logged_in", Remedy.CALLER


class InvalidParameter(SignalingError):
    """A parameter is out of range or of the wrong type; `details["parameter"]` names it."""

    code, name, remedy = 6017, "invalid_parameter", Remedy.CALLER

    def __init__(self, parameter: str, problem: str, **details: Any) -> None:
        super().__init__(f"{parameter}: {problem}", parameter=parameter, **details)
        self._given = ((parameter, problem), details)


class KickedOff(SignalingError):
    """Another login of the same device took this session's place."""

    code, name = 6208, "kicked_off"


class LimitExceeded(SignalingError):
    """A limit is reached: of a table, of sessions, of what a user may have pending."""

    code, name, remedy = 7008, "limit_exceeded", Remedy.RETRY


class NotAvailable(SignalingError):
    """The operation does not exist for this invitation (modify of an online-only one)."""

    code, name = 7014, "not_available"


class DataTooLong(SignalingError):
    """More than the allowed bytes of custom data."""

    code, name, remedy = 8001, "data_too_long", Remedy.CALLER


class VersionConflict(SignalingError):
    """A modify named an expected version that is not the current one."""

    code, name = 8006, "version_conflict"


class InvitationEnded(SignalingError):
    """The ID names nothing open, or the caller has answered already.

    For a party, as long as the end is remembered, `details` says how it ended: `status` (the
    caller's own), `state`, `reason`, and `how`, a sentence to show to a person.
    """

    code, name = 8010, "invitation_ended"


class NotPermitted(SignalingError):
    """The caller is not the one who may do this to this invitation."""

    code, name = 8011, "not_permitted"


class AlreadyTold(SignalingError):
    """`add_invited_signaling` of an invitation that this session knows."""

    code, name = 8012, "already_told"


class InvitationRequired(SignalingError):
    """A Work group is entered by a member's invitation only."""

    code, name = 8508, "invitation_required"


class NoGroupPermission(SignalingError):
    """Not a member of the group, or the role is too low."""

    code, name = 10007, "no_group_permission"


class OwnerMayNotQuit(SignalingError):
    """The owner of a group of this type cannot quit: transfer or dismiss it."""

    code, name = 10009, "owner_may_not_quit"


class NoSuchGroup(SignalingError):
    """No group of this ID exists."""

    code, name = 10010, "no_such_group"


class Muted(SignalingError):
    """The caller is muted in the group."""

    code, name = 10017, "muted"


class GroupIdTaken(SignalingError):
    """A group of this ID exists already."""

    code, name = 10021, "group_id_taken"


class RateLimited(SignalingError):
    """Too many calls in a short time; `details["retry_after"]` seconds."""

    code, name, remedy = 10023, "rate_limited", Remedy.RETRY


class NoSuchUser(SignalingError):
    """The server's registry has no such user."""

    code, name = 20003, "no_such_user"


class Blocked(SignalingError):
    """The other user has blocked the caller."""

    code, name = 20007, "blocked"


class TokenRefused(SignalingError):
    """A login's token was not accepted; which subclass it is says why.

    None of them says more of a token than its owner can read in it.
    """

    remedy = Remedy.CALLER


class TokenExpired(TokenRefused):
    """The token is not valid any more, or not yet: get a fresh one."""

    code, name = 6206, "token_expired"


class TokenMalformed(TokenRefused):
    """The text is no token, or one that lacks what it must have."""

    code, name = 70003, "token_malformed"


class TokenSignatureWrong(TokenRefused):
    """The token was signed with another key, or was changed since."""

    code, name = 70009, "token_signature_wrong"


class TokenOfOtherUser(TokenRefused):
    """The token was made for another user."""

    code, name = 70013, "token_of_other_user"


class TokenOfOtherApp(TokenRefused):
    """The token was made for another application."""

    code, name = 70014, "token_of_other_app"


# A family of errors, such as TokenRefused, has no code of its own.
BY_CODE: dict[int, type[SignalingError]] = {
    error.code: error
    for error in list(globals().values())
    if isinstance(error, type) and issubclass(error, SignalingError) and error.code
}
