"""One source of text as a recipe names it, and its segments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal, Self, get_args

from pydantic import Field, model_validator

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.manifest import Pair
from adapters.strict.section import Section
from training.corpus.catalogues import find_catalogues
from training.corpus.gettext import read_gettext
from training.corpus.jsonl import Columns, read_jsonl, read_texts
from training.corpus.segment import Segment
from training.corpus.text import read_text
from training.corpus.tsv import read_tsv

FORMATS = ("gettext", "jsonl", "tsv", "text")
Part = Literal["train", "dev", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)


class Source(Section):
    """Where text comes from: exactly one of the formats, and under which licence."""

    gettext: str | None = Field(
        default=None, description="a .po/.mo file, a folder of them, or an installed pip package"
    )
    jsonl: str | None = Field(default=None, description="a JSON Lines file")
    tsv: str | None = Field(default=None, description="a tab-separated file")
    text: str | None = Field(
        default=None, description="a file of plain text in one language, texts between empty lines"
    )
    language: str | None = Field(
        default=None,
        pattern=r"^[a-z]{2,3}(_[a-z0-9]{2,8})*$",
        description="of monolingual text: a text source, or jsonl of one column",
        examples=["fr"],
    )
    columns: Columns | None = Field(
        default=None,
        description="keys of the texts in a JSON Lines file, for example "
        "{source: english_text, target: french_summary}",
    )
    pair: Pair | None = Field(
        default=None,
        description="languages of the files, if not the adapter's; they may be reversed",
        examples=["en-fr"],
    )
    both_directions: bool = Field(
        default=True,
        description="where the recipe's `pairs` name both directions, use the text for both",
    )
    part: Part | None = Field(
        default=None,
        description="train, dev or test, if all of it belongs there; else `split` divides it",
    )
    licence: str = Field(min_length=1, description="SPDX id of the text's licence")
    name: str | None = Field(default=None, description="how the model card calls the source")

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        given = [name for name in FORMATS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(FORMATS[:-1])} and {FORMATS[-1]}, "
                f"found {' and '.join(given) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_format(self) -> Self:
        if self.columns is not None and not self.jsonl:
            raise ValueError(
                "`columns` are of a jsonl source; a TSV file names its own in a header"
            )
        if self.text and self.language is None:
            raise ValueError("a text source says its `language`; add for example `language: fr`")
        if self.language is not None and (self.gettext or self.tsv or self.pair):
            raise ValueError(
                "`language` is of monolingual text (text or jsonl), which has no `pair`; "
                "remove one of them"
            )
        return self

    @property
    def location(self) -> str:
        """The path or package that the recipe names."""
        return self.gettext or self.jsonl or self.tsv or self.text or ""

    def directions(self, pairs: Sequence[LanguagePair]) -> list[LanguagePair]:
        """Return which of `pairs` this source has text for, that of the files first."""
        own = self.pair or pairs[0]
        found = [pair for pair in (own, own.reverse) if pair in pairs]
        return found if self.both_directions else found[:1]

    def files(self, folder: Path, pairs: Sequence[LanguagePair]) -> list[Path]:
        """Return the files of this source; `folder` is the recipe's. Raises DataInvalid."""
        if self.gettext:
            language = (self.pair or pairs[0]).target
            return find_catalogues(self.gettext, folder, language=language)
        path = folder / Path(self.location).expanduser()
        if not path.is_file():
            raise DataInvalid(f"{path}: no such file; paths are relative to the recipe's folder")
        return [path]

    def read(self, files: list[Path], pairs: Sequence[LanguagePair]) -> Iterator[Segment]:
        """Yield the segments of `files` in each of their directions. Raises DataInvalid."""
        if self.language is not None:
            for path in files:
                yield from self._read_texts(path, self.language)
            return
        own = self.pair or pairs[0]
        for direction in self.directions(pairs):
            for path in files:
                for segment in self._read_file(path, own):
                    found = replace(segment, pair=own)
                    yield found if direction == own else found.reversed()

    def _read_texts(self, path: Path, language: str) -> Iterator[Segment]:
        return read_texts(path, language, self.columns) if self.jsonl else read_text(path, language)

    def _read_file(self, path: Path, pair: LanguagePair) -> Iterator[Segment]:
        if self.gettext:
            return read_gettext(path)
        return read_jsonl(path, pair, self.columns) if self.jsonl else read_tsv(path, pair)


def digest_of(files: list[Path]) -> str:
    """Return `sha256:…` over names and contents of `files`: what the text was, wherever it lay."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name} {digest}\n".encode())
    return f"sha256:{total.hexdigest()}"
