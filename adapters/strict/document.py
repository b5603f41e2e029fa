"""YAML with line numbers and without surprises: duplicate keys and aliases are errors.

Scalars are YAML 1.2's: `5e-4` is a number, `no` is Norwegian, `on`, dates and `1:30` are strings.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, and where: a line of the file, or the option that set it."""

    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


def line_of(fault: Fault) -> int:
    """Return the line, to sort by; options come before every line."""
    line = fault.where.rpartition(":")[2]
    return int(line) if line.isdecimal() else 0


@dataclass
class Document:
    """The plain values of a YAML file, the place of each key, and what was wrong on the way."""

    name: str
    values: Any = None
    places: dict[Path, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def place_of(self, path: Path) -> str:
        """Return where `path` (or the nearest mapping around it) stands."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, f"{self.name}:1")


def parse(text: str, name: str) -> Document:
    """Return the document in `text`; nothing is raised, `faults` holds what is wrong."""
    document = Document(name)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        document.faults.append(Fault(f"{name}:{line}", f"not YAML: {error.problem}; {_HINT}"))
        return document
    except yaml.YAMLError as error:
        document.faults.append(Fault(f"{name}:1", f"not YAML: {error}; {_HINT}"))
        return document
    if node is not None:
        document.values = _value(node, (), document, seen=set())
    return document


def parse_scalar(text: str) -> Any:
    """Return the value that `text` has in YAML (a number, a list, …); `Say: this` is a string."""
    document = parse(text, "value")
    is_block = isinstance(document.values, dict) and not text.lstrip().startswith("{")
    return text if document.faults or is_block else document.values


_HINT: Final = "check indentation (spaces, never tabs), colons and quotes"


class _Loader(yaml.SafeLoader):
    """Resolves plain scalars as the core schema of YAML 1.2 does."""

    yaml_implicit_resolvers: dict[str | None, list[Any]] = {}  # noqa: RUF012 - yaml's own name


_SCALARS: Final[tuple[tuple[str, str, Callable[[str], Any]], ...]] = (
    ("null", r"~|null|Null|NULL|", lambda _: None),
    ("bool", r"true|True|TRUE|false|False|FALSE", lambda text: text.lower() == "true"),
    ("int", r"[-+]?[0-9]+", int),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", float),
)
for _tag, _pattern, _ in _SCALARS:
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), None
    )
_CONVERT: Final = {f"tag:yaml.org,2002:{tag}": convert for tag, _, convert in _SCALARS}


def _value(node: yaml.Node, path: Path, document: Document, *, seen: set[int]) -> Any:
    place = f"{document.name}:{node.start_mark.line + 1}"
    document.places.setdefault(path, place)
    if not isinstance(node, yaml.ScalarNode):
        if id(node) in seen:
            message = "aliases (*name) are not read; write the value out"
            document.faults.append(Fault(place, message))
            return None
        seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, seen=seen)
    if isinstance(node, yaml.SequenceNode):
        return [_value(n, (*path, i), document, seen=seen) for i, n in enumerate(node.value)]
    return _scalar(node, place, document)


def _scalar(node: yaml.Node, place: str, document: Document) -> Any:
    if node.tag == "tag:yaml.org,2002:str":
        return node.value
    if node.tag in _CONVERT:
        try:
            return _CONVERT[node.tag](node.value)
        except ValueError:
            pass
    document.faults.append(Fault(place, f"tag {node.tag} is not read; write a plain value"))
    return None


def _mapping(
    node: yaml.MappingNode, path: Path, document: Document, *, seen: set[int]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        place = f"{document.name}:{key_node.start_mark.line + 1}"
        if key in values:
            first = document.places[(*path, key)]
            document.faults.append(
                Fault(place, f"`{key}` is given twice (first at {first}); remove one of them")
            )
            continue
        document.places[(*path, key)] = place
        values[key] = _value(value_node, (*path, key), document, seen=seen)
    return values
