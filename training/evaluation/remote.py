"""A model behind an OpenAI-compatible address: hosted, plain vLLM, or a server of ours."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import httpx
from pydantic import BaseModel, ValidationError

from adapters.errors import SynthesisFailed
from adapters.ids import LanguagePair
from training.evaluate.scoreboard import Cost
from training.evaluation.engine import Made, OnProgress
from training.synthesis.asking import USER, Asking
from training.synthesis.backoff import Backoff
from training.synthesis.endpoint import Endpoint, Server
from training.synthesis.translator import Answer, Fault, Job

_CARD_TIMEOUT_S: Final = 20.0
_LACK: Final = frozenset({Fault.REFUSED, Fault.UNANSWERED})
# Our server knows prompt, limits and sampling of an adapter: what is not said is the contract's.
_BY_CONTRACT: Final = {"max_tokens": None, "temperature": None}


class _Facts(BaseModel):
    """What a server of ours says of an adapter."""

    pairs: tuple[str, ...] = ()
    version: int | None = None
    digest: str = ""


class _Card(BaseModel):
    dragoman: _Facts | None = None


@dataclass(frozen=True)
class Remote:
    """A model of a server. Nothing is sent before it is asked, or its pair is.

    prompt: in place of the contract's on a server of ours, and of our own elsewhere.
    """

    server: Server
    prompt: str | None = None
    backoff: Backoff = field(default_factory=Backoff)
    trained_on: Sequence[Mapping[str, Any]] = ()

    @cached_property
    def contract(self) -> _Facts | None:
        """What a server of ours says of an adapter; None elsewhere. Raises SynthesisFailed."""
        return _facts_of(self.server)

    @property
    def name(self) -> str:
        """The served name."""
        return self.server.model

    @property
    def pair(self) -> LanguagePair | None:
        """The pair of an adapter of ours, if it has one only."""
        if self.contract is None or len(self.contract.pairs) != 1:
            return None
        return LanguagePair.parse(self.contract.pairs[0])

    @property
    def notes(self) -> dict[str, str]:
        """The address without a query (which may hold a key), and how it is asked."""
        url = httpx.URL(self.server.completions)
        asked = "by its contract" if self._is_by_contract else f"prompt {self._user!r}"
        version = self.contract.version if self.contract else None
        return {
            "endpoint": f"{url.scheme}://{url.netloc.decode()}{url.path}",
            "asked": asked,
            **({"version": str(version)} if version is not None else {}),
            "requests at a time": str(self.server.concurrency),
        }

    def answer(self, texts: Sequence[str], pair: LanguagePair, on_progress: OnProgress) -> Made:
        """Return the translations. Raises SynthesisFailed where asking further is of no use."""
        more = _BY_CONTRACT if self._is_by_contract else {}
        endpoint = Endpoint(self.server, Asking(pair, self._user, more=more), self.backoff)
        # Equal texts are asked each for itself, so that time and tokens are those of the test set.
        jobs = (Job(text, place) for place, text in enumerate(texts) if text.strip())
        answers: dict[int, Answer] = {}
        began = time.monotonic()
        for job, answer in endpoint.translate(jobs):
            answers[job.sample] = answer
            on_progress(1)
        return _made(answers, len(texts), time.monotonic() - began)

    @property
    def _is_by_contract(self) -> bool:
        return self.contract is not None and self.prompt is None

    @property
    def _user(self) -> str:
        return self.prompt or ("{text}" if self.contract is not None else USER)


def _facts_of(server: Server) -> _Facts | None:
    completions = httpx.URL(server.completions)
    root = completions.path.removesuffix("/chat/completions")
    # A served name may hold a slash, as names of hubs do.
    url = completions.copy_with(path=f"{root}/models/{server.model}")
    headers = {"authorization": f"Bearer {server.key}"} if server.key else {}
    try:
        response = httpx.get(url, headers=headers, timeout=_CARD_TIMEOUT_S)
    except httpx.ConnectError as error:
        raise SynthesisFailed(
            f"{server.url}: cannot be reached ({error}); check --url, and that the server runs"
        ) from error
    except httpx.RequestError:
        return None  # not every server shows cards
    if not response.is_success:
        return None
    try:
        return _Card.model_validate_json(response.content).dragoman
    except ValidationError:
        return None


def _made(answers: Mapping[int, Answer], texts: int, seconds: float) -> Made:
    found = answers.values()
    return Made(
        [answers[n].text if n in answers else "" for n in range(texts)],
        Cost(
            sum(answer.prompt_tokens for answer in found),
            sum(answer.completion_tokens for answer in found),
            seconds,
        ),
        cut=sum(answer.fault is Fault.CUT for answer in found),
        missing=sum(answer.fault in _LACK for answer in found),
    )
