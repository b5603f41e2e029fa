"""Which pairs teach something wrong, one rule at a time. Nothing here changes a text.

Whitespace is Markdown and layout, and short strings are most of an interface: neither is ever
collapsed or dropped. Rules of language look at texts without their markup, and only at those that
are long enough to tell. Limits are those of OpusFilter (opusfilter/filters.py) and of Mozilla's
training pipeline (pipeline/clean in mozilla/translations); docs/data.md says which, and why others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final

from pydantic import Field

from adapters.strict.section import Section
from training.clean import contents, copies, language_id, lengths, script, writing
from training.clean.blocked import BlockedWords
from training.clean.garbled import is_garbled
from training.clean.placeholders import placeholders
from training.clean.view import Side, View
from training.corpus.segment import Segment

# The language of shorter texts is a guess; in columns, since twenty Chinese characters are enough.
_ENOUGH_COLUMNS: Final = 40
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
        default=True, description="drop control characters, and text read in a wrong encoding"
    )
    drop_identical: bool = Field(
        default=True, description="drop pairs whose target is the source: they teach copying"
    )
    max_chars: int | None = Field(
        default=1000, ge=1, description="longest source or target; null for any"
    )
    max_words: int | None = Field(default=150, ge=1, description="most words of either side")
    max_length_ratio: float | None = Field(
        default=3.0,
        gt=1,
        description="longer side to shorter side, null for any; wide characters count twice",
    )
    max_word_chars: int | None = Field(
        default=40, ge=1, description="longest word that only one side has"
    )
    min_average_word: float | None = Field(
        default=2.0, gt=0, description="least average length of five words and more"
    )
    max_average_word: float | None = Field(
        default=20.0, gt=0, description="greatest average length of five words and more"
    )
    max_copied: float | None = Field(
        default=0.9, gt=0, le=1, description="share of five words and more that both sides have"
    )
    drop_loops: bool = Field(
        default=True, description="drop targets that say the same four times on end"
    )
    min_letters: float | None = Field(
        default=0.5, gt=0, le=1, description="share of letters and digits in what is no markup"
    )
    min_script: float | None = Field(
        default=0.1, gt=0, le=1, description="share of words in the language's own writing"
    )
    other_language: float | None = Field(
        default=0.8,
        gt=0,
        le=1,
        description="drop a pair if one side is so surely of another language",
    )
    match_placeholders: bool = Field(
        default=True, description="drop pairs whose placeholders or tags differ"
    )
    match_addresses: bool = Field(
        default=True, description="drop pairs that name other sites or e-mail addresses"
    )
    min_numbers_shared: float | None = Field(
        default=0.5, gt=0, le=1, description="share of numbers of two digits and more in both"
    )
    max_sentences_apart: int | None = Field(
        default=3, ge=0, description="more ends of sentences on one side than on the other"
    )
    blocked_words: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        default=(),
        strict=False,
        description="drop pairs with one of these words or phrases, in any case",
        examples=["[x]"],
    )
    drop_duplicates: bool = Field(
        default=True, description="keep the first of equal pairs, and the first of equal sources"
    )
    near_duplicates: float | None = Field(
        default=None,
        ge=0.5,
        le=1,
        description="share of shared word triples (Jaccard) from which a later pair is dropped",
    )

    def relaxed(self) -> CleanRules:
        """Return the rules without those that hold for translations only, unless they are set."""
        others = {key: v for key, v in _ANY_LENGTH.items() if key not in self.model_fields_set}
        return self.model_copy(update=others)


class Cleaner:
    """Tells which rule drops a pair. It remembers nothing: every pair is judged by itself.

    `names` has the rules that are switched on, in the order in which they are tried. Duplicates
    are for whoever sees all pairs.
    """

    def __init__(self, config: CleanRules) -> None:
        every = {**_of_lengths(config), **_of_words(config), **_of_contents(config)}
        self._rules = {name: rule for name, rule in every.items() if rule is not None}
        self.names: tuple[str, ...] = tuple(self._rules)

    def broken(self, segment: Segment) -> str | None:
        """Return the name of the first rule that drops `segment`, None if it is good."""
        view = View(segment)
        for name, drops in self._rules.items():
            if drops(view):
                return name
        return None


_Rule = Callable[[View], bool]
_Rules = dict[str, _Rule | None]


def _of_lengths(config: CleanRules) -> _Rules:
    return {
        "empty": _is_empty,
        "equal_sides": _prefers_itself,
        "garbled": _is_garbled if config.drop_garbled else None,
        "identical": copies.is_copy if config.drop_identical else None,
        "too_long": _over(lengths.chars, config.max_chars),
        "too_many_words": _of_more_words(config.max_words),
        "length_ratio": _over(lengths.ratio, config.max_length_ratio),
    }


def _of_words(config: CleanRules) -> _Rules:
    return {
        "long_word": _over(lengths.longest_word, config.max_word_chars),
        "average_word": _averages(config.min_average_word, config.max_average_word),
        "copied": _over(copies.copied, config.max_copied),
        "loops": contents.only_target_loops if config.drop_loops else None,
        "letters": _under(lengths.share_of_letters, config.min_letters),
        "script": _under(_share_of_script, config.min_script),
        "language": _is_other(config.other_language) if config.other_language else None,
    }


def _of_contents(config: CleanRules) -> _Rules:
    blocked = config.blocked_words
    return {
        "placeholders": _other_placeholders if config.match_placeholders else None,
        "addresses": _other_addresses if config.match_addresses else None,
        "numbers": _under(contents.numbers_shared, config.min_numbers_shared),
        "sentences": _over(contents.sentences_apart, config.max_sentences_apart),
        "blocked": BlockedWords(blocked).are_in if blocked else None,
    }


def _over(measure: Callable[[View], float], most: float | None) -> _Rule | None:
    return None if most is None else lambda view: measure(view) > most


def _under(measure: Callable[[View], float], least: float | None) -> _Rule | None:
    return None if least is None else lambda view: measure(view) < least


def _averages(least: float | None, most: float | None) -> _Rule | None:
    return None if least is None and most is None else lengths.AverageWord(least, most).is_odd


def _of_more_words(most: int | None) -> _Rule | None:
    return None if most is None else lambda view: lengths.has_more_words(view, most)


def _is_empty(view: View) -> bool:
    return not view.segment.source.strip() or not view.segment.target.strip()


def _prefers_itself(view: View) -> bool:
    rejected = view.segment.rejected
    return rejected is not None and rejected.split() == view.segment.target.split()


def _is_garbled(view: View) -> bool:
    return is_garbled(view.source.text) or is_garbled(view.target.text)


def _share_of_script(view: View) -> float:
    return min([script.share_of_own(side) for side in _spoken(view)], default=1.0)


def _is_other(least: float) -> _Rule:
    return lambda view: any(
        language_id.is_of_other(" ".join(side.words), str(side.language), least=least)
        for side in _spoken(view)
        if writing.columns(side.shown) > _ENOUGH_COLUMNS
    )


def _spoken(view: View) -> list[Side]:
    """Return the sides of a named language that are no name or command."""
    return [side for side in view.sides if side.letters > lengths.FEW_LETTERS and side.language]


def _other_placeholders(view: View) -> bool:
    return placeholders(view.segment.source) != placeholders(view.segment.target)


def _other_addresses(view: View) -> bool:
    return not contents.same_addresses(view)
