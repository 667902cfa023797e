"""Request IDs: a retry returns the first result and rings nobody twice (SPEC §2).

A client that lost the answer of a call sends it again with the same request ID. What the first call
gave is kept for a while: its result, or the error that refused it. Errors that say "try again" are
not kept.

A request is looked up and kept by the command itself, at its place in the order. So a retry that
overtakes its caller still comes behind the first call, a caller that stops waiting leaves its
result behind, and no answer waits a turn longer for having a request ID.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Final

from pysignal import text
from pysignal.errors import InvalidParameter, Remedy, SignalingError
from pysignal.shard import MORE

# Results that are forgotten by each request at most: many more than it adds, in well under 1 ms.
FORGET_PER_REQUEST: Final = 256


class _Request:
    __slots__ = ("arguments", "at_ms", "error", "result")

    def __init__(self, at_ms: int, arguments: Hashable) -> None:
        self.at_ms = at_ms
        self.arguments = arguments
        self.result: Any = None
        self.error: SignalingError | None = None


class Requests:
    """The results of recent request IDs, by user.

    Args:
        now_ms: tells engine time.
        keep_ms: how long a result is kept.
        count_max: results kept for one user; the oldest go first.
    """

    def __init__(self, now_ms: Callable[[], int], keep_ms: int, count_max: int) -> None:
        self._now_ms = now_ms
        self._keep_ms = keep_ms
        self._count_max = count_max
        self._by_user: dict[str, OrderedDict[str, _Request]] = {}
        self._ages: deque[tuple[int, str, str]] = deque()

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
        arguments = tuple(tuple(arg) if isinstance(arg, list) else arg for arg in arguments)

        def perform(now_ms: int, *args: Any) -> Any:
            request = self._find(user, name)
            if request is not None:
                return _repeat(request, arguments)
            # It has its place before anything is done: memory may run out for that.
            request = self._enter(user, name, arguments)
            try:
                request.result = command(now_ms, *args)
            except BaseException as error:
                if isinstance(error, SignalingError) and error.remedy is not Remedy.RETRY:
                    request.error = _again(error)
                if request.error is None:
                    self._take_out(user, name, request)
                else:
                    self._keep_newest(user)
                raise
            if request.result is MORE:
                self._take_out(user, name, request)
            else:
                self._keep_newest(user)
            return request.result

        return perform

    def _find(self, user: str, name: str) -> _Request | None:
        self._forget(self._now_ms())
        requests = self._by_user.get(user)
        request = None if requests is None else requests.get(name)
        if request is None or request.at_ms + self._keep_ms <= self._now_ms():
            return None
        return request

    def _enter(self, user: str, name: str, arguments: Hashable) -> _Request:
        """Give a request its place; what it gives is filled in when that is known."""
        now_ms = self._now_ms()
        request = _Request(now_ms, arguments)
        self._ages.append((now_ms, user, name))
        requests = self._by_user.get(user)
        if requests is None:
            requests = OrderedDict()
            requests[name] = request
            self._by_user[user] = requests
        else:
            requests.pop(name, None)  # one that is too old gives up its place in the order too
            requests[name] = request
        return request

    def _keep_newest(self, user: str) -> None:
        """Forget the oldest request of a user who has one too many."""
        requests = self._by_user[user]
        if len(requests) > self._count_max:
            requests.popitem(last=False)
            if not requests:
                del self._by_user[user]

    def _take_out(self, user: str, name: str, request: _Request) -> None:
        """Forget a request that has changed nothing, or has not come to its end."""
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


def _again(error: SignalingError) -> SignalingError | None:
    """Return an error to be raised again; None where there is no memory for one."""
    try:
        return error.again()
    except MemoryError:
        return None


def _repeat(request: _Request, arguments: Hashable) -> Any:
    """Give what a request gave the first time."""
    if request.arguments != arguments:
        raise InvalidParameter(
            "request_id", "it was used before with other arguments; use a new one"
        )
    if request.error is not None:
        raise request.error.again()
    return request.result
