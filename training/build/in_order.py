"""In order: work of many processes, whose results come in the order of what they were given."""

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Final, TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

# Starting processes takes about a second, in which this one has done as many chunks itself.
_ALONE: Final = 8
# Chunks under way for each process: enough that none of them waits, and memory stays bounded.
_AHEAD: Final = 3


def in_order(
    work: Callable[[_In], _Out], given: Iterable[_In], *, processes: int | None = None
) -> Generator[_Out, None, None]:
    """Yield `work` of each of `given`, in order, by all cores (or `processes`) if they are many.

    `work`, what it is given and its results are pickled.
    """
    count = processes or _cores()
    chunks = iter(given)
    yield from map(work, islice(chunks, _ALONE if count > 1 else None))
    first = next(chunks, None)
    if first is None:
        return
    # Not fork: threads of torch's, which may be loaded by now, do not survive it.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_left_to_parent)
    waiting: deque[Future[_Out]] = deque([pool.submit(work, first)])
    try:
        for chunk in chunks:
            waiting.append(pool.submit(work, chunk))
            if len(waiting) > count * _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def _left_to_parent() -> None:
    # Ctrl-C reaches the whole group; the parent ends the pool.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
