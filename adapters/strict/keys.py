"""Where a fault that pydantic found lies in a file: the user's own keys, and what they take."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from adapters.strict.document import Path

KIND: Final = "kind"
_NONE: Final[Path] = ()


@dataclass(frozen=True)
class Key:
    """The keys that lead to a value, and the sections that may hold it.

    `field` is the last of the keys that is a section's own: the others are numbers of a list, or
    names that the user chose. `owners` is its section, `others` are kinds of it not chosen.
    """

    path: Path
    field: str
    owners: tuple[type[BaseModel], ...]
    others: tuple[type[BaseModel], ...]

    def __str__(self) -> str:
        return ".".join(map(str, self.path))

    @property
    def info(self) -> FieldInfo | None:
        """What the sections say about the field."""
        infos = (owner.model_fields.get(self.field) for owner in self.owners)
        return next((info for info in infos if info), None)


def key_of(model: type[BaseModel], values: Any, location: Path) -> Key:
    """Return the key in `values` that `location`, of an error of `model`, stands for.

    pydantic puts the tag of a union's member between the keys; nobody wrote it there. What is
    neither a field, nor an index, nor written in `values` is such a part and is left out.
    """
    place, node, path, field = _Place(model), values, _NONE, ""
    owners: tuple[type[BaseModel], ...] = ()
    others: tuple[type[BaseModel], ...] = ()
    for part in location:
        if (member := place.member(part)) is not None:
            place = member
            continue
        is_field = isinstance(part, str) and bool(place.models)
        if not (isinstance(part, int) or place.has(part) or _holds(node, part)):
            continue
        path, node = (*path, part), _child(node, part)
        if is_field:
            field, owners, others = str(part), place.models, place.others
            place = place.inside(field)
    return Key(path, field, owners, others)


def kinds_of(model: type[BaseModel]) -> tuple[str, ...]:
    """Return the values that `kind` of a section may have, if it has one."""
    info = model.model_fields.get(KIND)
    if info is None or typing.get_origin(info.annotation) is not Literal:
        return ()
    return tuple(map(str, typing.get_args(info.annotation)))


@dataclass(frozen=True)
class _Place:
    """What a place of the file may hold."""

    annotation: Any
    others: tuple[type[BaseModel], ...] = ()

    @property
    def models(self) -> tuple[type[BaseModel], ...]:
        return tuple(models_in(self.annotation))

    def has(self, part: str | int) -> bool:
        return any(part in model.model_fields for model in self.models)

    def inside(self, field: str) -> _Place:
        infos = (model.model_fields.get(field) for model in self.models)
        return _Place(next((info.annotation for info in infos if info), None))

    def member(self, part: str | int) -> _Place | None:
        """Return the member of a union that `part` is the kind of."""
        models = self.models
        chosen = [model for model in models if part in kinds_of(model)]
        if len(models) < 2 or not all(map(kinds_of, models)) or not chosen:
            return None
        return _Place(chosen[0], tuple(model for model in models if model is not chosen[0]))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models that a field of this annotation may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from models_in(argument)


def _holds(node: Any, part: str | int) -> bool:
    return isinstance(node, dict) and part in node


def _child(node: Any, part: str | int) -> Any:
    if isinstance(node, dict):
        return node.get(str(part))
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return None
