"""Terms: how many of a glossary's terms in the sources are translated as the glossary says."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.term_hints import Term
from training.augment.pieces import MARKS, UNSPACED
from training.augment.terms import occurs, pattern_of
from training.corpus.reading import Reading
from training.corpus.tsv import read_tsv
from training.evaluate.probes.probe import Example, ProbeResult

# A term is no part of a longer word; scripts without spaces have no such ends.
_INNER: Final = rf"(?:[^\W{UNSPACED}]|[{MARKS}])"
_WORD: Final = re.compile(rf"[{UNSPACED}]|{_INNER}+")
_NAME: Final = "terms"


@dataclass(frozen=True)
class TermAccuracy:
    """Of `count` terms in sources, each once a source, `found` have their translation.

    `missed` counts the others by how they should have been translated, the commonest first.
    """

    count: int
    found: int
    missed: tuple[tuple[Term, int], ...]
    examples: tuple[Example, ...]

    def result(self) -> ProbeResult:
        """Return the share as a result; without a value where no source has a term."""
        if not self.count:
            return ProbeResult.unmeasured(_NAME, "not measured: no source has a term of the list")
        note = f"{self.found} of {self.count} terms in the sources are translated as the list says"
        value = 100 * self.found / self.count
        marks = f"probe:{_NAME}|terms:{self.count}|case:ignored|inflected:missed"
        return ProbeResult(_NAME, value, self.count, self.examples, note, marks)


class TermList:
    """Terms of one direction, found by the first of their words; one may have several targets."""

    def __init__(self, terms: Iterable[Term]) -> None:
        self._targets: dict[str, list[str]] = defaultdict(list)
        self._by_start: dict[str, list[str]] = defaultdict(list)
        for source, target in dict.fromkeys(map(_normal, terms)):
            words = _words(source)
            if not words or not target:
                continue
            if source not in self._targets:
                self._by_start[words[0]].append(source)
            self._targets[source].append(target)

    def in_source(self, text: str) -> Mapping[str, list[str]]:
        """Return the terms of `text` with their targets.

        What is only part of a longer term there is none: `node pool` is not about `node`.
        """
        starts = dict.fromkeys(_words(text))
        listed = (term for start in starts for term in self._by_start.get(start, ()))
        found: dict[str, list[str]] = {}
        for term in sorted(listed, key=lambda term: (-len(term), term)):
            text, times = pattern_of(term).subn("\0", text)
            if times:
                found[term] = self._targets[term]
        return found


def read_term_list(path: Path, pair: LanguagePair) -> TermList:
    """Return the terms of a tab-separated file, as recipes have them. Raises DataInvalid."""
    if not path.is_file():
        raise DataInvalid(
            f"{path}: no such file; a list of terms is tab-separated text, a source term and its "
            "translation in each line"
        )
    rows = read_tsv(path, Reading(pair))
    return TermList(Term(row.source, row.target) for row in rows)


def term_accuracy(rows: Iterable[tuple[str, str]], terms: TermList) -> TermAccuracy:
    """Return how the hypotheses of (source, hypothesis) rows keep to the list.

    Case does not matter. An inflected target is missed unless the list has it, too.
    """
    count = 0
    missed: Counter[Term] = Counter()
    examples: list[Example] = []
    for row in rows:
        source, hypothesis = map(_nfc, row)
        for term, targets in terms.in_source(source).items():
            count += 1
            if not any(occurs(target, hypothesis) for target in targets):
                missed[Term(term, " | ".join(targets))] += 1
                examples.append(Example(*row, f"expected {term} = {' | '.join(targets)}"))
    found = count - missed.total()
    return TermAccuracy(count, found, tuple(missed.most_common()), tuple(examples))


def _normal(term: Term) -> Term:
    # Case does not tell terms apart, and must not hide that a term has several targets.
    return Term(_nfc(term.source).strip().lower(), _nfc(term.target).strip())


def _words(text: str) -> list[str]:
    return [match[0] for match in _WORD.finditer(text.lower())]


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
