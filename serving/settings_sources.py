"""Where settings are given: serving.yaml, DRAGOMAN_* variables, files that those name, flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from adapters.bounded_read import read_small
from adapters.strict.document import Document, Fault, parse, parse_scalar
from adapters.strict.document import Path as KeyPath
from adapters.strict.keys import models_in

PREFIX: Final = "DRAGOMAN_"
FILE: Final = "_FILE"
# Variables of ours that are no settings: adapters.locations, serving.run_folder, serving.settings.
_OTHERS: Final = ("DRAGOMAN_HOME", "DRAGOMAN_RUN_FOLDER", "DRAGOMAN_SERVING")
# Above it a name is a slip. DRAGOMAN_SERVICE_PORT, which Kubernetes sets, lies far below.
_NEAR: Final = 0.8
_WORDS: Final = {
    "1": True, "true": True, "yes": True, "on": True,
    "0": False, "false": False, "no": False, "off": False,
}  # fmt: skip


def variable_of(name: str) -> str:
    """Return the variable of the setting `name`."""
    return PREFIX + name.upper()


def file_variable_of(name: str) -> str:
    """Return the variable that names a file with the value of the setting `name`."""
    return variable_of(name) + FILE


def flag_of(name: str) -> str:
    """Return the flag of `dragoman serve` for the setting `name`."""
    return f"--{name.replace('_', '-')}"


def gathered(
    model: type[BaseModel],
    flags: Mapping[str, Any],
    *,
    config: Path | None,
    environment: Mapping[str, str],
) -> Document:
    """Return one document of all sources, in which each key knows where it was given.

    A later source replaces a setting of an earlier one as a whole: file, variables, flags.
    """
    document = Document(str(config) if config else "settings", values={})
    document.places[()] = document.name
    if config is not None:
        _take_config(document, config)
    for name, info in model.model_fields.items():
        _take_variables(document, name, info, environment)
    document.faults += _slips(model, environment)
    for name, value in flags.items():
        if value is not None:
            _put(document, name, value, {(): flag_of(name)})
    return document


def _take_config(document: Document, path: Path) -> None:
    text = _text(document, path, str(path))
    if text is None:
        return
    said = parse(text, str(path))
    document.faults += said.faults
    if isinstance(said.values, dict):
        document.values, document.places = said.values, {**said.places, (): str(path)}
    elif said.values is not None:
        found = type(said.values).__name__
        document.faults.append(Fault(f"{path}:1", f"expected `name: value` lines, found {found}"))


def _take_variables(
    document: Document, name: str, info: FieldInfo, environment: Mapping[str, str]
) -> None:
    # Set to nothing means not set, as compose files and charts write it.
    direct, by_file = variable_of(name), file_variable_of(name)
    if environment.get(direct) and environment.get(by_file):
        message = f"{by_file} is set, too; leave one of them out"
        document.faults.append(Fault(direct, message))
    elif text := environment.get(direct):
        # A Secret made of a file ends with a line end, also as a variable.
        _take_text(document, name, info, text=text.strip("\r\n"), place=direct)
    elif file := environment.get(by_file):
        path = Path(file).expanduser()
        content = _text(document, path, f"{by_file}={path}")
        if content is not None:
            _take_text(document, name, info, text=content.strip("\r\n"), place=str(path))


def _take_text(document: Document, name: str, info: FieldInfo, *, text: str, place: str) -> None:
    if not any(models_in(info.annotation)):
        _put(document, name, _plain(info.annotation, text), {(): place})
        return
    said = parse(text, place)
    if said.faults:
        document.faults += said.faults
        return
    values, places = said.values, dict(said.places)
    if isinstance(values, dict) and {*values} == {name}:
        # As the lines of serving.yaml stand, and `dragoman keys new` prints them.
        values = values[name]
        places = {path[1:]: where for path, where in places.items() if path[:1] == (name,)}
    # A variable has one line, and its name says more than ":1".
    _put(document, name, values, {(): place} if place == variable_of(name) else places)


def _plain(annotation: Any, text: str) -> Any:
    """Return what a variable's text means for a setting of that type."""
    if annotation is bool:
        return _WORDS.get(text.strip().lower(), text)
    return parse_scalar(text) if annotation in (int, float) else text


def _put(document: Document, name: str, value: Any, places: Mapping[KeyPath, str]) -> None:
    document.values[name] = value
    kept = {path: place for path, place in document.places.items() if path[:1] != (name,)}
    document.places = {**kept, **{(name, *path): place for path, place in places.items()}}


def _text(document: Document, path: Path, place: str) -> str | None:
    """Return a file's text, or None with the fault in `document`."""
    try:
        return read_small(path).decode("utf-8")
    except OSError as error:
        message = f"cannot be read: {error.strerror or error}"
    except UnicodeDecodeError as error:
        message = f"cannot be read: not UTF-8 at byte {error.start}"
    document.faults.append(Fault(place, message))
    return None


def _slips(model: type[BaseModel], environment: Mapping[str, str]) -> Iterator[Fault]:
    """Yield a fault for each variable that is nearly one of ours."""
    settings = [name.upper() for name in model.model_fields]
    known = [*settings, *(name + FILE for name in settings)]
    known += [name.removeprefix(PREFIX) for name in _OTHERS]
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or name in known or not environment[variable]:
            continue
        if nearest := get_close_matches(name, known, n=1, cutoff=_NEAR):
            yield Fault(variable, f"no such variable; did you mean {PREFIX}{nearest[0]}?")
