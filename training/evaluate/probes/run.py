"""Run: every probe that needs nothing but a translator."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.ids import LanguagePair
from training.evaluate.probes.gender import probe_gender
from training.evaluate.probes.injection import probe_injection
from training.evaluate.probes.probe import Answers, ProbeResult


def run_probes(answers: Answers, pair: LanguagePair) -> tuple[ProbeResult, ...]:
    """Return what the probes find about a translator of `pair`: the same names for every pair.

    `answers` is asked once for each probe that knows the languages. What it raises passes.
    """
    return probe_injection(answers, pair), *probe_gender(answers, pair).results()


def texts_asked(pair: LanguagePair) -> int:
    """Return how many texts run_probes asks about `pair`, for a progress bar."""
    asked = 0

    def echo(sources: Sequence[str]) -> Sequence[str]:
        nonlocal asked
        asked += len(sources)
        return sources

    run_probes(echo, pair)
    return asked
