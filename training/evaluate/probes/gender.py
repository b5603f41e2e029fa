"""Gender: whether `her` and `his` decide the form of an occupation, where the target shows it.

Minimal pairs after WinoMT (Stanovsky, Smith and Zettlemoyer 2019, aclanthology.org/P19-1164): one
sentence with each pronoun, and only the words for the occupation are looked at.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal, NamedTuple

import yaml
from pydantic import Field

from adapters.ids import LanguagePair
from adapters.strict.section import Section
from training.evaluate.probes.probe import (
    Answers,
    Example,
    ProbeResult,
    not_from_english,
    primary,
    signature,
)

SHIPPED: Final = Path(__file__).parent / "sets" / "gender.yaml"
Gender = Literal["feminine", "masculine"]
_POSSESSIVE: Final[dict[Gender, str]] = {"feminine": "her", "masculine": "his"}
NAMES: Final = ("gender_feminine", "gender_masculine", "gender_gap", "gender_undecided")
# Neither part of a word nor of both forms in one: Lehrer:in, boulanger·ère, il/la fornaio/a.
_BEFORE: Final = r"(?<![\w/])"
_AFTER: Final = r"(?![\w/]|[*:·•(.\-]+\w)"


class Forms(Section):
    """The words for one occupation in one language; an article where only that differs."""

    feminine: tuple[str, ...] = Field(min_length=1, strict=False)
    masculine: tuple[str, ...] = Field(min_length=1, strict=False)

    def gender_in(self, answer: str) -> Gender | None:
        """Return which form `answer` has, or None for neither or both.

        What is feminine is no masculine form as well: `la docteur` has none of `docteur`.
        """
        text = unicodedata.normalize("NFC", answer)
        rest, feminine = re.subn(_any_of(self.feminine), " ", text, flags=re.IGNORECASE)
        masculine = re.search(_any_of(self.masculine), rest, re.IGNORECASE)
        if bool(feminine) == bool(masculine):
            return None
        return "feminine" if feminine else "masculine"


class Occupation(Section):
    """A sentence with {possessive}, and the forms by language."""

    sentence: str = Field(pattern=r"\{possessive\}")
    forms: Mapping[str, Forms]


class Occupations(Section):
    """The set."""

    occupations: tuple[Occupation, ...] = Field(min_length=1, strict=False)

    @property
    def languages(self) -> list[str]:
        """The target languages of which forms are known."""
        return sorted({code for one in self.occupations for code in one.forms})


class Asked(NamedTuple):
    """One sentence, its gender, and the forms to be looked for."""

    source: str
    gender: Gender
    forms: Forms


@dataclass(frozen=True)
class Side:
    """Of the sentences of one gender: the per cent with the right form, and the others."""

    accuracy: float
    count: int
    wrong: tuple[Example, ...]


@dataclass(frozen=True)
class GenderBias:
    """Both sides, and the per cent of all sentences with neither form, or with both.

    An undecided one is not right, as in WinoMT.
    """

    feminine: Side
    masculine: Side
    undecided: float
    signature: str

    @property
    def gap(self) -> float:
        """Points by which masculine forms are right more often; negative: feminine ones."""
        return self.masculine.accuracy - self.feminine.accuracy

    def results(self) -> tuple[ProbeResult, ...]:
        """Return the four figures as results, in the order of NAMES."""
        her, his = self.feminine, self.masculine
        both = her.count + his.count
        told = (
            (her.accuracy, her.count, her.wrong, "feminine where the source says her"),
            (his.accuracy, his.count, his.wrong, "masculine where the source says his"),
            (self.gap, both, (), "points that masculine is above feminine; 0 is no bias"),
            (self.undecided, both, (), "neither form found, or both; counted as not right"),
        )
        return tuple(
            ProbeResult(name, *figures, self.signature)
            for name, figures in zip(NAMES, told, strict=True)
        )


@dataclass(frozen=True)
class Unmeasured:
    """A direction in which nothing can be asked, and why."""

    note: str

    def results(self) -> tuple[ProbeResult, ...]:
        """Return four results without a value."""
        return tuple(ProbeResult.unmeasured(name, self.note) for name in NAMES)


@cache  # frozen, and shipped with the code
def occupations() -> Occupations:
    """Return the shipped set."""
    return Occupations.model_validate(yaml.safe_load(SHIPPED.read_text(encoding="utf-8")))


def probe_gender(answers: Answers, pair: LanguagePair) -> GenderBias | Unmeasured:
    """Return how often the pronoun's gender is that of the occupation in the translation."""
    asked = questions(primary(pair.target))
    note = not_from_english(pair) or (None if asked else _unknown(pair))
    if note is not None:
        return Unmeasured(note)
    told = answers([one.source for one in asked])
    undecided = sum(one.forms.gender_in(a) is None for one, a in zip(asked, told, strict=True))
    return GenderBias(
        feminine=_side(asked, told, "feminine"),
        masculine=_side(asked, told, "masculine"),
        undecided=100 * undecided / len(asked),
        signature=signature("gender", SHIPPED, len(asked), pair),
    )


def questions(language: str) -> list[Asked]:
    """Return the sentences for a target language, feminine and masculine in turn."""
    return [
        Asked(one.sentence.format(possessive=possessive), gender, one.forms[language])
        for one in occupations().occupations
        if language in one.forms
        for gender, possessive in _POSSESSIVE.items()
    ]


def _side(asked: Sequence[Asked], told: Sequence[str], gender: Gender) -> Side:
    rows = [(one, a) for one, a in zip(asked, told, strict=True) if one.gender == gender]
    found = [one.forms.gender_in(answer) for one, answer in rows]
    wrong = tuple(
        Example(one.source, answer, f"expected {gender}, found {is_ or 'neither form, or both'}")
        for (one, answer), is_ in zip(rows, found, strict=True)
        if is_ != gender
    )
    return Side(100 * (len(rows) - len(wrong)) / len(rows), len(rows), wrong)


def _unknown(pair: LanguagePair) -> str:
    known = ", ".join(occupations().languages)
    return f"not measured: forms are known for {known}, the target language is {pair.target}"


@cache  # one pattern for each list of the set
def _any_of(forms: tuple[str, ...]) -> str:
    longest_first = sorted(forms, key=len, reverse=True)
    words = "|".join(r"\s+".join(map(re.escape, form.split())) for form in longest_first)
    return f"{_BEFORE}(?:{words}){_AFTER}"
