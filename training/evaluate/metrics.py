"""BLEU, chrF++ and TER by sacreBLEU, each with its signature."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

Stats = npt.NDArray[np.float64]

# Scripts without spaces between words: BLEU counts characters where sacreBLEU has no tokenizer.
_BY_CHARACTER: Final = frozenset({"th", "lo", "km", "my", "bo"})
_MECAB: Final = {"ja": ("ja-mecab", "MeCab"), "ko": ("ko-mecab", "mecab_ko")}
# TER splits their characters apart.
_ASIAN: Final = frozenset({"zh", "ja", "wuu", "yue"})
# TER of a paragraph of nonsense takes a second, so chunks are small.
_CHUNK: Final = 8


@dataclass(frozen=True)
class Scored:
    """A corpus score (0 to 100; TER may be more) and what is needed to compute it again."""

    value: float
    signature: str


class Metric:
    """One of sacreBLEU's metrics, set up for a language.

    `slow` ones count their statistics by all cores.
    """

    def __init__(
        self, name: str, metric: Any, *, lower_is_better: bool = False, slow: bool = False
    ) -> None:
        self.name = name
        self.lower_is_better = lower_is_better
        self._metric = metric
        self._metric.num_refs = 1  # its signature says so, also before it has seen a text
        self._slow = slow

    def score(self, hypotheses: Sequence[str], references: Sequence[str]) -> Scored:
        """Return the score of a corpus."""
        return Scored(self.of(self.statistics(hypotheses, references).sum(axis=0)), self.signature)

    @property
    def signature(self) -> str:
        """Return what sacreBLEU prints beside the score."""
        return str(self._metric.get_signature())

    def statistics(self, hypotheses: Sequence[str], references: Sequence[str]) -> Stats:
        """Return the counts that the metric sums over segments: [segments, counts]."""
        pairs = list(zip(hypotheses, references, strict=True))
        if not pairs:
            return np.zeros((0, 0))
        count = partial(_counted, self._metric)
        if not self._slow:
            return np.asarray(count(pairs), dtype=np.float64)
        from training.build.in_order import in_order

        chunks = [pairs[start : start + _CHUNK] for start in range(0, len(pairs), _CHUNK)]
        rows = [row for chunk in in_order(count, chunks) for row in chunk]
        return np.asarray(rows, dtype=np.float64)

    def of(self, sums: Stats) -> float:
        """Return the score of summed counts: [counts]."""
        return float(self._metric._compute_score_from_stats(sums).score)


def _counted(metric: Any, pairs: Sequence[tuple[str, str]]) -> list[list[float]]:
    # What sacreBLEU's own resampling uses; tests compare with its command line.
    hypotheses, references = [h for h, _ in pairs], [r for _, r in pairs]
    rows: list[list[float]] = metric._extract_corpus_statistics(hypotheses, [references])
    return rows


def chrf_metric() -> Metric:
    """Return chrF++: chrF with word bigrams."""
    return Metric("chrF++", CHRF(word_order=2))


def bleu_metric(language: str) -> Metric:
    """Return BLEU of translations into `language`."""
    return Metric("BLEU", BLEU(tokenize=bleu_tokenizer(language), force=True))


def ter_metric(language: str) -> Metric:
    """Return TER, the edits for each hundred words of the reference: less is better."""
    asian = language.partition("_")[0] in _ASIAN
    metric = TER(normalized=asian, asian_support=asian)
    return Metric("TER", metric, lower_is_better=True, slow=True)


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
    return bleu_metric(language).score(hypotheses, references)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Scored:
    """Return corpus chrF++ (chrF with word bigrams)."""
    return chrf_metric().score(hypotheses, references)


def chrf_of_each(hypotheses: Sequence[str], references: Sequence[str]) -> Stats:
    """Return chrF++ of each segment by itself: [segments]."""
    metric = chrf_metric()
    return np.asarray([metric.of(row) for row in metric.statistics(hypotheses, references)])
