"""Keys: what segments are compared by, as numbers of 64 bits."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence

import numpy as np

from training.build.columns import HASHES, NEAR, Column
from training.build.near import bands, triples
from training.corpus.segment import Segment


def normalise(text: str) -> str:
    """Return `text` as leakage sees it: no case, no spacing, no punctuation at the end."""
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    end = len(folded)
    while end and unicodedata.category(folded[end - 1])[0] in "PZ":
        end -= 1
    return folded[:end]


def keys_of(segments: Sequence[Segment], seed: int) -> dict[str, Column]:
    """Return HASHES of `segments`, each a column; `seed` is the split's."""
    rows = [_keys(segment, seed) for segment in segments]
    plain = np.array(rows, dtype=np.uint64).reshape(len(rows), len(HASHES) - len(NEAR))
    near = np.array([bands(triples(segment.source)) for segment in segments], dtype=np.uint64)
    table = np.hstack([plain, near.reshape(len(rows), len(NEAR))])
    return {name: table[:, number] for number, name in enumerate(HASHES)}


def _keys(segment: Segment, seed: int) -> tuple[int, ...]:
    pair = segment.pair
    source, target = normalise(segment.source), normalise(segment.target)
    text = _number(str(pair), segment.source, segment.target, segment.rejected or "")
    return (
        text,
        # Preferences tell translations of one source apart: each teaches something of its own.
        _number(str(pair), segment.source) if segment.rejected is None else text,
        _number(pair.source if pair else "", source),
        # A reversed pair has the reference as its source, so training must see neither side.
        _number(pair.target, target) if pair else _number("", source),
        _rank(segment.document, seed),
        _rank(source, seed),
        _rank(target, seed),
    )


def _number(*texts: str) -> int:
    body = "\0".join(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(body, digest_size=8).digest())


def _rank(name: str, seed: int) -> int:
    """Return where a unit stands among all others: at random, and the same everywhere."""
    body = f"{seed}\n{name}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(body).digest()[:8])
