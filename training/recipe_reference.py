"""Every key of a recipe, out of the code that reads it: docs/recipe-keys.md.

python -m training.recipe_reference > docs/recipe-keys.md
"""

from __future__ import annotations

import json
import sys
import typing
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from adapters.ids import AdapterId, LanguagePair
from adapters.strict.keys import KIND, kinds_of, models_in
from training.recipe import Recipe

_HEAD = """\
# Keys of a recipe

Made by `python -m training.recipe_reference`. A recipe is a YAML file of these keys; unknown ones
are errors. `--set section.key=value` changes one for a run.
"""
_NAMES = {
    str: "text", int: "number", float: "number", bool: "true or false",
    LanguagePair: "pair", AdapterId: "id",
}  # fmt: skip


def main() -> int:
    """Print the page."""
    sys.stdout.write(page())
    return 0


def page() -> str:
    """Return the whole page as Markdown."""
    parts = [_HEAD]
    titles: dict[type[BaseModel], list[str]] = defaultdict(list)
    for title, model in sections(Recipe, ""):
        titles[model].append(title or "recipe")
    for model, places in titles.items():
        parts.append(f"\n## {', '.join(places)}\n\n{_lead(model)}\n")
        parts.append("| key | values | default | |\n|---|---|---|---|")
        parts += [_row(name, info) for name, info in model.model_fields.items()]
    return "\n".join(parts) + "\n"


def sections(model: type[BaseModel], path: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the path of each mapping of a recipe and the model that reads it."""
    yield path, model
    for name, info in model.model_fields.items():
        members = [*models_in(info.annotation)]
        for member in members:
            inner = f"{path}.{name}" if path else name
            kinds = kinds_of(member) if len(members) > 1 else ()
            yield from sections(member, f"{inner} ({KIND}: {kinds[0]})" if kinds else inner)


def _lead(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").strip().splitlines()[0]


def _row(name: str, info: FieldInfo) -> str:
    values = " or ".join(dict.fromkeys(_values(info.annotation)))
    return f"| `{name}` | {values} | {_default(info)} | {info.description or ''} |"


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "**needed**"
    if isinstance(value, BaseModel) or value in (None, (), {}, ""):
        return ""
    return f"`{json.dumps(value, default=str)}`"


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


if __name__ == "__main__":
    sys.exit(main())
