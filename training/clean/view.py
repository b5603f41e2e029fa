"""A pair as the rules see it: each text with what several rules ask of it, worked out once."""

from __future__ import annotations

import re
from typing import Final

from training.clean import writing
from training.corpus.segment import Segment

# Code, tags, addresses, link targets, placeholders and entities: what nobody translates. Every
# alternative begins with a plain character and has a bound, so that the search skips what is none.
_MARKUP: Final = re.compile(
    r"""``[^`]+`` | `[^`]*`
      | <!--[^<>]*--> | </?[A-Za-z][^<>]*> | \{/\*[^{}]*\*/\}
      | http[^\s<>()\[\]]+ | \]\([^()\s]*(?:\s"[^"()]*")?\)
      | \{\{[^{}]*\}\} | \{[^{}]*\} | \$\{[^{}]*\}
      | %\([^()\s]{1,40}\)[a-z] | %[-+#\d.$]{0,9}[diouxXeEfFgGcrsa](?!\w) | %\d{1,3}
      | &[A-Za-z]{2,8}; | &\#\w{1,7};""",
    re.VERBOSE,
)


class Side:
    """One text of a pair; `language` is None if nobody named it.

    `plain` is the text without markup, what a translator writes; `words` what spaces divide it
    into, which in Chinese may be a sentence (then `has_spaces` is false); `shown` the words on
    end; `letters` how many characters of those are letters, or marks on letters.
    """

    def __init__(self, text: str, language: str | None) -> None:
        # At once: nearly every pair comes to the rules that ask for these.
        self.text = text
        self.language = language
        self.plain = _MARKUP.sub(" ", text)
        self.words = self.plain.split()
        self.shown = "".join(self.words)
        self.letters = writing.letters(self.shown)
        self.different_words = {*self.words}
        self.has_spaces = (
            not writing.is_unspaced(self.shown)
            if language is None
            else writing.has_spaces(language)
        )


class View:
    """A segment and its two sides."""

    def __init__(self, segment: Segment) -> None:
        pair = segment.pair
        self.segment = segment
        self.source = Side(segment.source, None if pair is None else pair.source)
        self.target = Side(segment.target, None if pair is None else pair.target)
        self.sides = (self.source, self.target)
