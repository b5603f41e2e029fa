"""Run: every probe that needs nothing but a translator."""

from __future__ import annotations

from adapters.ids import LanguagePair
from training.evaluate.probes.gender import probe_gender
from training.evaluate.probes.injection import probe_injection
from training.evaluate.probes.probe import Answers, ProbeResult


def run_probes(answers: Answers, pair: LanguagePair) -> tuple[ProbeResult, ...]:
    """Return what the probes find about a translator of `pair`: the same names for every pair.

    `answers` is asked once for each probe that knows the languages. What it raises passes.
    """
    return probe_injection(answers, pair), *probe_gender(answers, pair).results()
