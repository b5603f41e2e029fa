"""Segment: one source text and its translation, with where they were found."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adapters.ids import LanguagePair


@dataclass(frozen=True, slots=True)
class Segment:
    """A pair of texts, byte for byte as in the file: whitespace is part of the text.

    `document` groups segments that must not be torn apart by a split; `path` and `line` say
    where the pair was read (line 1 is the first; entry number for compiled catalogues). `pair`
    names the languages; readers that do not know them leave it to the source. Monolingual text
    is on both sides, and its pair has its language twice. `rejected` is another translation,
    which the target is preferred to.
    """

    source: str
    target: str
    document: str
    path: str
    line: int
    pair: LanguagePair | None = None
    rejected: str | None = None

    def reversed(self) -> Segment:
        """Return the same pair with the languages swapped; what was rejected has no reverse."""
        swapped = self.pair and self.pair.reverse
        return Segment(self.target, self.source, self.document, self.path, self.line, swapped)

    @property
    def origin(self) -> str:
        """`path:line`, for people."""
        return f"{self.path}:{self.line}"

    def to_json(self) -> dict[str, Any]:
        """Return what one line of a written JSONL file holds; the JSONL reader reads it back."""
        return {
            "source": self.source,
            "target": self.target,
            "doc": self.document,
            "path": self.path,
            "line": self.line,
            **({"pair": str(self.pair)} if self.pair else {}),
            **({} if self.rejected is None else {"rejected": self.rejected}),
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Segment:
        """Return what to_json gave, with the place it came from."""
        pair = LanguagePair.parse(body["pair"]) if "pair" in body else None
        texts = (body["source"], body["target"], body["doc"], body["path"], body["line"])
        return cls(*texts, pair, body.get("rejected"))


def write_jsonl(segments: Iterable[Segment], path: Path) -> None:
    """Write one JSON object a line; the file appears whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        for segment in segments:
            file.write(json.dumps(segment.to_json(), ensure_ascii=False) + "\n")
    draft.replace(path)


def load_jsonl(path: Path) -> list[Segment]:
    """Return the segments that write_jsonl wrote, with the places they came from."""
    with path.open(encoding="utf-8", newline="\n") as file:
        return [Segment.from_json(json.loads(line)) for line in file]
