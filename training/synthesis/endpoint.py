"""Any OpenAI-compatible endpoint as a translator: many requests at once, asked again with patience.

Asyncio, because a request under way can be called off: Ctrl-C waits for nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import httpx

from adapters.errors import SynthesisFailed
from training.synthesis.asking import Asking
from training.synthesis.backoff import Backoff
from training.synthesis.completion import read_completion
from training.synthesis.translator import Answer, Fault, Job, Patience, core_of

_LATER: Final = frozenset({408, 409, 425, 429})
# The server's word on the text. Any other status below 500 is its word on us: a wrong key or path.
_ABOUT_THE_TEXT: Final = frozenset({400, 413, 422})
_DETAIL_CHARS: Final = 200
_Running = dict[asyncio.Task[Answer], Job]


@dataclass(frozen=True)
class Server:
    """Where the model is. The key goes into a header, and nowhere else."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    concurrency: int = 8
    timeout_s: float = 120.0

    @property
    def completions(self) -> str:
        """The address that is asked: the URL may be that of the host, of its /v1, or the whole."""
        url = httpx.URL(self.url)
        path = url.path.rstrip("/")
        if path.endswith("/chat/completions"):
            return str(url)
        return str(url.copy_with(path=f"{path or '/v1'}/chat/completions"))


class Endpoint:
    """A model behind an address."""

    def __init__(self, server: Server, asking: Asking, backoff: Backoff | None = None) -> None:
        self._server = server
        self._asking = asking
        self._backoff = backoff or Backoff()

    @property
    def identity(self) -> dict[str, Any]:
        """Model and prompt; not the address, since a server may move in the midst of a run."""
        return {"engine": "endpoint", "model": self._server.model, **self._asking.identity()}

    def translate(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Answer], None, None]:
        """Yield every job with its answer, as they come. Raises SynthesisFailed."""
        waiting, running = iter(jobs), _Running()
        session = _Session(self._server, self._asking, self._backoff)
        with asyncio.Runner() as runner:
            try:
                while done := runner.run(self._some(session, waiting, running)):
                    yield from done
            finally:
                runner.run(_end(session, running))

    async def _some(
        self, session: _Session, waiting: Iterator[Job], running: _Running
    ) -> list[tuple[Job, Answer]]:
        """Return the next answers, at least one; none when all jobs are done."""
        for job in itertools.islice(waiting, self._server.concurrency - len(running)):
            running[asyncio.create_task(session.answer(job))] = job
        if not running:
            return []
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        return [(running.pop(task), task.result()) for task in done]


async def _end(session: _Session, running: _Running) -> None:
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await session.close()


@dataclass(frozen=True)
class _Later:
    """No answer yet; `retry_after` as the server's header has it."""

    why: str
    retry_after: str | None = None


class _Session:
    """One run against the server: its connections, and what was learnt of it meanwhile."""

    def __init__(self, server: Server, asking: Asking, backoff: Backoff) -> None:
        self._server = server
        self._asking = asking
        self._backoff = backoff
        self._tells_logprobs = True
        self._not_before = 0.0
        self._patience = Patience(f"{server.completions} ({server.model})")
        headers = {"content-type": "application/json"}
        if server.key:
            headers["authorization"] = f"Bearer {server.key}"
        limits = httpx.Limits(max_connections=server.concurrency)
        self._client = httpx.AsyncClient(timeout=server.timeout_s, headers=headers, limits=limits)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def answer(self, job: Job) -> Answer:
        """Return the answer to one text. Raises SynthesisFailed once the server is of no use."""
        before, core, after = core_of(job.text)
        why = ""
        for attempt in range(self._backoff.tries):
            await self._until_allowed()
            said = await self._ask(core, job.sample)
            if isinstance(said, Answer):
                text = f"{before}{said.text}{after}" if said.text else ""
                return replace(said, text=text, requests=attempt + said.requests)
            why = said.why
            if attempt + 1 < self._backoff.tries:
                await self._wait(attempt, said.retry_after)
        self._patience.failed(why)
        return Answer("", requests=self._backoff.tries, fault=Fault.UNANSWERED)

    async def _wait(self, attempt: int, retry_after: str | None) -> None:
        seconds = self._backoff.wait_s(attempt, retry_after)
        if retry_after is None:
            await asyncio.sleep(seconds)
        else:  # all wait: the others would be told the same
            self._not_before = max(self._not_before, time.monotonic() + seconds)

    async def _until_allowed(self) -> None:
        while (left := self._not_before - time.monotonic()) > 0:
            await asyncio.sleep(left)

    async def _ask(self, text: str, sample: int) -> Answer | _Later:
        asked_logprobs = self._tells_logprobs
        response = await self._post(text, sample, logprobs=asked_logprobs)
        if not (asked_logprobs and _is_about_the_text(response)):
            return self._read(response)
        # Some servers refuse to tell log-probabilities: is it that, or the text?
        again = await self._post(text, sample, logprobs=False)
        if isinstance(again, httpx.Response) and again.is_success:
            self._tells_logprobs = False
        said = self._read(again)
        return said if isinstance(said, _Later) else replace(said, requests=2)

    async def _post(self, text: str, sample: int, *, logprobs: bool) -> httpx.Response | _Later:
        body = {"model": self._server.model, **self._asking.body(text, sample=sample)}
        if logprobs:
            body.setdefault("logprobs", True)
        # httpx would not write half a character; what is wrong with it is the server's to say.
        content = json.dumps(body).encode()
        try:
            response = await self._client.post(self._server.completions, content=content)
        except httpx.RequestError as error:
            return _Later(f"{type(error).__name__}: {error}")
        if response.status_code in _LATER or response.is_server_error:
            return _Later(_told(response), response.headers.get("retry-after"))
        return response

    def _read(self, response: httpx.Response | _Later) -> Answer | _Later:
        if isinstance(response, _Later):
            return response
        if response.is_success:
            answer = read_completion(response.content)
            if answer is None:
                return _Later(f"expected a chat completion, found {_told(response)}")
            self._patience.heard()
            return answer
        if not _is_about_the_text(response):
            raise SynthesisFailed(
                f"{self._server.completions}: {_told(response)}; check the address, the "
                "model's name and --key-env, and run the same command again"
            )
        self._patience.failed(_told(response), is_refusal=True)
        return Answer("", fault=Fault.REFUSED)


def _is_about_the_text(response: httpx.Response | _Later) -> bool:
    return isinstance(response, httpx.Response) and response.status_code in _ABOUT_THE_TEXT


def _told(response: httpx.Response) -> str:
    return f"status {response.status_code}, {' '.join(response.text.split())[:_DETAIL_CHARS]!r}"
