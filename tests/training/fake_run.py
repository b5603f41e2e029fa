"""A fit and a decoder that need no torch, for runs of the whole pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from adapters.errors import OutOfMemory
from adapters.manifest import Conversion
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training.conftest import fit_result
from training.recipe import Recipe

FRENCH = {"Open": "Ouvrir", "Close": "Fermer", "Save": "Enregistrer", "Move": "Déplacer"}


def to_french(command: str) -> str:
    """Return the conftest's recipe's reference: what a perfect adapter answers."""
    verb, _, number = command.partition(" the file number ")
    return f"{FRENCH.get(verb)} le fichier numéro {number}"


@dataclass
class World:
    """What the fakes were asked, and how good the adapter is."""

    fits: list[tuple[int, bool]] = field(default_factory=list)
    decodes: list[str | None] = field(default_factory=list)
    good: bool = True
    interrupt: bool = False
    too_large: bool = False
    shown: list[Any] = field(default_factory=list)
    translate: Callable[[str], str] = to_french
    conversion: Conversion | None = None

    def admit(self, recipe: Recipe, base: Path, *, allow: bool) -> None:
        if self.too_large and not allow:
            raise OutOfMemory("needs 9 GB, and 1 GB is available")

    def fit(self, train: Sequence[Any], *rest: Any, **options: Any) -> Any:
        out = rest[4]
        self.fits.append((len(train), options["resume"]))
        self.shown = list(train)
        if self.interrupt:
            raise KeyboardInterrupt
        # Each fit gives other weights, as another seed would.
        folder = fakes.write_lora(out / "adapter", seed=len(self.fits))
        return dataclasses.replace(fit_result(folder), conversion=self.conversion)


class FakeGenerator:
    """Translates by rule: the adapter well, the base not at all."""

    world: World

    def __init__(self, base: Path) -> None:
        self._tokenizer = BaseTokenizer.load(base)

    @classmethod
    def load(cls, base: Path, adapters: object) -> FakeGenerator:
        return cls(base)

    def generate(self, prompts: list[list[int]], **options: Any) -> list[Any]:
        adapter = options["adapter"]
        self.world.decodes.append(adapter)
        assert len(options["max_tokens"]) == len(prompts)
        assert fakes.END in options["stop_token_ids"]
        options["on_progress"](len(prompts))
        answers = []
        for prompt in prompts:
            last = self._tokenizer.decode(prompt).rpartition("user\n")[2].partition("\nmodel")[0]
            good = adapter is not None and self.world.good
            text = self.world.translate(last) if good else "no idea"
            answers.append(SimpleNamespace(text=text, token_ids=(7, fakes.END)))
        return answers

    def logprobs(
        self, prompts: list[Any], targets: list[Any], *, adapter: str | None, batch_size: int = 1
    ) -> list[float]:
        per_token = -0.1 if adapter and self.world.good else -0.2
        return [per_token * len(target) for target in targets]
