"""Outputs: translations that were made before, in a file, as a row beside others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from adapters.errors import DataInvalid
from training.evaluate.scoreboard import Cost, System, TestSet

# What reads lines ends them at LF; a CR before it would be taken off.
_BREAKS = str.maketrans({"\n": " ", "\r": " "})


class _Texts(BaseModel):
    sources: list[str]
    systems: dict[str, list[str]]


class _Earlier(BaseModel):
    """What is read of an earlier --json output."""

    system: str
    texts: _Texts
    scoreboard: dict[str, Any]


def write_lines(texts: Sequence[str], path: Path) -> None:
    """Write one text a line, breaks as spaces; half a character becomes a question mark."""
    lines = "".join(f"{text.translate(_BREAKS)}\n" for text in texts)
    path.write_text(lines, encoding="utf-8", errors="replace", newline="\n")


def read_outputs(path: Path, test: TestSet) -> System:
    """Return the translations in `path` as a system. Raises DataInvalid.

    It is a file of one translation a line, or what `dragoman eval --json` printed for the same
    texts.
    """
    text = _read(path)
    if text.lstrip().startswith("{") and path.suffix == ".json":
        return _earlier(text, path, test)
    lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
    if len(lines) != len(test.sources):
        raise DataInvalid(
            f"{path}: expected {len(test.sources)} lines, one for each segment of {test.name}, "
            f"found {len(lines)}; is it of the same data and --limit?"
        )
    return System(path.stem, lines, notes={"read from": path.name})


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise DataInvalid(
            f"{path}: cannot be read ({error.strerror}); expected a file of translations"
        ) from error
    except UnicodeDecodeError as error:
        raise DataInvalid(
            f"{path}: byte {error.start + 1} is not UTF-8; convert the file"
        ) from error


def _earlier(text: str, path: Path, test: TestSet) -> System:
    try:
        body = _Earlier.model_validate(json.loads(text))
        answers = body.texts.systems[body.system]
    except (ValueError, ValidationError, KeyError, RecursionError) as error:
        raise DataInvalid(
            f"{path}: expected what `dragoman eval --json` prints, or a file of one translation a "
            f"line whose name does not end in .json ({type(error).__name__})"
        ) from error
    if body.texts.sources != list(test.sources) or len(answers) != len(test.sources):
        raise DataInvalid(
            f"{path}: is of {body.scoreboard.get('test_set', 'other texts')}, expected {test}; "
            "evaluate on the same --data and --limit"
        )
    cost, notes = _row(body)
    return System(body.system, answers, cost, {**notes, "read from": path.name})


def _row(body: _Earlier) -> tuple[Cost | None, dict[str, str]]:
    for row in body.scoreboard.get("systems", []):
        if row.get("system") == body.system:
            cost = row.get("cost")
            return Cost(**cost) if cost else None, dict(row.get("notes", {}))
    return None, {}
