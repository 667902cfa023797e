"""Work that goes on beside other work, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run something until the body ends, however that ends.

    Args:
        work: is cancelled when the body has ended. What it failed with before is raised then.
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        # Unlike `await task`, this lets a cancellation of the waiting task through.
        await asyncio.wait((task,))
        failure = None if task.cancelled() else task.exception()
    if failure is not None:
        raise failure
