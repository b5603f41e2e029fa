"""How the candidate, the base with examples, and the version in use translate the test set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapters.ids import LanguagePair
from adapters.manifest import Golden
from adapters.prompt import Example, PromptFormat
from adapters.registry import Published
from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.evaluate.few_shot import BaseFormat, base_formats
from training.evaluate.metrics import chrf
from training.evaluate.scores import Outputs
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.evaluate.generate import Generated, Generator

# docs/adr/0005-golden-check.md: what tells adapters apart at the least cost to the server.
_GOLDEN: Final = 4
_GOLDEN_AMONG: Final = 16
_GOLDEN_TOKENS: Final = 8
_TELLING_TOKENS: Final = 5
_GOLDEN_CHARS: Final = range(1, 121)
_CHOICE_SEGMENTS: Final = 16
# What an example should show: a sentence or a name of some length, nothing that fills the prompt.
_EXAMPLE_CHARS: Final = range(15, 121)
_COLUMNS: Final = (
    "sources", "references", "candidate", "base", "current", "zero_shot", "start",
)  # fmt: skip


@dataclass(frozen=True)
class Assessed:
    """The outputs, answers that must come again wherever it is served, and the base's prompt."""

    outputs: Outputs
    golden: tuple[Golden, ...]
    base_asked: str
    zero_shot_asked: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; from_json reads them back."""
        return {
            **{name: getattr(self.outputs, name) for name in _COLUMNS},
            "golden": [golden.model_dump(mode="json") for golden in self.golden],
            "base_asked": self.base_asked,
            "zero_shot_asked": self.zero_shot_asked,
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Assessed:
        """Return what to_json wrote."""
        golden = tuple(Golden(**golden) for golden in body["golden"])
        outputs = Outputs(**{name: body[name] for name in _COLUMNS})
        return cls(outputs, golden, body["base_asked"], body["zero_shot_asked"])


@dataclass(frozen=True)
class Systems:
    """What is compared: the adapter in `candidate`, its base, and the version in use, if any.

    `start` is the folder of the adapter that training went on from, if any.
    """

    recipe: Recipe
    base: Path
    candidate: Path
    current: Published | None
    on_progress: Callable[[int], None]
    start: Path | None = None

    def assess(
        self, test: Sequence[Segment], dev: Sequence[Segment], examples: Sequence[Example]
    ) -> Assessed:
        """Return all translations of `test`: greedy, with the same limits and stop tokens.

        All segments and `examples` are of one language pair.
        `dev` decides how the base is asked. The candidate decodes as it will when served.
        """
        own = self.recipe.prompt.complete(self.base)
        asked, base = self._base(test, dev, examples)
        bare, zero_shot = (
            self._base(test, dev, []) if self.recipe.evaluate.zero_shot else (None,) * 2
        )
        candidate = self._answers(own, test, adapter="candidate")
        current = None
        if self.current is not None:
            prompt = self.current.manifest.prompt
            current = [a.text for a in self._answers(prompt, test, adapter="current")]
        outputs = Outputs(
            sources=[segment.source for segment in test],
            references=[segment.target for segment in test],
            candidate=[answer.text for answer in candidate],
            base=base,
            current=current,
            start=self._start_texts(own, test),
            zero_shot=zero_shot,
        )
        return Assessed(outputs, self._golden(own, test, candidate), asked, bare)

    def _start_texts(self, own: PromptFormat, test: Sequence[Segment]) -> list[str] | None:
        if self.start is None:
            return None
        return [answer.text for answer in self._answers(own, test, adapter="start")]

    @cached_property
    def _generator(self) -> Generator:
        from training.evaluate.generate import Generator

        folders = {"candidate": self.candidate}
        if self.current is not None:
            folders["current"] = self.current.folder
        if self.start is not None:
            folders["start"] = self.start
        return Generator.load(self.base, folders)

    @cached_property
    def _tokenizer(self) -> BaseTokenizer:
        return BaseTokenizer.load(self.base)

    def _base(
        self, test: Sequence[Segment], dev: Sequence[Segment], examples: Sequence[Example]
    ) -> tuple[str, list[str]]:
        formats = base_formats(self.recipe, self.base, examples, self._tokenizer)
        asked = self._better(formats, dev[:_CHOICE_SEGMENTS])
        return asked.name, self._base_texts(asked, test)

    def _better(self, formats: Sequence[BaseFormat], dev: Sequence[Segment]) -> BaseFormat:
        references = [segment.target for segment in dev]
        if not references:
            return formats[0]
        return max(formats, key=lambda f: chrf(self._base_texts(f, dev), references).value)

    def _base_texts(self, asked: BaseFormat, segments: Sequence[Segment]) -> list[str]:
        texts: dict[int, str] = {}
        stops = [asked.stop_token_ids(segment.source) for segment in segments]
        for stop_token_ids in sorted(set(stops)):
            chosen = [n for n, mine in enumerate(stops) if mine == stop_token_ids]
            group = [segments[n] for n in chosen]
            answers = self._answers(asked.prompt, group, adapter=None, stops=stop_token_ids)
            for n, answer in zip(chosen, answers, strict=True):
                texts[n] = asked.trim(answer.text, segments[n].source)
        return [texts[n] for n in range(len(segments))]

    def _answers(
        self,
        fmt: PromptFormat,
        segments: Sequence[Segment],
        *,
        adapter: str | None,
        stops: Sequence[int] = (),
    ) -> list[Generated]:
        decoding = self.recipe.decoding
        return self._generator.generate(
            self._prompts(fmt, segments),
            stop_token_ids=stops or fmt.stop_token_ids,
            max_tokens=[
                decoding.max_tokens(len(self._tokenizer.encode_text(s.source))) for s in segments
            ],
            adapter=adapter,
            batch_size=self.recipe.evaluate.batch_size,
            on_progress=self.on_progress,
        )

    def _golden(
        self, fmt: PromptFormat, test: Sequence[Segment], answers: Sequence[Generated]
    ) -> tuple[Golden, ...]:
        short = [n for n, s in enumerate(test) if len(s.source) in _GOLDEN_CHARS]
        among = (short or [*range(len(test))])[:_GOLDEN_AMONG]
        asked = [test[n] for n in among]
        ids = [list(answers[n].token_ids[:_GOLDEN_TOKENS]) for n in among]
        logprobs = self._generator.logprobs(self._prompts(fmt, asked), ids, adapter="candidate")
        return most_telling(
            Golden(source=segment.source, token_ids=tuple(answer), logprob=round(logprob, 4))
            for segment, answer, logprob in zip(asked, ids, logprobs, strict=True)
        )

    def _prompts(self, fmt: PromptFormat, segments: Sequence[Segment]) -> list[list[int]]:
        own = self.recipe.pair
        return [fmt.encode(s.source, s.pair or own, self._tokenizer) for s in segments]


def most_telling(answers: Iterable[Golden]) -> tuple[Golden, ...]:
    """Return the few that tell this adapter from others best, the best first.

    Every adapter is sure of a short, plain answer. The least certain one of some length differs
    even between two runs of one recipe.
    """
    best = sorted(answers, key=lambda g: (len(g.token_ids) < _TELLING_TOKENS, g.logprob))
    return tuple(best[:_GOLDEN])


def steps_of(*, test: int, dev: int, systems: int, bases: int) -> int:
    """Return how many segments `assess` decodes with so many of each, for a progress bar."""
    return test * (systems + bases) + 2 * bases * min(dev, _CHOICE_SEGMENTS)


def examples_from(train: Sequence[Segment], shots: int) -> list[Example]:
    """Return the base's examples: the first training pairs of a middling length.

    Where none is, as with articles, the shortest.
    """
    fitting = [s for s in train if len(s.source) in _EXAMPLE_CHARS]
    fitting = fitting or sorted(train, key=lambda s: len(s.source))
    return [Example(source=s.source, target=s.target) for s in fitting[:shots]]


def name_of_test_set(recipe: Recipe, test: Sequence[Segment], pair: LanguagePair) -> str:
    """Return a name of the test set that tells whether two scores are of the same text."""
    text = "\n".join(f"{segment.source}\t{segment.target}" for segment in test)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    of = recipe.id if len(recipe.pairs) == 1 else f"{recipe.id} {pair}"
    return f"{of} test, {len(test)} segments, sha256:{digest}"
