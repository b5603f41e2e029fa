"""Questions to the engine that are sent together: each costs all streams the time of a call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


class Rounds:
    """Sends one round at a time; whoever asks while one is under way goes with the next."""

    def __init__(self, send: Callable[[list[Any]], Awaitable[list[list[Any]]]]) -> None:
        """Use `send`: questions to each worker's answers, in the order of the questions."""
        self._send = send
        self._waiting: list[tuple[Any, asyncio.Future[list[Any]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def ask(self, question: Any) -> list[Any]:
        """Return what each worker answers. Raises what the call raises."""
        answer: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        self._waiting.append((question, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._waiting:
            round_, self._waiting = self._waiting, []
            try:
                workers = await self._send([question for question, _ in round_])
            except Exception as error:  # noqa: BLE001 - raised by who asked
                for _, answer in round_:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for index, (_, answer) in enumerate(round_):
                if not answer.done():  # nobody waits for it any more
                    answer.set_result([answers[index] for answers in workers])
