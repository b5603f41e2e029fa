"""One source of text as a recipe names it, and its segments."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, Self, get_args

from pydantic import Field, ValidationInfo, field_validator, model_validator

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.manifest import Pair
from adapters.strict.section import Section
from training.corpus.catalogues import find_catalogues
from training.corpus.formats import FORMATS, Double
from training.corpus.hub import HubSet, read_hub
from training.corpus.jsonl import read_texts
from training.corpus.places import PairedPlace, Place, Sides, double_places, single_places
from training.corpus.reading import Columns, Reading
from training.corpus.segment import NO_MIX, Mix, Segment
from training.corpus.text import read_text

# All that a source may be; those of `text` and `hub` are no files of pairs.
KINDS: Final = (*FORMATS, "text", "hub")
Part = Literal["train", "dev", "test"]
PARTS: Final[tuple[Part, ...]] = get_args(Part)
_HAS_COLUMNS: Final = ("jsonl", "csv", "xlsx", "hub")


Where = str | Sides


class Source(Section):
    """Where text comes from: exactly one of the formats, and under which licence.

    Files of pairs may be a file, a folder or a glob. Where each language has its own, `{language}`
    stands for its code in the path, or `source` and `target` name both.
    """

    gettext: str | None = Field(
        default=None, description="a .po/.mo file, a folder of them, or an installed pip package"
    )
    tmx: str | None = Field(default=None, description="translation memories (TMX 1.4)")
    xliff: str | None = Field(default=None, description="XLIFF 1.2 or 2.x; finished units")
    jsonl: str | None = Field(default=None, description="JSON Lines files")
    tsv: str | None = Field(default=None, description="tab-separated files")
    csv: str | None = Field(default=None, description="CSV files with a first row of names")
    xlsx: str | None = Field(default=None, description="workbooks with a first row of names")
    xcstrings: str | None = Field(default=None, description="Apple's string catalogues")
    commented: str | None = Field(
        default=None, description="Markdown pages with the original in comments (Kubernetes)"
    )
    markdown: Where | None = Field(
        default=None, description="two trees of Markdown pages", examples=["docs/{language}"]
    )
    moses: Where | None = Field(
        default=None, description="two files of lines", examples=["europarl.{language}"]
    )
    subtitles: Where | None = Field(default=None, description="two SRT or WebVTT files")
    android: Where | None = Field(
        default=None,
        description="two strings.xml",
        examples=["{source: res/values/strings.xml, target: res/values-fr/strings.xml}"],
    )
    apple: Where | None = Field(
        default=None, description="two .strings files", examples=["{language}.lproj"]
    )
    locale_json: Where | None = Field(
        default=None, description="i18next or ARB files", examples=["locales/{language}.json"]
    )
    properties: Where | None = Field(default=None, description="two Java .properties files")
    hub: HubSet | None = Field(default=None, description="a data set of a hub, by name")
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
    domain: str | None = Field(
        default=None,
        min_length=1,
        description="field of the text, for shares and stages under `sampling`",
        examples=["medical"],
    )
    weight: float = Field(
        default=1.0, gt=0, le=1000, description="how often its text comes, against other sources'"
    )
    replay: bool = Field(
        default=False,
        description="text against forgetting: all of it is for training, and all such sources "
        "together are `sampling.replay` of it",
    )
    part: Part | None = Field(
        default=None,
        validate_default=True,
        description="train, dev or test, if all of it belongs there; else `split` divides it",
    )
    licence: str = Field(min_length=1, description="SPDX id of the text's licence")
    name: str | None = Field(default=None, description="how the model card calls the source")

    @field_validator("part")
    @classmethod
    def _replay_is_trained_on(cls, part: Part | None, info: ValidationInfo) -> Part | None:
        if not info.data.get("replay"):
            return part
        if part in {"dev", "test"}:
            raise ValueError(f"replay is training text, found part: {part}; remove one of them")
        return "train"

    @model_validator(mode="after")
    def _one_format(self) -> Self:
        given = [name for name in KINDS if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"needs exactly one of {', '.join(KINDS[:-1])} and {KINDS[-1]}, "
                f"found {' and '.join(given) or 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _keys_of_format(self) -> Self:
        if self.columns is not None and self.kind not in _HAS_COLUMNS:
            raise ValueError(
                f"`columns` are of a source of {', '.join(_HAS_COLUMNS)}; a TSV file names its own "
                "in a header"
            )
        if self.text and self.language is None:
            raise ValueError("a text source says its `language`; add for example `language: fr`")
        if self.language is not None and (self.kind not in {"text", "jsonl"} or self.pair):
            raise ValueError(
                "`language` is of monolingual text (text or jsonl), which has no `pair`; "
                "remove one of them"
            )
        return self

    @property
    def kind(self) -> str:
        """Which of the formats it is."""
        return next(name for name in KINDS if getattr(self, name))

    @property
    def location(self) -> str:
        """The path, package or data set that the recipe names."""
        where = getattr(self, self.kind)
        if isinstance(where, Sides):
            return f"{where.source} and {where.target}"
        return str(where.name if isinstance(where, HubSet) else where)

    def directions(self, pairs: Sequence[LanguagePair]) -> list[LanguagePair]:
        """Return which of `pairs` this source has text for, that of the files first."""
        own = self.pair or pairs[0]
        found = [pair for pair in (own, own.reverse) if pair in pairs]
        return found if self.both_directions else found[:1]

    def places(self, folder: Path, pairs: Sequence[LanguagePair]) -> Sequence[Place]:
        """Return the files of this source; `folder` is the recipe's. Raises DataInvalid."""
        pair = self.pair or pairs[0]
        if self.gettext:
            return [Place(f) for f in find_catalogues(self.gettext, folder, language=pair.target)]
        if self.hub:
            return []
        if self.text:
            return single_places(self.text, folder, (".txt",))
        found, where = FORMATS[self.kind], getattr(self, self.kind)
        if isinstance(found, Double):
            return double_places(where, folder, pair, found.suffixes)
        return single_places(where, folder, found.suffixes)

    def digest(self, places: Sequence[Place]) -> str:
        """Return `sha256:…` of the text: of names and contents of its files.

        A data set of a hub has no files here; of it, what was asked for is digested.
        """
        if self.hub is None:
            return digest_of([file for place in places for file in place.files])
        asked = f"{self.hub.model_dump_json()} {self.pair or ''}"
        return f"sha256:{hashlib.sha256(asked.encode()).hexdigest()}"

    def read(
        self, places: Sequence[Place], pairs: Sequence[LanguagePair], how: Reading
    ) -> Iterator[Segment]:
        """Yield the segments of `places` in each of their directions. Raises DataInvalid.

        `how` is of the languages of the files, see `reading`.
        """
        segments = how.sound(self._segments(places, how))
        directions = [how.pair] if self.language else self.directions(pairs)
        mix = Mix(self.domain, self.weight, self.replay)
        mix = NO_MIX if mix == NO_MIX else mix
        for segment in segments:
            found = segment.of(how.pair, mix)
            for direction in directions:
                yield found if direction == how.pair else found.reversed()

    def reading(self, pairs: Sequence[LanguagePair], *, skip_bad: bool = False) -> Reading:
        """Return how the files are read: their languages and columns."""
        own = self.pair or pairs[0]
        if self.language is not None:
            own = LanguagePair(self.language, self.language)
        return Reading(own, self.columns, skip_bad)

    def _segments(self, places: Sequence[Place], how: Reading) -> Iterator[Segment]:
        if self.hub is not None:
            yield from read_hub(self.hub, how)
            return
        for place in places:
            try:
                yield from self._of_place(place, how)
            except DataInvalid as error:  # of a whole file: the next may be sound
                how.found_bad(error)

    def _of_place(self, place: Place, how: Reading) -> Iterator[Segment]:
        if self.language is not None:
            return (read_texts if self.jsonl else read_text)(place.target, how)
        found = FORMATS[self.kind]
        if not isinstance(found, Double):
            return found.read(place.target, how)
        if not isinstance(place, PairedPlace):
            raise DataInvalid(
                f"{place.target}: expected a file of each language for {self.kind}, found one file"
            )
        return found.read(place.source, place.target, how)


def digest_of(files: list[Path]) -> str:
    """Return `sha256:…` over names and contents of `files`: what the text was, wherever it lay."""
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{path.name} {digest}\n".encode())
    return f"sha256:{total.hexdigest()}"
