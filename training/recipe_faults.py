"""Every fault of a recipe, as a person mends it: place, what is wrong, what to write instead."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from training.strict_yaml import Document, Fault, Path, parse_scalar

_M = TypeVar("_M", bound=BaseModel)


def with_overrides(document: Document, overrides: Sequence[str]) -> Document:
    """Return `document` with each `dotted.key=value` set; faults say which option was wrong."""
    for override in overrides:
        dotted, equals, text = override.partition("=")
        where = f"--set {override}"
        if not equals or not all(dotted.split(".")):
            message = "expected KEY=VALUE, for example --set schedule.epochs=2"
            document.faults.append(Fault(where, message))
            continue
        if isinstance(document.values, dict):
            _set(document, _path(dotted), parse_scalar(text), where)
    return document


def faults_of(model: type[_M], document: Document) -> tuple[_M | None, list[Fault]]:
    """Return the validated model, or None and all faults: of the YAML and of its values."""
    faults = list(document.faults)
    try:
        value = model.model_validate(document.values)
    except ValidationError as error:
        if isinstance(document.values, dict):
            details = error.errors()
            faults += [_fault(model, document, d) for d in details if not _is_echo(d, details)]
        return None, faults
    return (None, faults) if faults else (value, [])


def _is_echo(detail: Any, details: Sequence[Any]) -> bool:
    # pydantic leaves broken items out and then finds the list too short.
    loc = detail["loc"]
    inner = (d for d in details if len(d["loc"]) > len(loc) and d["loc"][: len(loc)] == loc)
    return detail["type"] == "too_short" and any(inner)


def _path(dotted: str) -> Path:
    return tuple(int(part) if part.isdecimal() else part for part in dotted.split("."))


def _set(document: Document, path: Path, value: Any, where: str) -> None:
    node = document.values
    for depth, part in enumerate(path[:-1], start=1):
        if isinstance(node, dict) and node.get(str(part)) is None:
            node[str(part)] = {}
            document.places[path[:depth]] = where
        node = _child(node, part)
    if isinstance(node, dict):
        node[str(path[-1])] = value
    elif isinstance(node, list) and isinstance(path[-1], int) and path[-1] < len(node):
        node[path[-1]] = value
    else:
        document.faults.append(Fault(where, "there is no such place; see the recipe's own keys"))
    document.places[path] = where


def _child(node: Any, part: str | int) -> Any:
    if isinstance(node, dict):
        return node[str(part)]
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _fault(model: type[BaseModel], document: Document, detail: Any) -> Fault:
    path: Path = tuple(detail["loc"])
    key = ".".join(map(str, path))
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Fault(document.place_of(path), _unknown(model, path))
    if kind == "missing":
        return Fault(document.place_of(path[:-1]), f"`{key}` is missing; {_example(model, path)}")
    message = detail["msg"].removeprefix("Value error, ")
    if kind != "value_error":
        shown = repr(detail["input"])
        message += f", found {shown if len(shown) <= 60 else shown[:57] + '…'}"
        message += f"; {hint}" if (hint := _description(model, path)) else ""
    return Fault(document.place_of(path), f"`{key}`: {message}" if key else message)


def _unknown(model: type[BaseModel], path: Path) -> str:
    owner = next((m for m in _models_at(model, path[:-1])), None)
    keys = list(owner.model_fields) if owner else []
    nearest = difflib.get_close_matches(str(path[-1]), keys, n=1, cutoff=0.5)
    hint = f"did you mean `{nearest[0]}`?" if nearest else f"known keys: {', '.join(keys)}"
    return f"unknown key `{'.'.join(map(str, path))}`; {hint}"


def _example(model: type[BaseModel], path: Path) -> str:
    owner = next((m for m in _models_at(model, path[:-1])), None)
    info = owner.model_fields.get(str(path[-1])) if owner else None
    if info and info.examples:
        return f"add for example `{path[-1]}: {info.examples[0]}`"
    return f"add it ({info.description})" if info and info.description else "add it"


def _description(model: type[BaseModel], path: Path) -> str:
    for depth in range(len(path), 0, -1):  # unions add a part of their own to the path
        for owner in _models_at(model, path[: depth - 1]):
            info = owner.model_fields.get(str(path[depth - 1]))
            if info and info.description:
                return info.description
    return ""


def _models_at(model: type[BaseModel], path: Path) -> Iterator[type[BaseModel]]:
    if not path:
        yield model
        return
    head, rest = path[0], path[1:]
    info = model.model_fields.get(str(head))
    if info is None:
        return
    while rest and isinstance(rest[0], int):
        rest = rest[1:]
    for inner in _models_in(info.annotation):
        yield from _models_at(inner, rest)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
        yield from _models_in(argument)
