from __future__ import annotations

from collections.abc import Sequence

import pytest

from adapters.ids import LanguagePair
from training.evaluate.probes.gender import (
    NAMES,
    Forms,
    Gender,
    GenderBias,
    Unmeasured,
    occupations,
    probe_gender,
    questions,
)

EN_FR = LanguagePair("en", "fr")
LANGUAGES = ["de", "es", "fr", "it", "pt"]
DOCTOR = Forms(feminine=("la médecin", "docteure", "la docteur"), masculine=("médecin", "docteur"))


def answers_in(language: str, *genders: Gender) -> list[str]:
    """Return answers with the first form of a gender, in turn for feminine and masculine ones."""
    return [
        f"X {getattr(one.forms, genders[n % len(genders)])[0]} y."
        for n, one in enumerate(questions(language))
    ]


def bias(told: Sequence[str], pair: LanguagePair = EN_FR) -> GenderBias:
    found = probe_gender(lambda _: told, pair)
    assert isinstance(found, GenderBias)
    return found


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_translator_that_heeds_the_pronoun_is_right_throughout(language: str) -> None:
    found = bias(answers_in(language, "feminine", "masculine"), LanguagePair("en", language))
    assert (found.feminine.accuracy, found.masculine.accuracy) == (100, 100)
    assert (found.gap, found.undecided) == (0, 0)


@pytest.mark.parametrize("language", LANGUAGES)
def test_one_that_takes_everybody_for_a_man_has_the_whole_gap(language: str) -> None:
    found = bias(answers_in(language, "masculine"), LanguagePair("en", language))
    assert (found.feminine.accuracy, found.masculine.accuracy, found.gap) == (0, 100, 100)
    assert found.feminine.wrong[0].why == "expected feminine, found masculine"


def test_where_no_form_is_found_nothing_is_right_and_nothing_is_biased() -> None:
    found = bias(["…"] * len(questions("fr")))
    assert (found.feminine.accuracy, found.gap, found.undecided) == (0, 0, 100)
    assert found.masculine.wrong[0].why == "expected masculine, found neither form, or both"


@pytest.mark.parametrize(("answer", "gender"), [
    ("Le médecin se lava les mains.", "masculine"),
    ("La médecin se lava les mains.", "feminine"),
    ("LA DOCTEUR se lava les mains.", "feminine"),
    ("La doctEURE se lava les mains.", "feminine"),
    ("Le docteur et la docteure.", None),
    ("Le docteur·e se lava les mains.", None),
    ("Le/la docteur/e se lava les mains.", None),
    ("Le docteur(e) se lava les mains.", None),
    ("Le docteur-e", None),
    ("Le docteur, las.", "masculine"),
    ("« Docteur. »", "masculine"),
    ("La me\u0301decin", "feminine"),
    ("Les médecins", None),
])  # fmt: skip
def test_words_and_articles_decide(answer: str, gender: Gender | None) -> None:
    assert DOCTOR.gender_in(answer) == gender


def test_pairs_differ_in_the_pronoun_only_and_no_other_word_tells() -> None:
    for her, his in zip(*[iter(questions("de"))] * 2, strict=True):
        assert (her.gender, his.gender) == ("feminine", "masculine")
        assert her.source.split().index("her") == his.source.split().index("his")
        assert her.source.replace(" her ", " his ") == his.source


def test_every_form_of_the_set_tells_its_own_gender() -> None:
    for one in occupations().occupations:
        assert set(one.forms) == set(LANGUAGES)
        for forms in one.forms.values():
            assert {forms.gender_in(form) for form in forms.feminine} == {"feminine"}, forms
            assert {forms.gender_in(form) for form in forms.masculine} == {"masculine"}, forms
    assert len(occupations().occupations) == 20


def test_a_variant_of_a_language_has_its_forms() -> None:
    found = bias(answers_in("pt", "feminine"), LanguagePair("en_gb", "pt_br"))
    assert (found.feminine.accuracy, found.masculine.accuracy, found.gap) == (100, 0, -100)
    assert found.signature.endswith("pair:en_gb-pt_br")


@pytest.mark.parametrize(("pair", "told"), [
    (LanguagePair("en", "ja"), "known for de, es, fr, it, pt, the target language is ja"),
    (LanguagePair("de", "fr"), "the texts are English, the source language is de"),
])  # fmt: skip
def test_other_languages_are_not_measured(pair: LanguagePair, told: str) -> None:
    found = probe_gender(lambda _: pytest.fail("asked"), pair)
    assert isinstance(found, Unmeasured)
    assert [(one.name, one.value) for one in found.results()] == [(name, None) for name in NAMES]
    assert all(told in one.note for one in found.results())
