"""Request IDs: a retry returns the first result and rings nobody twice (SPEC §2).

A client that lost the answer of a call sends it again with the same request ID. What the first call
gave is kept for a while: its result, or the error that refused it. Errors that say "try again" are
not kept.

With a journal a result is a record too, written with the records of what the request did, so that a
retry after a restart finds it.

A request is looked up and kept by the command itself, at its place in the order. So a retry that
overtakes its caller still comes behind the first call, a caller that stops waiting leaves its
result behind, and no answer waits a turn longer for having a request ID.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from hashlib import blake2b
from typing import Any, Final

import orjson

from pysignal import text
from pysignal.errors import InvalidParameter, Remedy, SignalingError
from pysignal.shard import MORE

# Results that are forgotten by each request at most: many more than it adds, in well under 1 ms.
FORGET_PER_REQUEST: Final = 256


class Request:
    """A request and what it gave.

    Attributes:
        user: the actor.
        name: the request ID.
        at_ms: engine time of its arrival.
        arguments: a digest of the operation's name and arguments.
        result: what was returned.
        error: what was raised instead, or None.
        is_kept: whether it has come to its end, and the same request gives the same again.
    """

    __slots__ = ("arguments", "at_ms", "error", "is_kept", "name", "result", "user")

    def __init__(self, user: str, name: str, at_ms: int, arguments: bytes) -> None:
        self.user = user
        self.name = name
        self.at_ms = at_ms
        self.arguments = arguments
        self.result: Any = None
        self.error: SignalingError | None = None
        self.is_kept = False


class Requests:
    """The results of recent request IDs, by user.

    Args:
        now_ms: tells engine time.
        keep_ms: how long a result is kept.
        count_max: results kept for one user; the oldest go first.
        journaled: whether what is kept is to be recorded.

    Attributes:
        unrecorded: what is to be recorded once it is kept.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        keep_ms: int,
        count_max: int,
        journaled: bool = False,
    ) -> None:
        self._now_ms = now_ms
        self._keep_ms = keep_ms
        self._count_max = count_max
        self._journaled = journaled
        self._by_user: dict[str, OrderedDict[str, Request]] = {}
        self._ages: deque[tuple[int, str, str]] = deque()
        self.unrecorded: list[Request] = []

    def __len__(self) -> int:
        return sum(len(requests) for requests in self._by_user.values())

    def once(
        self, user: str, request_id: object, arguments: Iterable[Any], command: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return a command that is carried out only if this request was not yet.

        Args:
            user: the actor; other users' request IDs are other requests.
            request_id: 1 to 128 bytes of UTF-8 without control characters.
            arguments: the operation's name and arguments; a list is compared as it is now.
            command: what to carry out, as `Hub.perform` takes it. The command that is returned
                gives or raises the same, or what it gave or raised the first time, or raises
                InvalidParameter where the request ID was used with other arguments.

        Raises:
            InvalidParameter: the request ID is none.
        """
        name = text.user_id(request_id, "request_id")
        digest = _digest(tuple(arguments))

        def perform(now_ms: int, *args: Any) -> Any:
            request = self._find(user, name)
            if request is not None:
                return _repeat(request, digest)
            # It has its place before anything is done: memory may run out for that.
            request = Request(user, name, self._now_ms(), digest)
            self._enter(request)
            if self._journaled:
                self.unrecorded.append(request)
            try:
                request.result = command(now_ms, *args)
            except BaseException as error:
                if isinstance(error, SignalingError) and error.remedy is not Remedy.RETRY:
                    request.error = _again(error)
                if request.error is None:
                    self._take_out(user, name, request)
                else:
                    self._keep(request)
                raise
            if request.result is MORE:
                self._take_out(user, name, request)
            else:
                self._keep(request)
            return request.result

        return perform

    def _find(self, user: str, name: str) -> Request | None:
        self._forget(self._now_ms())
        requests = self._by_user.get(user)
        request = None if requests is None else requests.get(name)
        if request is None or request.at_ms + self._keep_ms <= self._now_ms():
            return None
        return request

    def _enter(self, request: Request) -> None:
        """Give a request its place; what it gives is filled in when that is known."""
        user, name = request.user, request.name
        self._ages.append((request.at_ms, user, name))
        requests = self._by_user.get(user)
        if requests is None:
            requests = OrderedDict()
            requests[name] = request
            self._by_user[user] = requests
        else:
            requests.pop(name, None)  # one that is too old gives up its place in the order too
            requests[name] = request

    def _keep(self, request: Request) -> None:
        """Keep what a request gave, and forget the oldest of a user who has one too many."""
        requests = self._by_user[request.user]
        if len(requests) > self._count_max:
            requests.popitem(last=False)
            if not requests:
                del self._by_user[request.user]
        request.is_kept = True

    # -- what a journal keeps ----------------------------------------------------------------------

    def users(self) -> list[str]:
        """Return the users of whom something is kept."""
        return list(self._by_user)

    def of_user(self, user: str) -> list[Request]:
        """Return what is kept of a user, the oldest first."""
        return list(self._by_user.get(user, {}).values())

    def bring_back(self, request: Request) -> None:
        """Keep what a journal has kept."""
        self._enter(request)
        self._keep(request)

    def recorded(self) -> None:
        """Note that what was to be recorded has been."""
        self.unrecorded = [request for request in self.unrecorded if not request.is_kept]

    def settle(self) -> None:
        """Forget what is too old, once all that a journal has kept is back."""
        self._ages = deque(sorted(self._ages))
        while self._ages and self._ages[0][0] + self._keep_ms <= self._now_ms():
            self._forget(self._now_ms())

    def _take_out(self, user: str, name: str, request: Request) -> None:
        """Forget a request that has changed nothing, or has not come to its end."""
        if self._journaled:
            self.unrecorded.remove(request)
        requests = self._by_user.get(user)
        if requests is not None and requests.get(name) is request:
            del requests[name]
            if not requests:
                del self._by_user[user]

    def _forget(self, now_ms: int) -> None:
        for _ in range(FORGET_PER_REQUEST):
            if not self._ages or self._ages[0][0] + self._keep_ms > now_ms:
                return
            at_ms, user, name = self._ages.popleft()
            requests = self._by_user.get(user)
            request = None if requests is None else requests.get(name)
            if requests is not None and request is not None and request.at_ms == at_ms:
                del requests[name]
                if not requests:
                    del self._by_user[user]


def _digest(arguments: tuple[Any, ...]) -> bytes:
    """Return 16 bytes that differ where arguments do."""
    try:
        written = orjson.dumps(arguments)
    except TypeError:  # a text that is none, say: the command will refuse it
        written = repr(arguments).encode(errors="surrogatepass")
    return blake2b(written, digest_size=16).digest()


def _again(error: SignalingError) -> SignalingError | None:
    """Return an error to be raised again; None where there is no memory for one."""
    try:
        return error.again()
    except MemoryError:
        return None


def _repeat(request: Request, arguments: bytes) -> Any:
    """Give what a request gave the first time."""
    if request.arguments != arguments:
        raise InvalidParameter(
            "request_id", "it was used before with other arguments; use a new one"
        )
    if request.error is not None:
        raise request.error.again()
    return request.result
