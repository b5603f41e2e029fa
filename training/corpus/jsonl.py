"""JSON Lines: {"source", "target"}, {"en", "fr"}, or OPUS' {"translation": {"en", "fr"}}.

Or any two columns that the recipe names. Rows of a preference have keys of their own, see
training.corpus.preferences.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.strict.section import Section
from training.corpus.lines import numbered_lines
from training.corpus.preferences import is_preference, read_preference
from training.corpus.segment import Segment
from training.corpus.text import alone


class Columns(Section):
    """The keys of the texts in each line."""

    source: str = Field(default="source", description="key of the source text")
    target: str = Field(default="target", description="key of the target text")


def read_jsonl(path: Path, pair: LanguagePair, columns: Columns | None = None) -> Iterator[Segment]:
    """Yield the pairs of `path`; blank lines are skipped. Raises DataInvalid with path:line.

    Without `columns`, the keys are source and target, or the codes of the languages.
    """
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        body = _parse(line, path, number)
        where, rejected = f"{path}:{number}", None
        if columns is not None:
            source, target = _named(body, columns, where)
        elif is_preference(body):
            source, target, rejected = read_preference(body, where)
        else:
            source, target = _texts(body, pair, where)
        document = str(body.get("doc") or path.name)
        yield Segment(source, target, document, str(path), number, rejected=rejected)


def read_texts(path: Path, language: str, columns: Columns | None = None) -> Iterator[Segment]:
    """Yield the texts of `path` as monolingual segments. Raises DataInvalid with path:line.

    Without `columns`, the key is `text`.
    """
    key = columns.target if columns else "text"
    for number, line in numbered_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        body = _parse(line, path, number)
        if key not in body:
            raise DataInvalid(
                f"{where}: expected the key {key!r}, found "
                f"{', '.join(map(repr, body)) or 'none'}; name the key in the source, for example "
                f"`columns: {{target: {next(iter(body), 'text')}}}`"
            )
        text, document = _text(body, key, where), str(body.get("doc") or path.name)
        yield alone(text, language, document=document, path=path, line=number)


def _parse(line: str, path: Path, number: int) -> dict[str, Any]:
    try:
        body = json.loads(line)
    except ValueError as error:
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
