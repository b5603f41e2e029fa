"""Sources to translate: as long as real ones, made of words, and no two alike."""

from __future__ import annotations

import math
import random
from typing import Final, Literal

from pydantic import Field

from adapters.strict.section import Section

# Characters of 2,871 English segments of software documentation: median 100, a tenth above 300.
_SEGMENT: Final = (4.57, 0.93)
# A page in one request, as a user pastes it: a few hundred words.
_DOCUMENT: Final = (7.0, 0.35)
_SHORTEST: Final = 8
# English in the tokenizers of today: four characters a token.
_CHARS_PER_TOKEN: Final = 4
_WORDS: Final = (
    "the a of to in and for with on from is are not this each when which can must will new open "
    "close save delete move file folder page text name value key list table window button menu "
    "server client request answer cluster node volume image container service network policy "
    "default limit number time user group role access token field option command line version "
    "update create start stop run wait change select insert remove copy show hide enable disable"
)

Kind = Literal["segment", "document"]


class Texts(Section):
    """How long sources and answers are."""

    documents: float = Field(default=0.0, ge=0, le=1, description="share; the others are segments")
    max_chars: int = Field(default=1600, ge=_SHORTEST, description="longer ones are cut to this")
    answer_per_source: float = Field(
        default=1.2, gt=0, description="answer tokens for each of the source, at most or exactly"
    )
    answer_ends: Literal["itself", "exactly"] = Field(
        default="exactly",
        description="itself: where the adapter stops; exactly: the same work on every server",
    )

    def drawn(self, number: int, chance: random.Random) -> tuple[Kind, str]:
        """Return a source; `number` stands in it, so that no prefix cache does the work."""
        kind: Kind = "document" if chance.random() < self.documents else "segment"
        median, spread = _DOCUMENT if kind == "document" else _SEGMENT
        length = round(math.exp(chance.gauss(median, spread)))
        return kind, text_of(number, min(max(length, _SHORTEST), self.max_chars), chance)

    def answer_tokens(self, text: str) -> int:
        """Return the tokens that the answer to `text` may have, or has."""
        return max(1, round(self.answer_per_source * len(text) / _CHARS_PER_TOKEN))


def text_of(number: int, chars: int, chance: random.Random) -> str:
    """Return about `chars` characters of words in sentences, beginning with the number."""
    known = _WORDS.split()
    words, length = [str(number)], len(str(number))
    while length < chars:
        word = chance.choice(known)
        words.append(word)
        length += len(word) + 1
    return " ".join(words) + "."
