"""BLEU and chrF++ by sacreBLEU, each with its signature."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

Stats = npt.NDArray[np.float64]

# Scripts without spaces between words: BLEU counts characters where sacreBLEU has no tokenizer.
_BY_CHARACTER: Final = frozenset({"th", "lo", "km", "my", "bo"})
_MECAB: Final = {"ja": ("ja-mecab", "MeCab"), "ko": ("ko-mecab", "mecab_ko")}
_EPSILON: Final = 1e-16


@dataclass(frozen=True)
class Scored:
    """A corpus score (0 to 100) and what is needed to compute it again."""

    value: float
    signature: str


def bleu_tokenizer(language: str) -> str:
    """Return sacreBLEU's tokenizer for the target `language`; it is part of the signature."""
    primary = language.partition("_")[0]
    if primary == "zh":
        return "zh"
    if primary in _MECAB:
        name, module = _MECAB[primary]
        return name if importlib.util.find_spec(module) else "char"
    return "char" if primary in _BY_CHARACTER else "13a"


def bleu(hypotheses: Sequence[str], references: Sequence[str], *, language: str) -> Scored:
    """Return corpus BLEU of translations into `language`."""
    metric = BLEU(tokenize=bleu_tokenizer(language))
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return Scored(score.score, str(metric.get_signature()))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Scored:
    """Return corpus chrF++ (chrF with word bigrams)."""
    metric = CHRF(word_order=2)
    score = metric.corpus_score(list(hypotheses), [list(references)])
    return Scored(score.score, str(metric.get_signature()))


def chrf_stats(hypotheses: Sequence[str], references: Sequence[str]) -> Stats:
    """Return the counts that chrF++ sums over segments.

    [segments, 8 orders * 3]: n-grams of the hypothesis, of the reference, and in both.
    """
    metric = CHRF(word_order=2)
    # sacreBLEU's own resampling uses this method; a test compares chrf_of with corpus_score.
    rows = metric._extract_corpus_statistics(list(hypotheses), [list(references)])
    return np.asarray(rows, dtype=np.float64)


def chrf_of(sums: Stats) -> Stats:
    """Return chrF++ of summed counts: [..., 24] -> [...], equal to sacreBLEU's corpus_score."""
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    hypothesis, reference, match = counts[..., 0], counts[..., 1], counts[..., 2]
    both = (hypothesis > 0) & (reference > 0)
    orders = np.maximum(both.sum(axis=-1), 1)
    precision = np.where(both, match / np.maximum(hypothesis, 1), 0.0).sum(axis=-1) / orders
    recall = np.where(both, match / np.maximum(reference, 1), 0.0).sum(axis=-1) / orders
    beta2 = float(CHRF.BETA) ** 2
    score = (1 + beta2) * precision * recall / np.maximum(beta2 * precision + recall, _EPSILON)
    return np.asarray(100 * score)
