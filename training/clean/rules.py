"""Which pairs teach something wrong, one rule at a time. Nothing here changes a text.

Whitespace is Markdown and layout, and short strings are most of an interface: neither is ever
collapsed or dropped. Rules of language look at texts without their markup, and only at those that
are long enough to tell. The limits are OpusFilter's and Mozilla's (firefox-translations-training),
where docs/data.md names no other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Final

from pydantic import Field

from adapters.ids import LanguagePair
from adapters.strict.section import Section
from training.clean import contents, copies, language_id, scripts
from training.clean.garbled import is_garbled
from training.clean.view import Side, View

# Below this many more columns a ratio says nothing: "Add" is "Hinzufügen", "Match Brackets" is
# "Mettre en évidence les parenthèses".
_RATIO_SLACK: Final = 30
# Texts with fewer letters are names, versions and commands.
_FEW_LETTERS: Final = 12
# The language of shorter texts is a guess.
_ENOUGH_LETTERS: Final = 40
# A summary is no longer the source's words: it may be of any length, leave tags out, or quote.
# Monolingual text has no other side.
_ANY_LENGTH: Final = {
    "drop_identical": False,
    "max_copied": None,
    "max_chars": None,
    "max_words": None,
    "max_length_ratio": None,
    "match_placeholders": False,
    "match_addresses": False,
    "min_numbers_shared": None,
    "max_sentences_apart": None,
}


class CleanRules(Section):
    """The rules of cleaning, in the order in which they are tried; null and false switch off."""

    drop_garbled: bool = Field(
        default=True, description="drop control characters, and text in a wrong encoding"
    )
    drop_identical: bool = Field(
        default=True, description="drop pairs whose target is the source: they teach copying"
    )
    max_copied: float | None = Field(
        default=0.9, gt=0, le=1, description="share of words, from five on, that both sides have"
    )
    max_chars: int | None = Field(default=1000, ge=1, description="longest source or target")
    max_words: int | None = Field(default=150, ge=1, description="most words of either side")
    max_length_ratio: float | None = Field(
        default=3.0, gt=1, description="longer side to shorter side; wide characters count twice"
    )
    max_word_chars: int | None = Field(
        default=60, ge=1, description="longest word that is no markup, where spaces divide words"
    )
    min_letters: float | None = Field(
        default=0.5, gt=0, le=1, description="share of letters in what is no space or markup"
    )
    min_script: float | None = Field(
        default=0.3, gt=0, le=1, description="share of letters in the language's own writing"
    )
    other_language: float | None = Field(
        default=0.95,
        gt=0,
        le=1,
        description="drop a pair if one side is so surely (0 to 1) of another language",
    )
    match_placeholders: bool = Field(
        default=True, description="drop pairs whose placeholders or tags differ"
    )
    match_addresses: bool = Field(
        default=True, description="drop pairs that name other hosts or e-mail addresses"
    )
    min_numbers_shared: float | None = Field(
        default=0.5, gt=0, le=1, description="share of numbers of two digits and more in both"
    )
    max_sentences_apart: int | None = Field(
        default=5, ge=0, description="more or fewer ends of sentences in the target"
    )
    drop_loops: bool = Field(
        default=True, description="drop targets that say the same four times on end"
    )
    blocked_words: tuple[str, ...] = Field(
        default=(), strict=False, description="drop pairs with one of these words", examples=["[x]"]
    )
    drop_duplicates: bool = Field(
        default=True, description="keep the first of equal pairs, and the first of equal sources"
    )

    def relaxed(self) -> CleanRules:
        """Return the rules without those that hold for translations only, unless they are set."""
        others = {key: v for key, v in _ANY_LENGTH.items() if key not in self.model_fields_set}
        return self.model_copy(update=others)


Rule = Callable[[View], bool]


def rules_of(config: CleanRules) -> dict[str, Rule]:
    """Return name -> "must this pair go?", in order; a pair is counted at the first that says yes.

    The duplicate rules remember what they have seen, so make a new set for every run.
    """
    rules: dict[str, Rule | None] = {
        "empty": _is_empty,
        "equal_sides": _prefers_itself,
        "garbled": _is_garbled if config.drop_garbled else None,
        "identical": copies.is_copy if config.drop_identical else None,
        **_of_lengths(config),
        "copied": _over(copies.copied, config.max_copied),
        **_of_languages(config),
        "placeholders": (lambda v: not v.same_placeholders) if config.match_placeholders else None,
        "addresses": (lambda v: not contents.same_addresses(v)) if config.match_addresses else None,
        "numbers": _under(contents.numbers_shared, config.min_numbers_shared),
        "sentences": _over(contents.sentences_apart, config.max_sentences_apart),
        "loops": _loops if config.drop_loops else None,
        "blocked": _blocks(config.blocked_words) if config.blocked_words else None,
        **(_duplicates() if config.drop_duplicates else {}),
    }
    return {name: rule for name, rule in rules.items() if rule is not None}


def _of_lengths(config: CleanRules) -> dict[str, Rule | None]:
    return {
        "too_long": _over(_chars, config.max_chars),
        "too_many_words": _over(lambda v: max(len(s.words) for s in v.sides), config.max_words),
        "length_ratio": _over(_length_ratio, config.max_length_ratio),
        "long_word": _over(_longest_word, config.max_word_chars),
    }


def _of_languages(config: CleanRules) -> dict[str, Rule | None]:
    return {
        "letters": _under(_letters, config.min_letters),
        "script": _under(_script, config.min_script),
        "language": _of_other_language(config.other_language) if config.other_language else None,
    }


def _over(measure: Callable[[View], float], most: float | None) -> Rule | None:
    return None if most is None else lambda view: measure(view) > most


def _under(measure: Callable[[View], float], least: float | None) -> Rule | None:
    return None if least is None else lambda view: measure(view) < least


def _is_empty(view: View) -> bool:
    return not view.segment.source.strip() or not view.segment.target.strip()


def _prefers_itself(view: View) -> bool:
    rejected = view.segment.rejected
    return rejected is not None and rejected.strip() == view.segment.target.strip()


def _is_garbled(view: View) -> bool:
    return any(is_garbled(side.text) for side in view.sides)


def _chars(view: View) -> int:
    return max(len(view.segment.source), len(view.segment.target))


def _length_ratio(view: View) -> float:
    short, long = sorted(_columns(side.text) for side in view.sides)
    return long / max(1, short) if long - short > _RATIO_SLACK else 1.0


def _columns(text: str) -> int:
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _longest_word(view: View) -> int:
    # Chinese and Japanese sentences have no spaces; ASCII has no such writing.
    return max((len(w) for side in view.sides for w in side.words if w.isascii()), default=0)


def _letters(view: View) -> float:
    return min(map(_share_of_letters, view.sides))


def _share_of_letters(side: Side) -> float:
    shown = sum(map(len, side.words))
    return len(side.letters) / shown if shown > _FEW_LETTERS else 1.0


def _script(view: View) -> float:
    return min(
        (
            scripts.share_of(side.letters, language)
            for side, language in _spoken(view)
            if len(side.letters) > _FEW_LETTERS
        ),
        default=1.0,
    )


def _of_other_language(least: float) -> Rule:
    def is_other(view: View) -> bool:
        return any(
            len(side.letters) >= _ENOUGH_LETTERS
            and not language_id.is_of(side.plain, language, least=least)
            for side, language in _spoken(view)
        )

    return is_other


def _spoken(view: View) -> tuple[tuple[Side, str], ...]:
    pair: LanguagePair | None = view.segment.pair
    return () if pair is None else ((view.source, pair.source), (view.target, pair.target))


def _loops(view: View) -> bool:
    return contents.loops(view.target.words) and not contents.loops(view.source.words)


def _blocks(words: tuple[str, ...]) -> Rule:
    blocked = {word.casefold() for word in words}
    return lambda view: any(
        word.strip(".,;:!?()\"'").casefold() in blocked for side in view.sides for word in side.words
    )


def _duplicates() -> dict[str, Rule | None]:
    def pair(view: View) -> tuple[str, ...]:
        one = view.segment
        return (str(one.pair), one.source, one.target, one.rejected or "")

    def source(view: View) -> tuple[str, ...]:
        # Preferences tell translations of one source apart: each teaches something of its own.
        one = view.segment
        return (str(one.pair), one.source) if one.rejected is None else pair(view)

    return {"duplicate": _Seen(pair), "other_translation": _Seen(source)}


class _Seen:
    """Says yes from the second time on that a key comes by."""

    def __init__(self, key: Callable[[View], tuple[str, ...]]) -> None:
        self._key = key
        self._seen: set[tuple[str, ...]] = set()

    def __call__(self, view: View) -> bool:
        key = self._key(view)
        known = key in self._seen
        self._seen.add(key)
        return known
