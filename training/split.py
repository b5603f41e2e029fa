"""Train, dev and test: whole documents (or hashes of the source), and nothing in two of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, Literal

from pydantic import Field

from adapters.errors import DataInvalid
from adapters.strict.section import Section
from training.corpus.segment import Segment
from training.corpus.source import PARTS, Part

# `auto` splits by document only where documents are many and none of them is most of the text.
_MANY_DOCUMENTS: Final = 30
_LARGE_SHARE: Final = 0.2
# A document that would overfill a part by more than this is left for training.
_OVERFILL: Final = 1.25

By = Literal["document", "hash", "source"]


class SplitRule(Section):
    """How the segments are divided. The same segments and seed give the same split, everywhere.

    The sizes are of each language pair, and of parts that no source gives by its `part`.
    """

    by: Literal["auto", "document", "hash"] = Field(
        default="auto", description="documents, or hashes of the source where documents are few"
    )
    dev: int = Field(default=60, ge=0, description="segments that choose nothing but show the loss")
    test: int = Field(default=120, ge=1, description="segments that no training sees")
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True)
class Split:
    """The three parts; `removed` were train or dev pairs whose source is also in a later part.

    `by` is "source" where the recipe's sources say all of it.
    """

    train: list[Segment]
    dev: list[Segment]
    test: list[Segment]
    by: By
    removed: dict[str, int]

    def counts(self) -> dict[str, Any]:
        """Return the sizes for the report."""
        return {
            "by": self.by,
            "train": len(self.train),
            "dev": len(self.dev),
            "test": len(self.test),
            "removed_as_leak": sum(self.removed.values()),
        }


def normalise(source: str) -> str:
    """Return `source` as leakage sees it: no case, no spacing, no punctuation at the end."""
    text = " ".join(unicodedata.normalize("NFKC", source).casefold().split())
    end = len(text)
    while end and unicodedata.category(text[end - 1])[0] in "PZ":
        end -= 1
    return text[:end]


def split(
    segments: list[Segment],
    rule: SplitRule,
    given: Mapping[Part, list[Segment]] = MappingProxyType({}),
) -> Split:
    """Return the parts; their normalised sources are disjoint. Raises DataInvalid if too few.

    `given` holds whole parts: a dev or test part in it takes nothing of `segments`, and the
    sizes of `rule` are of the others. Only what is also in a later part is removed from any.
    """
    sizes: dict[Part, int] = {"test": rule.test, "dev": rule.dev}
    wanted = {part: 0 if part in given else size for part, size in sizes.items()}
    by = _by(segments, rule)
    units = _units(segments, (lambda s: s.document) if by == "document" else _text_key(segments))
    order = sorted(units, key=lambda name: _rank(name, rule.seed))
    test = _take(order, units, wanted["test"])
    dev = _take([name for name in order if name not in test], units, wanted["dev"])
    taken: dict[Part, set[str]] = {"test": test, "dev": dev, "train": set(order) - test - dev}
    chosen = {
        part: [segment for name in order if name in names for segment in units[name]]
        for part, names in taken.items()
    }
    whole = {part: [*chosen[part], *given.get(part, [])] for part in PARTS}
    for pair in sorted({s.pair for s in segments}, key=str) or [None]:
        parts = {part: [s for s in chosen[part] if s.pair == pair] for part in PARTS}
        trained = parts["train"] or given.get("train")
        if any(len(parts[part]) < size for part, size in wanted.items()) or not trained:
            raise DataInvalid(_too_few(f"{pair}: " if pair else "", by, parts, wanted, given))
    return _without_leaks(whole, by if segments and any(wanted.values()) else "source")


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


def _text_key(segments: list[Segment]) -> Callable[[Segment], str]:
    """Return what a segment's part hangs on: its source, or of several pairs the shared side.

    So "Save" in en-de, en-fr and de-en falls into one part, whichever side it is on.
    """
    pairs = {segment.pair for segment in segments if segment.pair}
    if len(pairs) < 2:
        return lambda segment: normalise(segment.source)
    languages = Counter(language for p in pairs for language in (p.source, p.target))
    shared = max(sorted(languages), key=languages.__getitem__)

    def side(segment: Segment) -> str:
        is_target = segment.pair is not None and segment.pair.target == shared
        return normalise(segment.target if is_target else segment.source)

    return side


def _units(segments: list[Segment], key: Callable[[Segment], str]) -> dict[str, list[Segment]]:
    units: dict[str, list[Segment]] = defaultdict(list)
    for segment in segments:
        units[key(segment)].append(segment)
    return dict(units)


def _rank(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{name}".encode("utf-8", "surrogatepass")).digest()


def _take(order: list[str], units: dict[str, list[Segment]], size: int) -> set[str]:
    """Return units in which every pair has about `size` segments."""
    taken: set[str] = set()
    counts = dict.fromkeys((s.pair for unit in units.values() for s in unit), 0)
    most = max(size * _OVERFILL, size + 1)
    for name in order:
        added = Counter(segment.pair for segment in units[name])
        lacking = [pair for pair in added if counts[pair] < size]
        if lacking and all(counts[pair] + added[pair] <= most for pair in lacking):
            taken.add(name)
            counts = {pair: count + added[pair] for pair, count in counts.items()}
    return taken


def _too_few(
    pair: str,
    by: str,
    chosen: Mapping[Part, list[Segment]],
    wanted: Mapping[Part, int],
    given: Mapping[Part, list[Segment]],
) -> str:
    total = sum(map(len, chosen.values()))
    found = ", ".join(f"{p} {len(chosen[p])} of {wanted[p]}" for p in wanted if wanted[p])
    parts = f"{found}, train {len(chosen['train'])}" if found else "no segment for train"
    if given:
        sources = f"sources of `part: {'`, `part: '.join(given)}` are not divided"
        return (
            f"{pair}split by {by}: {total} segments without a `part` give {parts}; {sources}: "
            "leave `part` out of one, give a source for the part that is missing, "
            "or lower split.test and split.dev"
        )
    return (
        f"{pair}split by {by}: {total} segments give {parts}; "
        "add data, lower split.test and split.dev, or set split.by: hash"
    )


def _without_leaks(parts: Mapping[Part, list[Segment]], by: By) -> Split:
    test = parts["test"]
    held_out = _held_out(test)
    dev = [s for s in parts["dev"] if _source_of(s) not in held_out]
    held_out |= _held_out(dev)
    train = [s for s in parts["train"] if _source_of(s) not in held_out]
    removed = {"dev": len(parts["dev"]) - len(dev), "train": len(parts["train"]) - len(train)}
    return Split(train, dev, test, by, removed)


def _held_out(segments: Sequence[Segment]) -> set[tuple[str, str]]:
    # A reversed pair has the reference as its source, so training must see neither side.
    reverse = (segment.reversed() for segment in segments if segment.pair)
    return {_source_of(segment) for segment in chain(segments, reverse)}


def _source_of(segment: Segment) -> tuple[str, str]:
    return (segment.pair.source if segment.pair else "", normalise(segment.source))
