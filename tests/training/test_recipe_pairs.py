"""Several pairs in one recipe: what must be said, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import RecipeInvalid
from adapters.ids import LanguagePair
from training.recipe import Recipe

MUL = """\
id: ui-mul
pairs: [en-de, en-fr, de-en]
licence: CC0-1.0
prompt: {user: "{target}: {text}"}
data:
  - {jsonl: de.jsonl, licence: CC0-1.0, pair: en-de}
  - {jsonl: fr.jsonl, licence: CC0-1.0, pair: fr-en}
"""
DE_EN, EN_DE, EN_FR = (LanguagePair.parse(pair) for pair in ("de-en", "en-de", "en-fr"))


def load(tmp_path: Path, text: str) -> Recipe:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    return Recipe.load(str(tmp_path / "r.yaml"))


def test_a_recipe_of_several_pairs_uses_each_source_for_what_it_has(tmp_path: Path) -> None:
    recipe = load(tmp_path, MUL)
    german, french = recipe.data
    assert recipe.pairs == (EN_DE, EN_FR, DE_EN)
    assert recipe.pair == EN_DE
    assert german.directions(recipe.pairs) == [EN_DE, DE_EN]
    assert french.directions(recipe.pairs) == [EN_FR]


def test_a_source_may_be_kept_to_its_own_direction(tmp_path: Path) -> None:
    text = MUL.replace("pair: en-de}", "pair: en-de, both_directions: false}")
    extra = "  - {jsonl: more.jsonl, licence: CC0-1.0, pair: de-en, both_directions: false}\n"
    recipe = load(tmp_path, text + extra)
    assert recipe.data[0].directions(recipe.pairs) == [EN_DE]
    assert recipe.data[2].directions(recipe.pairs) == [DE_EN]


def test_languages_need_not_be_said_where_there_are_only_two(tmp_path: Path) -> None:
    text = "id: ui-mul\npairs: [en-de, de-en]\nlicence: MIT\ndata: [{tsv: a.tsv, licence: MIT}]\n"
    recipe = load(tmp_path, text)
    assert recipe.data[0].directions(recipe.pairs) == [EN_DE, DE_EN]


def test_a_recipe_of_one_pair_knows_it_as_its_pairs(tmp_path: Path) -> None:
    text = "id: ui-en-de\nlicence: MIT\ndata: [{tsv: a.tsv, licence: MIT}]\n"
    assert load(tmp_path, text).pairs == (EN_DE,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MUL.replace("pairs: [en-de, en-fr, de-en]\n", ""), "list them, for example `pairs:"),
        (MUL.replace("[en-de, en-fr, de-en]", "[en-de]"), "name the one pair in the id: ui-en-de"),
        (MUL.replace("de-en]", "en-de]"), "listed twice"),
        (MUL.replace("ui-mul", "ui-en-de"), "remove `pairs`, or call the adapter ui-mul"),
        (MUL.replace(", pair: en-de", ""), "source 0 does not say its languages"),
        (MUL.replace("fr-en}", "es-en}"), "the pair of source 1 is es-en"),
        (MUL.replace("[en-de, en-fr, de-en]", "[en-de, en-fr, es-en]"), "no source has text for"),
        (MUL.replace("{target}: ", ""), "en-de, en-fr would be asked by the same words"),
        (
            MUL.replace('{text}"}', '{text}", examples: [{source: a, target: b}]}'),
            "examples are shown for every pair",
        ),
        (MUL + "sampling: {weights: {en-es: 2.0}}\n", "found en-es"),
        (
            "id: ui-en-de\nlicence: MIT\ndata: [{tsv: a.tsv, licence: MIT}]\n"
            "sampling: {temperature: 0.5}\n",
            "nothing to weigh",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(RecipeInvalid) as caught:
        load(tmp_path, text)
    assert expected in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_languages_in_the_system_message_tell_pairs_apart_too(tmp_path: Path) -> None:
    text = MUL.replace('user: "{target}: {text}"', 'system: "Answer in {target}."')
    assert load(tmp_path, text).prompt.user == "{text}"
