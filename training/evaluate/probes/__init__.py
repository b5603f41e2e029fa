"""Probes: fixed texts that a translator is asked, and rules that judge what it answers."""

from training.evaluate.probes.probe import Answers, Example, ProbeResult
from training.evaluate.probes.run import run_probes, texts_asked

__all__ = ["Answers", "Example", "ProbeResult", "run_probes", "texts_asked"]
