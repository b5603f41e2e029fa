"""Domains, replay, stages and augmentation in a recipe: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import RecipeInvalid
from adapters.ids import LanguagePair
from training.augment.rules import ExamplesRule, TermsRule
from training.recipe import Recipe

RECIPE = """\
id: ui-en-de
licence: CC0-1.0
data:
  - {tsv: law.tsv, licence: MIT, domain: law, weight: 2.0}
  - {tsv: web.tsv, licence: MIT, domain: web}
  - {tsv: general.tsv, licence: MIT, replay: true}
"""
EN_DE = LanguagePair("en", "de")


def load(tmp_path: Path, text: str) -> Recipe:
    path = tmp_path / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return Recipe.load(str(path))


def test_sources_say_how_often_their_text_comes(tmp_path: Path) -> None:
    recipe = load(tmp_path, RECIPE)
    for source in recipe.data:
        (tmp_path / f"{source.location}").write_text("a\tb\n", encoding="utf-8")
    read = [
        next(source.read(source.places(tmp_path, [EN_DE]), [EN_DE], source.reading([EN_DE])))
        for source in recipe.data
    ]
    assert [segment.mix for segment in read] == [
        ("law", 2.0, False),
        ("web", 1.0, False),
        (None, 1.0, True),
    ]


def test_replay_is_for_training_only(tmp_path: Path) -> None:
    assert [source.part for source in load(tmp_path, RECIPE).data] == [None, None, "train"]


def test_sections_may_be_written_without_their_defaults(tmp_path: Path) -> None:
    text = f"{RECIPE}augment: {{upper: 0.07, terms: {{}}, examples: {{}}}}\n"
    rules = load(tmp_path, text).augment
    assert rules.is_on
    assert (rules.upper, rules.terms, rules.examples) == (0.07, TermsRule(), ExamplesRule())


def test_a_recipe_without_the_sections_samples_and_changes_nothing(tmp_path: Path) -> None:
    recipe = load(tmp_path, RECIPE)
    assert not recipe.augment.is_on
    assert recipe.sampling.stages == ()


def test_the_record_of_a_recipe_is_a_recipe(tmp_path: Path) -> None:
    import yaml

    recipe = load(tmp_path, RECIPE.replace(", replay: true", ""))
    record = yaml.safe_dump(recipe.model_dump(mode="json"))
    assert load(tmp_path, record) == recipe


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("augment: {upper: 1.5}", "`augment.upper`: Input should be less than or equal to 1"),
        ("augment: {uper: 0.5}", "unknown key `augment.uper`; did you mean `upper`?"),
        ("augment: {terms: {identical: false}}", "`augment.terms`: there are no terms; give a"),
        ("augment: {examples: {share: 2}}", "`augment.examples.share`: Input should be less"),
        ("sampling: {domain_weights: {art: 2.0}}", "(law, web), found art; add `domain: art`"),
        ("sampling: {replay: 0.9}", "`sampling.replay`: Input should be less than"),
        ("sampling: {stages: [{until: 0.5}]}", "the last one at 1.0, found 0.5"),
        ("sampling: {stages: [{until: 1.0}, {until: 0.5}]}", "found 1, 0.5"),
        ("sampling: {stages: [{until: 1.0, domains: {art: 1}}]}", "found art"),
        ("sampling: {stages: [{end: 1.0}]}", "`sampling.stages.0.until` is missing"),
        ("sampling: {temperature: 0.5}", "domains have `domain_temperature`"),
    ],
)
def test_what_does_not_fit_is_told_with_its_line(tmp_path: Path, line: str, expected: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        load(tmp_path, f"{RECIPE}{line}\n")
    assert "r.yaml:7: " in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("replay: true", "replay: true, part: test", "r.yaml:6: `data.2.part`: replay is training"),
        ("weight: 2.0", "weight: 0.0", "r.yaml:4: `data.0.weight`"),
        (", replay: true", "", "r.yaml:7: `sampling`: no source has the share"),
    ],
)
def test_a_source_is_refused_at_its_line(tmp_path: Path, old: str, new: str, place: str) -> None:
    text = RECIPE.replace(old, new) + "sampling: {replay: 0.2}\n"
    with pytest.raises(RecipeInvalid) as caught:
        load(tmp_path, text)
    assert place in str(caught.value)


def test_a_domain_temperature_needs_domains(tmp_path: Path) -> None:
    text = RECIPE.replace(", domain: law", "").replace(", domain: web", "")
    with pytest.raises(RecipeInvalid, match="no source has a `domain`"):
        load(tmp_path, f"{text}sampling: {{domain_temperature: 0.5}}\n")


@pytest.mark.parametrize("kind", ["dpo", "cpo"])
def test_preferences_are_compared_as_they_are(tmp_path: Path, kind: str) -> None:
    text = f"{RECIPE}objective: {{kind: {kind}}}\naugment: {{typos: 0.1}}\n"
    with pytest.raises(RecipeInvalid, match=r"r\.yaml:8: `augment`: .*remove `augment`"):
        load(tmp_path, text)


def test_monolingual_text_has_no_source_to_change(tmp_path: Path) -> None:
    text = (
        "id: ui-en-de\nlicence: MIT\nobjective: {kind: monolingual}\n"
        "data: [{text: a.txt, language: de, licence: MIT}]\naugment: {typos: 0.1}\n"
    )
    with pytest.raises(RecipeInvalid, match=r"r\.yaml:5: `augment`: .*kind: monolingual"):
        load(tmp_path, text)
