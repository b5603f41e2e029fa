"""How the candidate, the base with examples, and the version in use translate the test set."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.manifest import Golden
from adapters.prompt import Example, PromptFormat
from adapters.registry import Published
from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.evaluate.scores import Outputs
from training.recipe import Recipe

_GOLDEN: Final = 4
# What an example should show: a sentence or a name of some length, nothing that fills the prompt.
_EXAMPLE_CHARS: Final = range(15, 121)


@dataclass(frozen=True)
class Assessed:
    """The outputs, and answers of the candidate that must come again wherever it is served."""

    outputs: Outputs
    golden: tuple[Golden, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; from_json reads them back."""
        return {
            **{name: getattr(self.outputs, name) for name in _COLUMNS},
            "golden": [golden.model_dump(mode="json") for golden in self.golden],
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Assessed:
        """Return what to_json wrote."""
        golden = tuple(Golden(**golden) for golden in body["golden"])
        return cls(Outputs(**{name: body[name] for name in _COLUMNS}), golden)


_COLUMNS: Final = ("sources", "references", "candidate", "base", "current")


@dataclass(frozen=True)
class Systems:
    """What is compared: the adapter in `candidate`, its base, and the version in use, if any."""

    recipe: Recipe
    base: Path
    candidate: Path
    current: Published | None

    def assess(
        self,
        test: Sequence[Segment],
        examples: Sequence[Example],
        *,
        on_progress: Callable[[int], None],
    ) -> Assessed:
        """Return all translations of `test`, decoded greedily with the same limits and stops."""
        from training.evaluate.generate import Generator

        folders = {"candidate": self.candidate}
        if self.current is not None:
            folders["current"] = self.current.folder
        generator = Generator.load(self.base, folders)
        tokenizer = BaseTokenizer.load(self.base)
        sources = [segment.source for segment in test]
        limits = [self.recipe.decoding.max_tokens(len(tokenizer.encode_text(s))) for s in sources]

        def prompts(fmt: PromptFormat) -> list[list[int]]:
            return [fmt.encode(source, self.recipe.pair, tokenizer) for source in sources]

        def answers(fmt: PromptFormat, adapter: str | None) -> Any:
            return generator.generate(
                prompts(fmt),
                stop_token_ids=fmt.stop_token_ids,
                max_tokens=limits,
                adapter=adapter,
                batch_size=self.recipe.evaluate.batch_size,
                on_progress=on_progress,
            )

        own = self.recipe.prompt.complete(self.base)
        with_examples = self.recipe.prompt.complete(self.base, examples=tuple(examples))
        candidate = answers(own, "candidate")
        base = answers(with_examples, None)
        current = answers(self.current.manifest.prompt, "current") if self.current else None
        golden_ids = [list(answer.token_ids) for answer in candidate[:_GOLDEN]]
        logprobs = generator.logprobs(prompts(own)[:_GOLDEN], golden_ids, adapter="candidate")
        return Assessed(
            Outputs(
                sources=sources,
                references=[segment.target for segment in test],
                candidate=[answer.text for answer in candidate],
                base=[answer.text for answer in base],
                current=[answer.text for answer in current] if current else None,
            ),
            tuple(
                Golden(source=source, token_ids=tuple(ids), logprob=round(logprob, 4))
                for source, ids, logprob in zip(sources, golden_ids, logprobs, strict=False)
            ),
        )


def examples_from(train: Sequence[Segment], shots: int) -> list[Example]:
    """Return the base's examples: the first training pairs of a middling length."""
    fitting = [s for s in train if len(s.source) in _EXAMPLE_CHARS] or list(train)
    return [Example(source=s.source, target=s.target) for s in fitting[:shots]]


def test_set_name(recipe: Recipe, test: Sequence[Segment]) -> str:
    """Return a name of the test set that tells whether two scores are of the same text."""
    text = "\n".join(f"{segment.source}\t{segment.target}" for segment in test)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{recipe.id} test, {len(test)} segments, sha256:{digest}"
