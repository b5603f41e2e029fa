"""Held-out text: what systems are measured on, out of a file of any format that recipes read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.corpus.formats import FORMATS, Double
from training.corpus.lines import numbered_lines
from training.corpus.places import LANGUAGE, Place
from training.corpus.reading import Reading
from training.corpus.segment import Segment
from training.corpus.source import Source
from training.evaluate.scoreboard import TestSet

_UNSAID: Final = "not said"
_ROWS: Final = FORMATS["jsonl"].suffixes
# Of a file without a pair only the rows are looked at, so any languages do.
_ANY: Final = Reading(LanguagePair("en", "fr"), skip_bad=True)


@dataclass(frozen=True)
class HeldOut:
    """A test set and what is known of where it is from; `digest` is of the whole files.

    left_out: rows that cannot be read.
    """

    test: TestSet
    where: str
    kind: str
    digest: str
    licence: str | None = None
    left_out: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without the texts."""
        return {
            "name": self.test.name,
            "where": self.where,
            "format": self.kind,
            "digest": self.digest,
            "licence": self.licence or _UNSAID,
            "segments": len(self.test.sources),
            "left_out": self.left_out,
            "texts_digest": f"sha256:{self.test.digest}",
        }


@dataclass(frozen=True)
class Wanted:
    """What is to be read: a path, a folder, a glob, or `{language}` in a path."""

    where: str
    limit: int | None = None
    skip_bad: bool = False
    licence: str | None = None

    @property
    def kind(self) -> str:
        """Which of a recipe's formats it is, by its name. Raises DataInvalid."""
        path = Path(self.where)
        if LANGUAGE in self.where:
            return _double_kind(path)
        for name, found in FORMATS.items():
            if not isinstance(found, Double) and path.suffix in found.suffixes:
                return name
        if not path.suffix and len(path.parts) == 1 and not path.exists():
            return "gettext"  # the name of an installed package
        raise DataInvalid(
            f"{self.where}: {'' if path.exists() else 'no such file, and '}no format has the "
            f"ending {path.suffix!r}; expected one of {', '.join(_endings())}, or a path with "
            f"{LANGUAGE} in it where each language has its own file"
        )

    def check(self) -> None:
        """Tell what can be told without reading. Raises DataInvalid."""
        if self.kind == "gettext" or LANGUAGE in self.where:
            return
        if not set(self.where) & set("*?[") and not Path(self.where).exists():
            raise DataInvalid(
                f"{self.where}: no such file; expected sources with reference translations"
            )

    def pair_said(self) -> LanguagePair | None:
        """Return the pair that the first row of a JSON Lines file names, if it does."""
        path = Path(self.where)
        if path.suffix not in _ROWS or not path.is_file():
            return None
        said = next(iter(_pairs_said(path).values()), None)
        return LanguagePair.parse(said) if said else None

    def read(self, pair: LanguagePair) -> HeldOut:
        """Return the first `limit` segments of `pair`. Raises DataInvalid if there is none."""
        self.check()
        licence = self.licence or _UNSAID
        source = Source.model_validate({self.kind: self.where, "pair": pair, "licence": licence})
        places, how = source.places(Path(), [pair]), source.reading([pair], skip_bad=self.skip_bad)
        segments = list(islice(_of(source.read(places, [pair], how), places, pair), self.limit))
        if not segments:
            raise DataInvalid(
                f"{self.where}: found no segment of {pair}; expected rows such as "
                '{"source": "Save", "target": "…"}, or name other languages with --pair'
            )
        name = Path(self.where).name
        test = TestSet(name, pair, *zip(*((s.source, s.target) for s in segments), strict=True))
        return HeldOut(test, self.where, self.kind, source.digest(places), self.licence, how.bad)


def _of(
    segments: Iterable[Segment], places: Sequence[Place], pair: LanguagePair
) -> Iterator[Segment]:
    """Yield those that are of `pair`: a run of several pairs keeps all of them in one file."""
    files = (file for place in places for file in place.files if file.suffix in _ROWS)
    said = {(str(file), line): code for file in files for line, code in _pairs_said(file).items()}
    for segment in segments:
        if said.get((segment.path, segment.line), str(pair)) == str(pair):
            yield segment


def _double_kind(path: Path) -> str:
    for name, found in FORMATS.items():
        if isinstance(found, Double) and path.suffix in found.suffixes:
            return name
    return "moses" if path.suffix else "markdown"


def _endings() -> list[str]:
    formats = [found for found in FORMATS.values() if not isinstance(found, Double)]
    return [suffix for found in formats for suffix in found.suffixes]


def _pairs_said(path: Path) -> dict[int, str]:
    """Return the pair of each row that names one, by its line."""
    found: dict[int, str] = {}
    for number, line in numbered_lines(path, _ANY):
        if '"pair"' not in line:
            continue
        try:
            body = json.loads(line)
        except (ValueError, RecursionError):
            continue  # whoever reads the row tells what is wrong with it
        if isinstance(body, dict) and isinstance(body.get("pair"), str):
            found[number] = body["pair"]
    return found
