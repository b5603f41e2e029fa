"""Targets that are their source, or nearly so."""

from __future__ import annotations

from training.clean.lengths import FEW_WORDS
from training.clean.view import View


def is_copy(view: View) -> bool:
    """Return whether both texts are the same but for white space."""
    source, target = view.source, view.target
    return source.shown == target.shown and source.text.split() == target.text.split()


def copied(view: View) -> float:
    """Return the share of different words that both sides have; 0 if there are few."""
    source, target = view.source.different_words, view.target.different_words
    most = max(len(source), len(target))
    return len(source & target) / most if most >= FEW_WORDS else 0.0
