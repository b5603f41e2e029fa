"""A base that several systems ask: loaded once, given back before a training wants the memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from training.asker import Asker
from training.fit_phase import release_memory
from training.recipe import Recipe


class BaseInMemory:
    """The base of a recipe without adapters."""

    def __init__(self, recipe: Recipe, base: Path) -> None:
        self._recipe = recipe
        self._base = base
        self._asker: Asker | None = None
        self._show: Callable[[int], None] = lambda _: None

    def asker_for(self, on_progress: Callable[[int], None]) -> Asker:
        """Return what asks it; `on_progress` gets segments done until another asks."""
        self._show = on_progress
        if self._asker is None:
            self._asker = Asker(self._recipe, self._base, {}, self._passed_on)
        return self._asker

    def _passed_on(self, done: int) -> None:
        self._show(done)

    def release(self) -> None:
        """Give its memory back; whoever asks next loads it again."""
        self._asker = None
        release_memory()
