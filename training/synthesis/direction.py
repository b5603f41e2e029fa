"""Direction: which side of a pair is real, and which is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from adapters.ids import LanguagePair
from training.corpus.segment import Segment


@dataclass(frozen=True)
class Direction:
    """Forward, a teacher makes the target; back, the target is real and its source is made.

    pair: the languages of the pairs that come out, in both cases.
    """

    pair: LanguagePair
    back: bool = False

    @property
    def asked(self) -> LanguagePair:
        """From which language into which the engine translates."""
        return self.pair.reverse if self.back else self.pair

    def originals(self, segments: Iterable[Segment]) -> Iterator[Segment]:
        """Yield those with a text to translate, each text once: of the pair, or of one language."""
        alone = LanguagePair(self.asked.source, self.asked.source)
        seen = set()
        for segment in segments:
            text = self.text_of(segment)
            if segment.pair in (self.pair, alone) and text.strip() and text not in seen:
                seen.add(text)
                yield segment

    def text_of(self, segment: Segment) -> str:
        """Return the real text: what the engine is asked for a translation of."""
        return segment.target if self.back else segment.source

    def made(self, original: Segment, text: str) -> Segment:
        """Return `original` with the engine's text on the other side; document and place stay."""
        real = self.text_of(original)
        source, target = (text, real) if self.back else (real, text)
        return Segment(source, target, original.document, original.path, original.line, self.pair)
