"""JSON Lines: {"source", "target"}, {"en", "fr"}, or OPUS' {"translation": {"en", "fr"}}.

Or any two columns that the recipe names. Rows of instructions and of preferences have keys of
their own, see training.corpus.instructions and .preferences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.instructions import is_instruction, read_instruction
from training.corpus.lines import numbered_lines
from training.corpus.preferences import is_preference, read_preference
from training.corpus.reading import Columns, Reading
from training.corpus.segment import Segment
from training.corpus.text import alone


def read_jsonl(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the pairs of `path`; blank lines are skipped. Raises DataInvalid with path:line.

    Without columns, the keys are source and target, the codes of the languages, or those of
    instructions and preferences.
    """
    for number, line in numbered_lines(path, how):
        if not line.strip():
            continue
        try:
            body = _parse(line, path, number)
            source, target, rejected = row_of(body, how, f"{path}:{number}")
        except DataInvalid as error:
            how.found_bad(error)
            continue
        document = document_of(body) or path.name
        yield Segment(source, target, document, str(path), number, rejected=rejected)


def row_of(body: dict[str, Any], how: Reading, where: str) -> tuple[str, str, str | None]:
    """Return source, target and rejected text of one row. Raises DataInvalid with `where`."""
    if how.columns is not None:
        return *_named(body, how.columns, where), None
    if is_preference(body):
        return read_preference(body, where)
    if is_instruction(body):
        return *read_instruction(body, where), None
    return *_texts(body, how.pair, where), None


def document_of(body: dict[str, Any]) -> str:
    """Return the document that a row names; empty where it names none."""
    named = body.get("doc")
    return str(named) if isinstance(named, str | int) else ""


def read_texts(path: Path, how: Reading) -> Iterator[Segment]:
    """Yield the texts of `path` as monolingual segments. Raises DataInvalid with path:line.

    Without columns, the key is `text`.
    """
    for number, line in numbered_lines(path, how):
        if not line.strip():
            continue
        try:
            body = _parse(line, path, number)
            text = _alone(body, how.columns, f"{path}:{number}")
        except DataInvalid as error:
            how.found_bad(error)
            continue
        document = document_of(body) or path.name
        yield alone(text, how.pair.source, document=document, path=path, line=number)


def _alone(body: dict[str, Any], columns: Columns | None, where: str) -> str:
    key = columns.target if columns else "text"
    if key not in body:
        raise DataInvalid(
            f"{where}: expected the key {key!r}, found "
            f"{', '.join(map(repr, body)) or 'none'}; name the key in the source, for example "
            f"`columns: {{target: {next(iter(body), 'text')}}}`"
        )
    return _text(body, key, where)


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataInvalid(
            f"{path}:{number}: not JSON ({error}); expected one object a line, such as "
            '{"source": "Save", "target": "Enregistrer"}'
        ) from error
    if not isinstance(body, dict):
        raise DataInvalid(
            f"{path}:{number}: expected an object with source and target, found {line[:40]!r}"
        )
    return body


def _texts(body: dict[str, Any], pair: LanguagePair, where: str) -> tuple[str, str]:
    inner = body.get("translation", body)
    texts = {_code(key): value for key, value in inner.items()} if isinstance(inner, dict) else {}
    for source, target in (("source", "target"), (pair.source, pair.target)):
        if source in texts and target in texts:
            return _text(texts, source, where), _text(texts, target, where)
    raise DataInvalid(
        f'{where}: expected the keys "source" and "target", or "{pair.source}" and '
        f'"{pair.target}", found {", ".join(map(repr, body)) or "none"}; rename the keys, '
        "or set `pair` of this source in the recipe"
    )


def _named(body: dict[str, Any], columns: Columns, where: str) -> tuple[str, str]:
    if missing := [key for key in (columns.source, columns.target) if key not in body]:
        raise DataInvalid(
            f"{where}: expected the keys {columns.source!r} and {columns.target!r}, found "
            f"{', '.join(map(repr, body)) or 'none'}; correct `columns` of this source "
            f"({' and '.join(missing)} missing)"
        )
    return _text(body, columns.source, where), _text(body, columns.target, where)


def _text(texts: dict[str, Any], key: str, where: str) -> str:
    value = texts[key]
    if not isinstance(value, str):
        raise DataInvalid(
            f"{where}: {key!r} must be a string, found {type(value).__name__}; remove the line "
            "or write an empty string (empty pairs are dropped and counted)"
        )
    return value


def _code(key: str) -> str:
    return key.lower().replace("-", "_")
