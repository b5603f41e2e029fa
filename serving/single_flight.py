"""One piece of work per key at a time: whoever asks meanwhile waits for the same result."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlight(Generic[K, V]):
    """Shares the result, or the error, of work under way; remembers nothing after it."""

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Return what `work()` returns; one who is cancelled while waiting cancels nobody else."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(work())
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(task)

    def __len__(self) -> int:
        return len(self._tasks)

    def _forget(self, key: K, done: asyncio.Task[V]) -> None:
        del self._tasks[key]
        if not done.cancelled():
            # Every waiter may have gone: then nobody else takes note of an error.
            done.exception()
