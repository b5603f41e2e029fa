"""A generator that finds a text likely after one with the same number in it."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.tokenizer import BaseTokenizer

ALONE, RIGHT, WRONG = -2.0, -0.5, -3.0


@dataclass
class FakeGenerator:
    """Gives ALONE, RIGHT or WRONG a token; `asked` are adapter, prompt and target of every row."""

    tokenizer: BaseTokenizer
    asked: list[tuple[str | None, str, str]] = field(default_factory=list)
    batch_sizes: list[int] = field(default_factory=list)
    interrupt: bool = False

    def logprobs(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        adapter: str | None,
        batch_size: int,
    ) -> list[float]:
        if self.interrupt:
            raise KeyboardInterrupt
        self.batch_sizes.append(batch_size)
        return [self._of(p, t, adapter) for p, t in zip(prompts, targets, strict=True)]

    def _of(self, prompt: Sequence[int], target: Sequence[int], adapter: str | None) -> float:
        before, after = (self.tokenizer.decode(list(ids)) for ids in (prompt, target))
        self.asked.append((adapter, before, after))
        # The prompt's last turn: examples have numbers, too.
        numbers = re.findall(r"\d+", before.rpartition("user\n")[2])
        if not numbers:
            return ALONE * len(target)
        return (RIGHT if numbers == re.findall(r"\d+", after) else WRONG) * len(target)


def install(base: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGenerator:
    """Return the generator that every scoring with `base` gets, in place of a real one."""
    fake = FakeGenerator(BaseTokenizer.load(base))
    loaded = SimpleNamespace(load=lambda *_: fake)
    module = SimpleNamespace(Generator=loaded)
    monkeypatch.setitem(sys.modules, "training.evaluate.generate", module)
    return fake
