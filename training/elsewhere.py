"""Elsewhere: what an adapter does to text of other kinds and pairs than it was trained for."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.asker import CHOICE_SEGMENTS, Asker
from training.corpus.segment import Segment
from training.corpus.source import Source
from training.encode_text import TextPacker
from training.evaluate.bootstrap import Comparison, compare
from training.evaluate.label_perplexity import label_perplexity
from training.evaluate.perplexity import split_first
from training.examples import examples_from
from training.recipe import Recipe

_LEAST: Final = 8


@dataclass(frozen=True)
class OtherText:
    """One source of text of another kind: what is translated, and what shows the base how."""

    name: str
    pair: LanguagePair
    test: Sequence[Segment]
    shown: Sequence[Segment]
    is_monolingual: bool

    @property
    def digest(self) -> str:
        """12 hex digits over the texts that are translated."""
        text = "\n".join(f"{s.source}\t{s.target}" for s in self.test)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclass(frozen=True)
class Kept:
    """How much of the base an adapter kept on one source of other text.

    `chrf` is the adapter's chrF++ against that of the base with examples, None of monolingual
    text. The perplexities are of the target language's text by itself, without any prompt.
    """

    name: str
    pair: str
    segments: int
    digest: str
    perplexity: float
    base_perplexity: float
    chrf: Comparison | None = None
    base_asked: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; from_json reads them back."""
        chrf = self.chrf and {**vars(self.chrf)}
        return {**vars(self), "chrf": chrf}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Kept:
        """Return what to_json wrote."""
        chrf = body["chrf"]
        if chrf is not None:
            intervals = {name: tuple(chrf[name]) for name in ("ci95", "gain_ci95")}
            chrf = Comparison(**{**chrf, **intervals})
        return cls(**{**body, "chrf": chrf})


def read_elsewhere(recipe: Recipe, trained_on: Iterable[Segment]) -> list[OtherText]:
    """Return the recipe's text of other kinds, without what is also trained on.

    Raises DataInvalid where a source has too little.
    """
    known = {segment.source for segment in trained_on}
    return [_read(source, recipe, known) for source in recipe.evaluate.elsewhere]


def _read(source: Source, recipe: Recipe, known: set[str]) -> OtherText:
    pair = source.pair or recipe.pair
    how = source.reading([pair])
    found = {s.source: s for s in source.read(source.places(recipe.folder, [pair]), [pair], how)}
    fresh = sorted(
        (s for text, s in found.items() if text.strip() and text not in known), key=_chance
    )
    evaluate = recipe.evaluate
    reserved = evaluate.shots + CHOICE_SEGMENTS if source.language is None else 0
    test = fresh[reserved : reserved + evaluate.elsewhere_segments]
    if len(test) < _LEAST:
        raise DataInvalid(
            f"evaluate.elsewhere: {source.location} has {len(fresh)} texts that are not trained "
            f"on, expected at least {reserved + _LEAST}; give more text, or leave the source out"
        )
    name = source.name or source.location
    return OtherText(name, how.pair, test, fresh[:reserved], source.language is not None)


def _chance(segment: Segment) -> str:
    # From all over the files, and the same ones whatever the order of the rows.
    return hashlib.sha256(segment.source.encode("utf-8", "surrogatepass")).hexdigest()


def kept(asker: Asker, adapter: str, text: OtherText) -> Kept:
    """Return how the adapter of that name in `asker` does on `text`, against the base."""
    perplexity, base_perplexity = _perplexities(asker, adapter, text)
    chrf, how = None, ""
    if not text.is_monolingual:
        shots = asker.recipe.evaluate.shots
        examples = examples_from(text.shown, shots)
        others = [s for s in text.shown if s.source not in {e.source for e in examples}]
        base = asker.base_answers(text.test, others, lambda _: examples)
        own = [answer.text for answer in asker.answers(adapter, text.test)]
        chrf = compare(own, base.texts, [s.target for s in text.test])
        how = f"{len(examples)} examples {base.how}"
    return Kept(
        name=text.name,
        pair=str(text.pair),
        segments=len(text.test),
        digest=text.digest,
        perplexity=perplexity,
        base_perplexity=base_perplexity,
        chrf=chrf,
        base_asked=how,
    )


def _perplexities(asker: Asker, adapter: str, text: OtherText) -> tuple[float, float]:
    schedule = asker.recipe.schedule
    packer = TextPacker(asker.own_prompt, asker.tokenizer, schedule.max_length)
    rows = [row for s in text.test for row in packer.pack([s.target])[0] if len(row) > 1]
    pairs = list(zip(*split_first(rows), strict=True))
    own, base = (
        label_perplexity(asker.generator, pairs, adapter=name).value for name in (adapter, None)
    )
    return own, base
