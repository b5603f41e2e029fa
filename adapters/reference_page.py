"""Pages of all keys of a file that people write, out of the models that read it."""

from __future__ import annotations

import json
import typing
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from adapters.ids import AdapterId, LanguagePair
from adapters.strict.keys import KIND, kinds_of, models_in

_NAMES = {
    str: "text", int: "number", float: "number", bool: "true or false", Path: "path",
    LanguagePair: "pair", AdapterId: "id",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """The columns of a table of keys, and the cells of one key."""

    header: tuple[str, ...]
    cells: Callable[[str, FieldInfo], Sequence[str]]

    def of(self, model: type[BaseModel]) -> Iterator[str]:
        """Yield the lines of the table of a model's keys."""
        yield "|" + "".join(f" {cell} |" if cell else " |" for cell in self.header)
        yield "|" + "---|" * len(self.header)
        for name, info in model.model_fields.items():
            yield f"| {' | '.join(self.cells(name, info))} |"


def key_cells(name: str, info: FieldInfo) -> tuple[str, str, str, str]:
    """Return the key, its values, its default and what it is."""
    return f"`{name}`", values_of(info), default_of(info), info.description or ""


KEYS = Table(("key", "values", "default", ""), key_cells)


def page(head: str, parts: Iterator[tuple[str, type[BaseModel]]], tables: Sequence[Table]) -> str:
    """Return a page: `head`, and a table for each of `parts`; models that occur twice share one.

    The first of `tables` is for the first part, and so on; the last is for all others.
    """
    lines = [head]
    titles: dict[type[BaseModel], list[str]] = defaultdict(list)
    for title, model in parts:
        titles[model].append(title)
    for number, (model, places) in enumerate(titles.items()):
        lines.append(f"\n## {', '.join(places)}\n\n{_lead(model)}\n")
        lines += tables[min(number, len(tables) - 1)].of(model)
    return "\n".join(lines) + "\n"


def sections(
    model: type[BaseModel], root: str, *, item: str = ""
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the path of each mapping of a file, `root` for the file itself, and its model.

    item is put behind the name of a list.
    """
    yield root, model
    yield from _inner(model, "", item)


def _inner(model: type[BaseModel], path: str, item: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in model.model_fields.items():
        members = [*models_in(info.annotation)]
        mark = item if typing.get_origin(info.annotation) is tuple else ""
        inner = f"{path}.{name}{mark}" if path else f"{name}{mark}"
        for member in members:
            kinds = kinds_of(member) if len(members) > 1 else ()
            place = f"{inner} ({KIND}: {kinds[0]})" if kinds else inner
            yield place, member
            yield from _inner(member, place, item)


def values_of(info: FieldInfo) -> str:
    """Return what a key may have, in words."""
    return " or ".join(dict.fromkeys(_values(info.annotation)))


def default_of(info: FieldInfo) -> str:
    """Return what a key has if it is not given, "" for nothing, or what its section says."""
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**needed**"
    # A path is one of this machine.
    if isinstance(value, (BaseModel, Path)) or value in (None, (), {}, ""):
        return ""
    return f"`{json.dumps(value, default=str)}`"


def _lead(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _values(annotation: Any) -> Iterator[str]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if any(models_in(annotation)) and str not in arguments:
        yield "a list of mappings" if origin is tuple else "a mapping"
        return
    if origin is Literal:
        yield from (f"`{value}`" for value in arguments)
    elif origin in (tuple, list):
        yield "a list of " + " or ".join(dict.fromkeys(_values(arguments[0])))
    elif origin is dict:
        yield "a mapping"
    elif annotation in _NAMES:
        yield _NAMES[annotation]
    elif arguments:
        for argument in arguments:
            yield from _values(argument)
