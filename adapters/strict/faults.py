"""Every fault of a file that a person wrote: place, what is wrong, what to write instead."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from adapters.strict.document import Document, Fault, Path, parse_scalar
from adapters.strict.keys import KIND, Key, key_of, kinds_of

_M = TypeVar("_M", bound=BaseModel)
_SHOULD_BE: Final = "Input should be "


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
            found = [
                (key_of(model, document.values, tuple(d["loc"])), d)
                for d in details
                if not _is_echo(d, details)
            ]
            faults += [_fault(document, key, same) for key, same in _by_place(found)]
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
        document.faults.append(Fault(where, "there is no such place; see the file's own keys"))
    document.places[path] = where


def _child(node: Any, part: str | int) -> Any:
    if isinstance(node, dict):
        return node[str(part)]
    if isinstance(node, list) and isinstance(part, int) and part < len(node):
        return node[part]
    return None


def _by_place(found: Sequence[tuple[Key, Any]]) -> list[tuple[Key, list[Any]]]:
    """Return each key with its errors: one, or one for each type that the value may have."""
    places: dict[Any, tuple[Key, list[Any]]] = {}
    for number, (key, detail) in enumerate(found):
        is_choice = len(detail["loc"]) > len(key.path) and detail["msg"].startswith(_SHOULD_BE)
        place = (key.path, key.owners) if is_choice else number
        places.setdefault(place, (key, []))[1].append(detail)
    return list(places.values())


def _fault(document: Document, key: Key, alternatives: Sequence[Any]) -> Fault:
    detail, *others = alternatives
    kind = detail["type"]
    if kind == "extra_forbidden":
        return Fault(document.place_of(key.path), _unknown(key))
    if kind == "missing":
        return Fault(document.place_of(key.path[:-1]), f"`{key}` is missing; {_example(key)}")
    if kind == "union_tag_invalid":
        return Fault(document.place_of((*key.path, KIND)), _unknown_kind(key, detail["ctx"]))
    message = detail["msg"].removeprefix("Value error, ")
    message += "".join(f" or {other['msg'].removeprefix(_SHOULD_BE)}" for other in others)
    if kind != "value_error":
        message += _found(key, detail)
        message += f"; {hint}" if (hint := key.info and key.info.description) else ""
    return Fault(document.place_of(key.path), f"`{key}`: {message}" if key.path else message)


def _found(key: Key, detail: Any) -> str:
    # repr=False on a field says that what it holds is secret.
    if key.info is not None and not key.info.repr:
        return ""
    shown = repr(detail["input"])
    return f", found {shown if len(shown) <= 60 else shown[:57] + '…'}"


def _unknown(key: Key) -> str:
    known = [name for owner in key.owners for name in owner.model_fields]
    if (elsewhere := [m for m in key.others if key.field in m.model_fields]) and key.owners:
        of = _either(kind for model in elsewhere for kind in kinds_of(model))
        hint = f"{KIND}: {_either(kinds_of(key.owners[0]))} has none, {KIND}: {of} does"
    elif nearest := difflib.get_close_matches(key.field, known, n=1, cutoff=0.5):
        hint = f"did you mean `{nearest[0]}`?"
    else:
        hint = f"known keys: {', '.join(known)}"
    return f"unknown key `{key}`; {hint}"


def _unknown_kind(key: Key, context: Any) -> str:
    kinds = [kind.strip("'") for kind in context["expected_tags"].split(", ")]
    nearest = difflib.get_close_matches(str(context["tag"]), kinds, n=1, cutoff=0.5)
    hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
    return f"`{key}.{KIND}`: found {context['tag']!r}, expected {_either(kinds)}{hint}"


def _either(names: Iterable[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _example(key: Key) -> str:
    info = key.info
    if info and info.examples:
        return f"add for example `{key.field}: {info.examples[0]}`"
    return f"add it ({info.description})" if info and info.description else "add it"
