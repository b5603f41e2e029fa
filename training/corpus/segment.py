"""Segment: one source text and its translation, with where they were found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from adapters.ids import LanguagePair


class Mix(NamedTuple):
    """What a source says of how often its text is trained on; one for all of its segments."""

    domain: str | None = None
    weight: float = 1.0
    replay: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values of what is not as it is by default."""
        return {k: value for k, value in self._asdict().items() if value != getattr(NO_MIX, k)}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Mix:
        """Return what to_json gave; other keys of `body` are passed over."""
        found = {key: body[key] for key in cls._fields if key in body}
        return cls(**found) if found else NO_MIX


NO_MIX: Final = Mix()


@dataclass(frozen=True, slots=True)
class Segment:
    """A pair of texts, byte for byte as in the file: whitespace is part of the text.

    `document` groups segments that must not be torn apart by a split; `path` and `line` say
    where the pair was read (line 1 is the first; entry number for compiled catalogues). `pair`
    names the languages; readers that do not know them leave it to the source. Monolingual text
    is on both sides, and its pair has its language twice. `rejected` is another translation,
    which the target is preferred to. `mix` is its source's part in training.
    """

    source: str
    target: str
    document: str
    path: str
    line: int
    pair: LanguagePair | None = None
    rejected: str | None = None
    mix: Mix = NO_MIX

    @property
    def domain(self) -> str | None:
        """The field that the text is of, if its source says so."""
        return self.mix.domain

    def reversed(self) -> Segment:
        """Return the same pair with the languages swapped; what was rejected has no reverse."""
        swapped = self.pair and self.pair.reverse
        texts = (self.target, self.source, self.document, self.path, self.line)
        return Segment(*texts, swapped, None, self.mix)

    def of(self, pair: LanguagePair, mix: Mix = NO_MIX) -> Segment:
        """Return the same texts as those of `pair`."""
        # dataclasses.replace takes several times as long, and all that is read comes here.
        texts = (self.source, self.target, self.document, self.path, self.line)
        return Segment(*texts, pair, self.rejected, mix)

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
            **({} if self.mix is NO_MIX else self.mix.to_json()),
        }

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Segment:
        """Return what to_json gave, with the place it came from."""
        pair = LanguagePair.parse(body["pair"]) if "pair" in body else None
        texts = (body["source"], body["target"], body["doc"], body["path"], body["line"])
        return cls(*texts, pair, body.get("rejected"), Mix.from_json(body))


def write_jsonl(segments: Iterable[Segment], path: Path) -> None:
    """Write one JSON object a line; the file appears whole or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with draft.open("w", encoding="utf-8", newline="\n") as file:
            for segment in segments:
                file.write(json.dumps(segment.to_json(), ensure_ascii=False) + "\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def written(path: Path) -> Iterator[Segment]:
    """Yield the segments that write_jsonl wrote, with the places they came from."""
    with path.open(encoding="utf-8", newline="\n") as file:
        for line in file:
            yield Segment.from_json(json.loads(line))


def load_jsonl(path: Path) -> list[Segment]:
    """Return the segments that write_jsonl wrote, with the places they came from."""
    return list(written(path))
