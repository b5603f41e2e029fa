"""Reading: what readers must know beside the file, and what they tell beside the segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from pydantic import Field

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.strict.section import Section
from training.corpus.segment import Segment

_SHOWN: Final = 5


class Columns(Section):
    """The keys of the texts in each row."""

    source: str = Field(default="source", description="key of the source text")
    target: str = Field(default="target", description="key of the target text")


@dataclass(frozen=True, slots=True)
class Page:
    """How many blocks with words the original of a page has, and how many were aligned."""

    name: str
    blocks: int
    aligned: int


@dataclass
class Reading:
    """Of one source: the languages and columns of its files, and what to do with bad rows.

    With `skip_bad` a row that cannot be read is counted in place of its error. Readers go on after
    the row if they can, else with the next file.
    """

    pair: LanguagePair
    columns: Columns | None = None
    skip_bad: bool = False
    bad: int = 0
    shown: list[str] = field(default_factory=list)
    pages: list[Page] = field(default_factory=list)

    def found_bad(self, error: DataInvalid) -> None:
        """Take note of a row that cannot be read. Raises `error` unless bad rows are skipped."""
        if not self.skip_bad:
            raise error
        self.bad += 1
        if len(self.shown) < _SHOWN:
            self.shown.append(str(error))

    def sound(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Yield the segments that can be written; half a character is bad. Raises DataInvalid.

        JSON and spreadsheets can name one half of a surrogate pair, which UTF-8 cannot hold.
        """
        for segment in segments:
            texts = segment.source, segment.target, segment.document, segment.rejected or ""
            try:
                "".join(texts).encode()
            except UnicodeEncodeError:
                self.found_bad(
                    DataInvalid(
                        f"{segment.origin}: half a character (a surrogate without its other half);"
                        " mend the text where it was cut"
                    )
                )
            else:
                yield segment
