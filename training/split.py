"""Train, dev and test: whole documents (or hashes of the source), and nothing in two of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import Field

from adapters.errors import DataInvalid
from training.corpus.segment import Segment
from training.section import Section

# `auto` splits by document only where documents are many and none of them is most of the text.
_MANY_DOCUMENTS: Final = 30
_LARGE_SHARE: Final = 0.2
# A document that would overfill a part by more than this is left for training.
_OVERFILL: Final = 1.25


class SplitRule(Section):
    """How the segments are divided. The same segments and seed give the same split, everywhere."""

    by: Literal["auto", "document", "hash"] = Field(
        default="auto", description="documents, or hashes of the source where documents are few"
    )
    dev: int = Field(default=60, ge=0, description="segments that choose nothing but show the loss")
    test: int = Field(default=120, ge=1, description="segments that no training sees")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Split:
    """The three parts; `removed` were train or dev pairs whose source is also in a later part."""

    train: list[Segment]
    dev: list[Segment]
    test: list[Segment]
    by: Literal["document", "hash"]
    removed: int

    def counts(self) -> dict[str, Any]:
        """Return the sizes for the report."""
        return {
            "by": self.by,
            "train": len(self.train),
            "dev": len(self.dev),
            "test": len(self.test),
            "removed_as_leak": self.removed,
        }


def normalise(source: str) -> str:
    """Return `source` as leakage sees it: no case, no spacing, no punctuation at the end."""
    text = " ".join(unicodedata.normalize("NFKC", source).casefold().split())
    end = len(text)
    while end and unicodedata.category(text[end - 1])[0] in "PZ":
        end -= 1
    return text[:end]


def split(segments: list[Segment], rule: SplitRule) -> Split:
    """Return the parts; their normalised sources are disjoint. Raises DataInvalid if too few."""
    by = _by(segments, rule)
    units = _units(segments, (lambda s: s.document) if by == "document" else _source_key)
    order = sorted(units, key=lambda name: _rank(name, rule.seed))
    test = _take(order, units, rule.test)
    dev = _take([name for name in order if name not in test], units, rule.dev)
    _require(rule, units, test=test, dev=dev, by=by)
    parts = {"test": test, "dev": dev, "train": set(order) - test - dev}
    chosen = {
        part: [segment for name in order if name in names for segment in units[name]]
        for part, names in parts.items()
    }
    return _without_leaks(chosen, by)


def leaked(train: Iterable[Segment], held_out: Iterable[Segment]) -> set[str]:
    """Return the normalised sources that occur in both."""
    return {normalise(s.source) for s in train} & {normalise(s.source) for s in held_out}


def _by(segments: list[Segment], rule: SplitRule) -> Literal["document", "hash"]:
    if rule.by != "auto":
        return rule.by
    sizes = Counter(segment.document for segment in segments)
    many = len(sizes) >= _MANY_DOCUMENTS
    even = max(sizes.values(), default=0) <= _LARGE_SHARE * len(segments)
    return "document" if many and even else "hash"


def _source_key(segment: Segment) -> str:
    return normalise(segment.source)


def _units(segments: list[Segment], key: Callable[[Segment], str]) -> dict[str, list[Segment]]:
    units: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        units[key(segment)].append(segment)
    return dict(units)


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")).digest()


def _take(order: list[str], units: dict[str, list[Segment]], size: int) -> set[str]:
    taken: set[str] = set()
    count = 0
    for name in order:
        if count >= size:
            break
        if count + len(units[name]) <= max(size * _OVERFILL, size + 1):
            taken.add(name)
            count += len(units[name])
    return taken


def _require(
    rule: SplitRule, units: dict[str, list[Segment]], *, test: set[str], dev: set[str], by: str
) -> None:
    in_test, in_dev = (sum(len(units[name]) for name in names) for names in (test, dev))
    total = sum(map(len, units.values()))
    rest = total - in_test - in_dev
    if in_test < rule.test or in_dev < rule.dev or rest < 1:
        raise DataInvalid(
            f"split by {by}: {total} segments in {len(units)} units give "
            f"test {in_test} of {rule.test}, dev {in_dev} of {rule.dev}, train {rest}; "
            "add data, lower split.test and split.dev, or set split.by: hash"
        )


def _without_leaks(parts: dict[str, list[Segment]], by: Literal["document", "hash"]) -> Split:
    test = parts["test"]
    seen = {normalise(s.source) for s in test}
    dev = [s for s in parts["dev"] if normalise(s.source) not in seen]
    seen |= {normalise(s.source) for s in dev}
    train = [s for s in parts["train"] if normalise(s.source) not in seen]
    removed = len(parts["dev"]) + len(parts["train"]) - len(dev) - len(train)
    return Split(train, dev, test, by, removed)
