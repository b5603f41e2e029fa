"""A comparison of what the command line names: recipes, adapters, runs, ways to ask the base."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from adapters.errors import RecipeInvalid
from training.comparison.spec import SHIPPED, Comparison, SystemSpec, read
from training.recipe import SHIPPED as SHIPPED_RECIPES
from training.translate.note import NOTE_FILE

# base: no example; base:3: three of them, the same for all; memory:3: three found for each segment.
_ASKED: Final = re.compile(r"(?P<how>base|memory)(?::(?P<count>[0-9]{1,2}))?")
_YAML: Final = (".yaml", ".yml")


def is_comparison(word: str) -> bool:
    """Whether the word is a shipped comparison, or a file of one, not of a recipe."""
    path = Path(word).expanduser()
    if path.suffix in _YAML and path.is_file():
        values = read(path).values
        return isinstance(values, dict) and "systems" in values
    return (SHIPPED / f"{word}.yaml").is_file()


def comparison_of(words: Sequence[str], recipe: str | None) -> Comparison:
    """Return the comparison of these systems on `recipe`, or on the first recipe among them.

    Raises RecipeInvalid.
    """
    systems = tuple(map(_system, words))
    trained = [system.recipe for system in systems if system.recipe]
    on = recipe or next(iter(trained), None)
    if on is None:
        raise RecipeInvalid(
            f"{', '.join(words)}: no recipe among them, so there is no text to compare on; name "
            "one with --recipe"
        )
    named = _apart(systems)
    bases = [system.name for system in named if system.kind == "base"]
    return Comparison(
        title=f"{', '.join(system.name for system in named)} on {Path(on).stem}",
        recipe=on,
        systems=named,
        baseline=next(iter(bases), named[0].name),
    ).placed(Path.cwd())


def _system(word: str) -> SystemSpec:
    asked = _ASKED.fullmatch(word)
    path = Path(word).expanduser()
    if asked is not None:
        return _base(asked["how"], int(asked["count"] or 0), word)
    if (path / NOTE_FILE).is_file():
        return SystemSpec(name=_name(path.resolve().name), model=str(path.resolve()))
    if path.is_file() or (SHIPPED_RECIPES / f"{word}.yaml").is_file():
        is_file = path.is_file()
        named = str(path.resolve()) if is_file else word
        return SystemSpec(name=_name(path.stem if is_file else word), recipe=named)
    if path.is_dir():
        raise RecipeInvalid(
            f"{word}: a folder without {NOTE_FILE}, so no run and no exported model; name a "
            "folder that `dragoman train` or `dragoman export` wrote"
        )
    return SystemSpec(name=_name(word), adapter=word)


def _base(how: str, count: int, word: str) -> SystemSpec:
    if how == "memory" and not count:
        raise RecipeInvalid(f"{word}: say how many examples are found, for example memory:3")
    spec: dict[str, Any] = {"retrieved" if how == "memory" else "shots": count}
    return SystemSpec.model_validate({"name": word.replace(":", "-"), "base": spec})


def _name(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9@._+-]", "-", text).lstrip("@._+-")[:60] or "system"


def _apart(systems: Sequence[SystemSpec]) -> tuple[SystemSpec, ...]:
    """Return the systems with names that differ: the second `a` is `a-2`."""
    seen: dict[str, int] = {}
    named = []
    for system in systems:
        count = seen[system.name] = seen.get(system.name, 0) + 1
        name = system.name if count == 1 else f"{system.name}-{count}"
        named.append(system.model_copy(update={"name": name}))
    return tuple(named)
