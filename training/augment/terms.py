"""Terms that both sides of a segment have, told before its source as a glossary's are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.term_hints import Term, with_terms
from training.augment.pieces import MARKS, UNSPACED, pieces, words_of
from training.augment.rules import TermsRule
from training.clean.placeholders import placeholders
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.tsv import read_tsv

# A term is no part of a longer word; scripts without spaces have no such ends.
_INNER: Final = rf"(?:[^\W{UNSPACED}]|[{MARKS}])"
_SHORTEST_IDENTICAL: Final = 3


class Terms:
    """The terms of one direction, found by the first of their words."""

    def __init__(self, terms: Iterable[Term] = ()) -> None:
        self._by_start: dict[str, list[Term]] = defaultdict(list)
        for term in sorted({term for term in terms if _is_usable(term)}):
            self._by_start[_tokens(term.source)[0]].append(term)

    def reversed(self) -> Terms:
        """Return the same terms for the other direction."""
        listed = (term for terms in self._by_start.values() for term in terms)
        return Terms(Term(term.target, term.source) for term in listed)

    def in_both(self, source: str, target: str) -> list[Term]:
        """Return the terms that `source` has and `target` translates so, the longest first."""
        starts = dict.fromkeys(_tokens(source))
        listed = (term for start in starts for term in self._by_start.get(start, ()))
        found = [t for t in listed if occurs(t.source, source) and occurs(t.target, target)]
        longest = sorted(found, key=lambda term: (-len(term.source), term))
        kept: list[Term] = []
        for term in longest:
            if not any(occurs(term.source, other.source) for other in kept):
                kept.append(term)
        return kept


def read_terms(path: Path, pair: LanguagePair) -> Terms:
    """Return the terms of a tab-separated file. Raises DataInvalid with path:line."""
    if not path.is_file():
        raise DataInvalid(
            f"{path}: no such file; augment.terms.file is tab-separated text, a source term and "
            "its translation in each line, and its path starts in the recipe's folder"
        )
    rows = read_tsv(path, Reading(pair))
    return Terms(Term(row.source.strip(), row.target.strip()) for row in rows)


def hint(segment: Segment, dice: Random, rule: TermsRule, terms: Terms) -> Segment:
    """Return `segment` with some terms told before its source, if it has any."""
    found = terms.in_both(segment.source, segment.target)
    if rule.identical:
        said = {term.source for term in found}
        found += [term for term in _identical(segment) if term.source not in said]
    if not found:
        return segment
    told = dice.sample(found, dice.randint(1, min(rule.most, len(found))))
    return replace(segment, source=with_terms(segment.source, told))


def _identical(segment: Segment) -> list[Term]:
    theirs = set(words_of(segment.target))
    ours = dict.fromkeys(words_of(segment.source))
    return [Term(w, w) for w in ours if w in theirs and len(w) >= _SHORTEST_IDENTICAL]


def _is_usable(term: Term) -> bool:
    # A placeholder in a hint would be one more than the translation has.
    texts = (term.source, term.target)
    return all(_tokens(text) and not placeholders(text) for text in texts)


def _tokens(text: str) -> Sequence[str]:
    found = (piece.text for piece in pieces(text) if piece.kind != "gap")
    return [token.casefold().strip(".,;:!?()") for token in found]


def occurs(term: str, text: str) -> bool:
    """Return whether `text` has the term, in any case, and not within a longer word."""
    return pattern_of(term).search(text) is not None


def pattern_of(term: str) -> re.Pattern[str]:
    """Return what finds the term; one of several words may stand across a line break."""
    before = f"(?<!{_INNER})" if re.match(_INNER, term) else ""
    after = f"(?!{_INNER})" if re.match(_INNER, term[-1]) else ""
    words = r"\s+".join(map(re.escape, term.split()))
    return re.compile(f"{before}{words}{after}", re.IGNORECASE)
