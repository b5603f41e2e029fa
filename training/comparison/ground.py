"""Ground: what all systems of a comparison share, above all the text that they translate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from adapters.base_model import BaseModelRef, weight_shapes
from adapters.console import note
from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.registry import Registry
from training import prepare
from training.assess import HeldOut
from training.build.report import REPORT_FILE
from training.comparison.folder import ComparisonFolder
from training.corpus.segment import Segment
from training.evaluate.scoreboard import TestSet
from training.measure import held_out
from training.recipe import Recipe


@dataclass(frozen=True)
class Ground:
    """The recipe of a comparison with its base and its text; `text` is of the recipe's first pair.

    `registry` has what systems name as an adapter.
    """

    recipe: Recipe
    base: Path
    folder: ComparisonFolder
    registry: Registry
    data: prepare.Prepared

    @cached_property
    def text(self) -> HeldOut:
        """The test part, cut as the recipe says, and dev and train for examples."""
        return held_out(self.recipe, self.data)[0]

    @cached_property
    def test(self) -> TestSet:
        """What every system translates."""
        return _set_of(f"{self.recipe.id} test", self.text.pair, self.text.test)

    @cached_property
    def reference(self) -> BaseModelRef:
        """The base's name and fingerprint."""
        return BaseModelRef.read(self.base)

    @cached_property
    def base_parameters(self) -> int:
        """How many numbers the base is."""
        return sum(prod(shape) for shape in weight_shapes(self.base).values())


def prepared(recipe: Recipe, folder: ComparisonFolder) -> prepare.Prepared:
    """Return the recipe's text, built now or by an earlier session. Raises DataInvalid."""
    if not (folder.data / REPORT_FILE).is_file():
        note(f"data: reading {', '.join(source.location for source in recipe.data)}")
        prepare.write(prepare.prepare(recipe), folder.data)
    return prepare.load(folder.data)


def check_same_test(ground: Ground, name: str, recipe: Recipe, data: prepare.Prepared) -> None:
    """Raise DataInvalid unless the held-out text of `recipe` begins with the comparison's."""
    pair = ground.test.pair
    found = [segment for segment in data.test if (segment.pair or recipe.pair) == pair]
    other = _set_of(f"{recipe.id} test", pair, found[: len(ground.text.test)])
    if other.digest != ground.test.digest:
        raise DataInvalid(
            f"{name}: holds out other text ({other}) than the comparison ({ground.test}), so "
            "their scores cannot be compared, and what one is tested on the other may have been "
            "trained on; give them the same data, clean and split, or use train_on"
        )


def _set_of(name: str, pair: LanguagePair, segments: Sequence[Segment]) -> TestSet:
    sources, references = [s.source for s in segments], [s.target for s in segments]
    return TestSet(name, pair, sources, references)
