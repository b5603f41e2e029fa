"""Plan: a comparison with its recipes read, before anything is made."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from adapters.errors import RecipeInvalid
from adapters.locations import cache_root
from training.comparison.folder import ComparisonFolder
from training.comparison.spec import OF_RECIPE, Comparison, SystemSpec, overrides_of
from training.comparison.trained import TrainingPlan
from training.recipe import Recipe, find_recipe


@dataclass(frozen=True)
class Options:
    """What the command line says beside the comparison; `data` is where its paths start."""

    out: Path | None = None
    fresh: bool = False
    registry: Path | None = None
    changes: Sequence[str] = ()
    recipe: str | None = None
    data: Path | None = None
    allow_memory: bool = False


@dataclass(frozen=True)
class Plan:
    """A comparison and how it is run; recipes are read when first asked for."""

    comparison: Comparison
    options: Options

    @cached_property
    def recipe(self) -> Recipe:
        """The recipe whose test part all translate. Raises RecipeInvalid."""
        file = self._file(None)
        changes = self._changes()
        recipe = Recipe.load(str(file), overrides=changes, folder=self._folder(file))
        if recipe.objective.kind == "monolingual":
            raise RecipeInvalid(
                f"{recipe.id}: its text is of one language, so there is nothing to translate; "
                "compare on a recipe of translations"
            )
        return recipe

    @property
    def folder(self) -> Path:
        """Where relative paths of the comparison start."""
        return self.options.data or self.comparison.folder

    @property
    def out(self) -> Path:
        """Where all of it is kept: the same comparison, the same folder."""
        if self.options.out is not None:
            return self.options.out
        slug = re.sub(r"[^a-z0-9]+", "-", self.comparison.title.lower()).strip("-")[:48]
        short = digest(self.identity)[:8]
        return cache_root() / "comparisons" / f"{slug or 'comparison'}-{short}"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What must be the same for a comparison to be gone on with."""
        trainings = [s for s in self.comparison.systems if s.kind == "training"]
        return {
            "comparison": digest(self.comparison.model_dump(mode="json")),
            "changes": list(self.options.changes),
            "recipe": self.recipe.digest,
            "trainings": {s.name: self.training(s, None).recipe().digest for s in trainings},
            "folder": str(self.folder.resolve()),
        }

    def training(self, system: SystemSpec, folder: ComparisonFolder | None) -> TrainingPlan:
        """Return what the training is told; without a folder, as if it were on its own text.

        Raises RecipeInvalid.
        """
        file = self._file(system.recipe)
        changes, made = self._changes(system), list[Path]()
        if system.train_on is not None and folder is not None:
            self._check_alone(system)
            made = [folder.synthesized(name) for name in system.train_on if name != OF_RECIPE]
            changes += overrides_of({"data": self._sources(system.train_on, folder)})
        return TrainingPlan(
            name=system.name,
            file=file,
            folder=self._folder(file),
            overrides=changes,
            made=made,
            holds_out_ours=system.train_on is not None,
            allow_memory=self.options.allow_memory,
        )

    def found(self, path: str) -> Path:
        """Return a path that the comparison names: beside it, or where the command was given."""
        beside = self.folder / Path(path).expanduser()
        return beside if beside.exists() else Path(path).expanduser()

    def _file(self, recipe: str | None) -> Path:
        name = recipe or self.options.recipe or self.comparison.recipe
        beside = self.comparison.home / name
        return (beside if beside.is_file() else find_recipe(name)).resolve()

    def _folder(self, file: Path) -> Path:
        is_given = self.options.data or self.comparison.data
        return (self.folder if is_given else file.parent).resolve()

    def _changes(self, system: SystemSpec | None = None) -> list[str]:
        own = overrides_of(system.set) if system else []
        return [*overrides_of(self.comparison.set), *self.options.changes, *own]

    def _sources(self, names: Sequence[str], folder: ComparisonFolder) -> list[dict[str, str]]:
        """Return the text of a training as a recipe's sources: held out is what all hold out."""
        licence = self.recipe.licence
        made = {one.name: one for one in self.comparison.synthesize}
        sources = [
            _source(folder.data / f"{part}.jsonl", part, licence) for part in ("dev", "test")
        ]
        for name in names:
            if name == OF_RECIPE:
                sources.append(_source(folder.data / "train.jsonl", "train", licence))
            else:
                file, terms = folder.synthesized(name), made[name].licence or licence
                sources.append(_source(file, "train", terms))
        return [source for source in sources if not _is_empty(Path(source["jsonl"]))]

    def _check_alone(self, system: SystemSpec) -> None:
        mixed = any(s.replay or s.weight != 1 or s.domain for s in self.recipe.data)
        if mixed or len(self.recipe.pairs) > 1:
            raise RecipeInvalid(
                f"{system.name}: train_on puts text together that has one pair and no weights, "
                f"and {self.recipe.id} has several pairs, or sources with weight, domain or "
                "replay; leave train_on out, or write a recipe for it"
            )


def _source(file: Path, part: str, licence: str) -> dict[str, str]:
    return {"jsonl": str(file.resolve()), "part": part, "licence": licence}


def _is_empty(file: Path) -> bool:
    return file.is_file() and file.stat().st_size == 0


def digest(body: Any) -> str:
    """Return 64 hex digits over plain JSON values."""
    text = json.dumps(body, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
