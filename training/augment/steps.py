"""Steps: the changes that a recipe asks for, each of a segment and the dice thrown for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import Final

from adapters.ids import LanguagePair
from adapters.prompt import Example
from training.augment import casing, noise
from training.augment.nearest import Nearest
from training.augment.noise import Vocabulary
from training.augment.pieces import marks
from training.augment.rules import AugmentRules, ExamplesRule, TermsRule
from training.augment.tags import insert_tags
from training.augment.terms import Terms, hint
from training.corpus.segment import Segment

Change = Callable[[Segment, Random], Segment]
# The same kind of mark in all scripts, by the one that stands for it.
_ENDS: Final[Mapping[str, str]] = {
    **dict.fromkeys(".\u3002\uff0e\u0964\u06d4\u1362\u0589", "."),
    **dict.fromkeys("!\uff01", "!"),
    **dict.fromkeys("?\uff1f\u061f", "?"),
}
_LAST_MARK: Final = re.compile(rf"(?<![{''.join(_ENDS)}\s])[{''.join(_ENDS)}]\Z")


@dataclass(frozen=True)
class Corpus:
    """What changes of one segment take from the others: words by language, pairs, terms by pair."""

    pair: LanguagePair  # of segments that do not say theirs
    vocabularies: Mapping[str, Vocabulary]
    nearest: Nearest
    terms: Mapping[LanguagePair, Terms]

    def pair_of(self, segment: Segment) -> LanguagePair:
        """Return the languages of a segment."""
        return segment.pair or self.pair


def noise_steps(rules: AugmentRules, corpus: Corpus) -> Iterator[tuple[str, Change]]:
    """Yield the changes of the source's words, by their key in the recipe."""
    dropout = partial(noise.drop_words, share=rules.dropped_words)
    yield "word_dropout", partial(_of_source, change=dropout)
    shuffled = partial(noise.shuffle_words, distance=rules.shuffle_distance)
    yield "shuffle", partial(_of_source, change=shuffled)
    yield "insertion", partial(_insert, share=rules.inserted_words, corpus=corpus)
    typos = partial(noise.misspell, share=rules.misspelt_words)
    yield "typos", partial(_of_source, change=typos)
    yield "punctuation", partial(_of_source, change=lambda text, _: noise.drop_punctuation(text))


def casing_steps(corpus: Corpus) -> Iterator[tuple[str, Change]]:
    """Yield the changes of casing, by their key in the recipe."""
    yield "upper", partial(_cased, change=casing.upper, corpus=corpus)
    yield "title", partial(_cased, change=casing.title, corpus=corpus)
    yield "lower", partial(_small, corpus=corpus)


def steps(rules: AugmentRules, corpus: Corpus) -> Iterator[tuple[str, Change]]:
    """Yield every change in the order in which they are made, by its key in the recipe."""
    # Tags first: what follows leaves them where they are. Terms last: noise would break the hints.
    yield "tags", insert_tags
    yield from noise_steps(rules, corpus)
    yield from casing_steps(corpus)
    yield "end_punctuation", _without_end
    if rules.terms is not None:
        yield "terms", partial(_hinted, rule=rules.terms, corpus=corpus)


def examples_for(
    segment: Segment, dice: Random, rule: ExamplesRule, corpus: Corpus
) -> tuple[Example, ...]:
    """Return the examples to show with a segment, the most similar last."""
    wanted = dice.randint(1, rule.most)
    found = corpus.nearest.like(segment, most=wanted, min_overlap=rule.min_overlap)
    return tuple(Example(source=near.source, target=near.target) for near in found)


def _of_source(segment: Segment, dice: Random, change: Callable[[str, Random], str]) -> Segment:
    return _changed(segment, change(segment.source, dice), segment.target)


def _insert(segment: Segment, dice: Random, share: float, corpus: Corpus) -> Segment:
    vocabulary = corpus.vocabularies[corpus.pair_of(segment).source]
    text = noise.insert_words(segment.source, dice, share=share, vocabulary=vocabulary)
    return _changed(segment, text, segment.target)


def _cased(
    segment: Segment, _: Random, change: Callable[[str, str], str], corpus: Corpus
) -> Segment:
    pair = corpus.pair_of(segment)
    source = change(segment.source, pair.source)
    # One name in capitals among Chinese is no shout, and its translation is none, either.
    if source == segment.source or not casing.has_case(segment.source):
        return segment
    return _changed(segment, source, change(segment.target, pair.target))


def _small(segment: Segment, _: Random, corpus: Corpus) -> Segment:
    source = casing.lower(segment.source, corpus.pair_of(segment).source)
    return _changed(segment, source, segment.target)


def _without_end(segment: Segment, _: Random) -> Segment:
    texts = (segment.source, segment.target)
    ends = [_LAST_MARK.search(text) for text in texts]
    if not all(ends) or len({_ENDS[end[0]] for end in ends if end}) > 1:
        return segment
    return _changed(segment, *(text[:-1] for text in texts))


def _hinted(segment: Segment, dice: Random, rule: TermsRule, corpus: Corpus) -> Segment:
    terms = corpus.terms.get(corpus.pair_of(segment), Terms())
    return hint(segment, dice, rule, terms)


def _changed(segment: Segment, source: str, target: str) -> Segment:
    """Return the segment with these texts, or as it was where markup would not survive."""
    texts: Sequence[tuple[str, str]] = ((segment.source, source), (segment.target, target))
    for old, new in texts:
        if old != new and (not new.strip() or marks(old) != marks(new)):
            return segment
    return replace(segment, source=source, target=target)
