"""Asker: a base with adapters beside it, asked for translations without a server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adapters.prompt import Example, PromptFormat
from adapters.tokenizer import BaseTokenizer
from training.corpus.segment import Segment
from training.evaluate.few_shot import BaseFormat, base_formats
from training.evaluate.metrics import chrf
from training.recipe import Recipe

if TYPE_CHECKING:
    from training.evaluate.generate import Generated, Generator

# Segments of dev that decide how the base is asked.
CHOICE_SEGMENTS: Final = 16
ExamplesOf = Callable[[Segment], Sequence[Example]]


@dataclass(frozen=True)
class Asked:
    """The base's translations, how it was asked, and what that took."""

    how: str
    texts: list[str]
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Asker:
    """The base of a recipe with the folders of `adapters` by name; loaded when first asked.

    All is decoded greedily, in batches, with the recipe's limits on the length of an answer.
    `on_progress` gets the number of segments done since its last call.
    """

    recipe: Recipe
    base: Path
    adapters: Mapping[str, Path]
    on_progress: Callable[[int], None]

    @cached_property
    def generator(self) -> Generator:
        """The model in memory."""
        from training.evaluate.generate import Generator

        return Generator.load(self.base, dict(self.adapters))

    @cached_property
    def tokenizer(self) -> BaseTokenizer:
        """The base's."""
        return BaseTokenizer.load(self.base)

    @cached_property
    def own_prompt(self) -> PromptFormat:
        """What an adapter of the recipe is asked."""
        return self.recipe.prompt.complete(self.base)

    def answers(
        self, name: str, segments: Sequence[Segment], *, prompt: PromptFormat | None = None
    ) -> list[Generated]:
        """Return the answers of the adapter `name`; `prompt` is the recipe's unless given."""
        fmt = prompt or self.own_prompt
        return self._generate(self.prompts(fmt, segments), segments, fmt.stop_token_ids, name)

    def prompts(self, fmt: PromptFormat, segments: Sequence[Segment]) -> list[list[int]]:
        """Return the segments' prompts as token ids."""
        return [fmt.encode(s.source, s.pair or self.recipe.pair, self.tokenizer) for s in segments]

    def base_answers(
        self, test: Sequence[Segment], dev: Sequence[Segment], examples: ExamplesOf
    ) -> Asked:
        """Return the base's translations, asked in turns or as plain text: what is better on dev.

        `examples` returns what the base is shown before a segment.
        """
        ways = [way.name for way in self._ways(())]
        chosen, references = dev[:CHOICE_SEGMENTS], [s.target for s in dev[:CHOICE_SEGMENTS]]
        if not chosen:
            return self._asked(ways[0], test, examples)
        tried = {way: self._asked(way, chosen, examples).texts for way in ways}
        best = max(ways, key=lambda way: chrf(tried[way], references).value)
        return self._asked(best, test, examples)

    def _ways(self, examples: Sequence[Example]) -> list[BaseFormat]:
        return base_formats(self.recipe, self.base, examples, self.tokenizer)

    def _asked(self, how: str, segments: Sequence[Segment], examples: ExamplesOf) -> Asked:
        known: dict[tuple[Example, ...], BaseFormat] = {}

        def way(segment: Segment) -> BaseFormat:
            shown = tuple(examples(segment))
            if shown not in known:
                known[shown] = next(one for one in self._ways(shown) if one.name == how)
            return known[shown]

        ways = [way(segment) for segment in segments]
        prompts = [
            way.prompt.encode(s.source, s.pair or self.recipe.pair, self.tokenizer)
            for way, s in zip(ways, segments, strict=True)
        ]
        stops = [way.stop_token_ids(s.source) for way, s in zip(ways, segments, strict=True)]
        answers: dict[int, Generated] = {}
        for stop_token_ids in sorted(set(stops)):
            places = [n for n, mine in enumerate(stops) if mine == stop_token_ids]
            group = [segments[n] for n in places]
            found = self._generate([prompts[n] for n in places], group, stop_token_ids, None)
            answers |= dict(zip(places, found, strict=True))
        return Asked(
            how,
            [ways[n].trim(answers[n].text, s.source) for n, s in enumerate(segments)],
            prompt_tokens=sum(map(len, prompts)),
            completion_tokens=sum(len(answer.token_ids) for answer in answers.values()),
        )

    def _generate(
        self,
        prompts: list[list[int]],
        segments: Sequence[Segment],
        stop_token_ids: Sequence[int],
        adapter: str | None,
    ) -> list[Generated]:
        decoding = self.recipe.decoding
        return self.generator.generate(
            prompts,
            stop_token_ids=stop_token_ids,
            max_tokens=[
                decoding.max_tokens(len(self.tokenizer.encode_text(s.source))) for s in segments
            ],
            adapter=adapter,
            batch_size=self.recipe.evaluate.batch_size,
            on_progress=self.on_progress,
        )
