"""How the candidate, the base with examples, and the version in use translate the test set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adapters.ids import LanguagePair
from adapters.manifest import Golden
from adapters.prompt import Example
from adapters.registry import Published
from training.asker import CHOICE_SEGMENTS, Asker
from training.corpus.segment import Segment
from training.elsewhere import Kept, OtherText, kept
from training.evaluate.probes import ProbeResult, run_probes
from training.evaluate.scoreboard import TestSet
from training.evaluate.scores import Outputs
from training.likelihoods import Likelihoods, likelihoods
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.evaluate.generate import Generated

# docs/adr/0005-golden-check.md: what tells adapters apart at the least cost to the server.
_GOLDEN: Final = 4
_GOLDEN_AMONG: Final = 16
_GOLDEN_TOKENS: Final = 8
_TELLING_TOKENS: Final = 5
_GOLDEN_CHARS: Final = range(1, 121)


_CANDIDATE, _CURRENT, _START = "candidate", "current", "start"
_COLUMNS: Final = (
    "sources", "references", "candidate", "base", "current", "zero_shot", "start",
)  # fmt: skip


@dataclass(frozen=True)
class HeldOut:
    """What one pair is measured on; the base is shown examples of `train`."""

    pair: LanguagePair
    test: Sequence[Segment]
    dev: Sequence[Segment]
    train: Sequence[Segment]


@dataclass(frozen=True)
class Assessed:
    """The outputs, answers that must come again wherever it is served, and the base's prompt."""

    outputs: Outputs
    golden: tuple[Golden, ...]
    base_asked: str
    zero_shot_asked: str | None = None
    likelihoods: Likelihoods | None = None
    probes: tuple[ProbeResult, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; from_json reads them back."""
        return {
            **{name: getattr(self.outputs, name) for name in _COLUMNS},
            "golden": [golden.model_dump(mode="json") for golden in self.golden],
            "base_asked": self.base_asked,
            "zero_shot_asked": self.zero_shot_asked,
            "likelihoods": self.likelihoods and self.likelihoods.to_json(),
            "probes": [probe.to_json() for probe in self.probes],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Assessed:
        """Return what to_json wrote."""
        golden = tuple(Golden(**golden) for golden in body["golden"])
        outputs = Outputs(**{name: body[name] for name in _COLUMNS})
        likely = body["likelihoods"] and Likelihoods(**body["likelihoods"])
        probes = tuple(ProbeResult.from_json(probe) for probe in body["probes"])
        return cls(outputs, golden, body["base_asked"], body["zero_shot_asked"], likely, probes)


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

    def assess(self, text: HeldOut, examples: Sequence[Example]) -> Assessed:
        """Return all translations of the test part: greedy, same limits and stop tokens.

        The base is shown `examples`; dev decides how it is asked. The candidate decodes as it will
        when served.
        """
        test, dev = text.test, text.dev
        base = self.asker.base_answers(test, dev, lambda _: examples)
        bare = None
        if self.recipe.evaluate.zero_shot:
            bare = self.asker.base_answers(test, dev, lambda _: ())
        candidate = self.asker.answers(_CANDIDATE, test)
        outputs = Outputs(
            sources=[segment.source for segment in test],
            references=[segment.target for segment in test],
            candidate=[answer.text for answer in candidate],
            base=base.texts,
            current=self._current_texts(test),
            start=self._start_texts(test),
            zero_shot=bare.texts if bare else None,
        )
        return Assessed(
            outputs,
            self._golden(test, candidate),
            base.how,
            bare.how if bare else None,
            likelihoods(self.asker, _CANDIDATE, (text.train, dev, test)),
            self._probes(text.pair),
        )

    def _probes(self, pair: LanguagePair) -> tuple[ProbeResult, ...]:
        if not asks_probes(self.recipe):
            return ()

        def answers(sources: Sequence[str]) -> list[str]:
            asked = [Segment(source, "", "", "", 0, pair) for source in sources]
            return [answer.text for answer in self.asker.answers(_CANDIDATE, asked)]

        return run_probes(answers, pair)

    def kept(self, text: OtherText) -> Kept:
        """Return how the candidate does on text of another kind."""
        return kept(self.asker, _CANDIDATE, text)

    @cached_property
    def asker(self) -> Asker:
        """The base with all adapters that are compared."""
        folders = {_CANDIDATE: self.candidate}
        if self.current is not None:
            folders[_CURRENT] = self.current.folder
        if self.start is not None:
            folders[_START] = self.start
        return Asker(self.recipe, self.base, folders, self.on_progress)

    def _current_texts(self, test: Sequence[Segment]) -> list[str] | None:
        if self.current is None:
            return None
        prompt = self.current.manifest.prompt
        return [answer.text for answer in self.asker.answers(_CURRENT, test, prompt=prompt)]

    def _start_texts(self, test: Sequence[Segment]) -> list[str] | None:
        if self.start is None:
            return None
        return [answer.text for answer in self.asker.answers(_START, test)]

    def _golden(self, test: Sequence[Segment], answers: Sequence[Generated]) -> tuple[Golden, ...]:
        short = [n for n, s in enumerate(test) if len(s.source) in _GOLDEN_CHARS]
        among = (short or [*range(len(test))])[:_GOLDEN_AMONG]
        asked = [test[n] for n in among]
        ids = [list(answers[n].token_ids[:_GOLDEN_TOKENS]) for n in among]
        prompts = self.asker.prompts(self.asker.own_prompt, asked)
        logprobs = self.asker.generator.logprobs(prompts, ids, adapter=_CANDIDATE)
        return most_telling(
            Golden(source=segment.source, token_ids=tuple(answer), logprob=round(logprob, 4))
            for segment, answer, logprob in zip(asked, ids, logprobs, strict=True)
        )


def most_telling(answers: Iterable[Golden]) -> tuple[Golden, ...]:
    """Return the few that tell this adapter from others best, the best first.

    Every adapter is sure of a short, plain answer. The least certain one of some length differs
    even between two runs of one recipe.
    """
    best = sorted(answers, key=lambda g: (len(g.token_ids) < _TELLING_TOKENS, g.logprob))
    return tuple(best[:_GOLDEN])


def asks_probes(recipe: Recipe) -> bool:
    """Whether the candidate is asked the probes, which are of translators."""
    return recipe.evaluate.probes and recipe.task == "translation"


def steps_of(*, test: int, dev: int, systems: int, bases: int) -> int:
    """Return how many segments `assess` decodes with so many of each, for a progress bar."""
    return test * (systems + bases) + 2 * bases * min(dev, CHOICE_SEGMENTS)


def texts_of_test(recipe: Recipe, test: Sequence[Segment], pair: LanguagePair) -> TestSet:
    """Return the test set of one pair; its name tells whether two scores are of the same text."""
    of = recipe.id if len(recipe.pairs) == 1 else f"{recipe.id} {pair}"
    sources, references = [s.source for s in test], [s.target for s in test]
    return TestSet(f"{of} test", pair, sources, references)
