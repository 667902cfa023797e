"""Request IDs: a retry returns the first result and rings nobody twice (SPEC §2).

A client that lost the answer of a call sends it again with the same request ID. What the first call
gave is kept for a while: its result, or the error that refused it. Errors that say "try again" are
not kept. While the first call still waits, the second one waits for it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar

from pysignal import text
from pysignal.errors import InvalidParameter, Remedy, SignalingError

T = TypeVar("T")

REQUEST_ID_BYTES_MAX = 128


class _Request:
    __slots__ = ("arguments", "at_ms", "error", "result", "waiting")

    def __init__(self, arguments: Hashable, at_ms: int) -> None:
        self.arguments = arguments
        self.at_ms = at_ms
        self.waiting: list[asyncio.Future[None]] | None = []
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

    async def once(
        self,
        user: str,
        request_id: object,
        arguments: Hashable,
        operation: Callable[[], Awaitable[T]],
    ) -> T:
        """Run an operation, or return what it gave the first time.

        Args:
            user: the actor; other users' request IDs are other requests.
            request_id: 1 to 128 bytes.
            arguments: the operation's name and arguments.
            operation: makes the call.

        Raises:
            InvalidParameter: the request ID was used with other arguments.
        """
        name = text.user_id(request_id, "request_id")
        now_ms = self._now_ms()
        self._forget(now_ms)
        requests = self._by_user.setdefault(user, OrderedDict())
        request = requests.get(name)
        if request is None:
            request = requests[name] = _Request(arguments, now_ms)
            self._ages.append((now_ms, user, name))
            if len(requests) > self._count_max:
                requests.popitem(last=False)
            return await self._first(user, name, request, operation)
        if request.arguments != arguments:
            raise InvalidParameter(
                "request_id", "it was used before with other arguments; use a new one"
            )
        if request.waiting is not None:
            done = asyncio.get_running_loop().create_future()
            request.waiting.append(done)
            await done
        if request.error is not None:
            raise request.error.again()
        result: T = request.result
        return result

    async def _first(
        self, user: str, name: str, request: _Request, operation: Callable[[], Awaitable[T]]
    ) -> T:
        # A task of its own: cancelling the caller must not leave the request without a result.
        task = asyncio.ensure_future(_coroutine(operation))
        task.add_done_callback(lambda done: self._settle(user, name, request, done))
        return await asyncio.shield(task)

    def _settle(self, user: str, name: str, request: _Request, task: asyncio.Future[Any]) -> None:
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or failure is not None:
            if isinstance(failure, SignalingError):
                request.error = failure
            if not isinstance(failure, SignalingError) or failure.remedy is Remedy.RETRY:
                self._drop(user, name, request)
        else:
            request.result = task.result()
        waiting, request.waiting = request.waiting or [], None
        for future in waiting:
            if future.done():
                continue
            if request.error is None and (task.cancelled() or failure is not None):
                future.cancel()
            else:
                future.set_result(None)

    def _drop(self, user: str, name: str, request: _Request) -> None:
        requests = self._by_user.get(user)
        if requests is not None and requests.get(name) is request:
            del requests[name]
            if not requests:
                del self._by_user[user]

    def _forget(self, now_ms: int) -> None:
        while self._ages and self._ages[0][0] + self._keep_ms <= now_ms:
            at_ms, user, name = self._ages.popleft()
            requests = self._by_user.get(user)
            request = None if requests is None else requests.get(name)
            if request is not None and request.at_ms == at_ms:
                self._drop(user, name, request)


async def _coroutine(operation: Callable[[], Awaitable[T]]) -> T:
    return await operation()
