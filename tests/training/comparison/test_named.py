"""Systems named on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import RecipeInvalid
from training.comparison.named import comparison_of, is_comparison
from training.translate.note import NOTE_FILE


def test_words_are_recipes_adapters_runs_and_ways_to_ask_the_base(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    (run / NOTE_FILE).touch()
    words = ["base", "base:3", "memory:2", "jupyter-en-fr", "ui-en-fr@2", str(run), str(run)]
    comparison = comparison_of(words, None)
    named = {system.name: system for system in comparison.systems}
    assert [*named] == [
        "base", "base-3", "memory-2", "jupyter-en-fr", "ui-en-fr@2", "my-run", "my-run-2",
    ]  # fmt: skip
    assert named["base-3"].base is not None
    assert named["base-3"].base.shots == 3
    assert named["memory-2"].base is not None
    assert named["memory-2"].base.retrieved == 2
    assert named["ui-en-fr@2"].adapter == "ui-en-fr@2"
    assert named["my-run-2"].model == str(run)
    assert (comparison.recipe, comparison.baseline) == ("jupyter-en-fr", "base")


def test_without_a_base_the_first_is_the_baseline() -> None:
    comparison = comparison_of(["ui-en-fr@1", "ui-en-fr@2"], "jupyter-en-fr")
    assert (comparison.recipe, comparison.baseline) == ("jupyter-en-fr", "ui-en-fr@1")


@pytest.mark.parametrize(
    ("word", "told"),
    [("ui-en-fr@1", "--recipe"), ("memory", "memory:3"), (".", "a folder without")],
)
def test_what_cannot_be_compared_says_what_to_name(word: str, told: str) -> None:
    with pytest.raises(RecipeInvalid, match=told):
        comparison_of([word], None)


def test_a_file_is_told_from_a_recipe_by_its_systems(tmp_path: Path, recipe_file: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("systems: [{name: a}]", encoding="utf-8")
    assert is_comparison(str(file))
    assert is_comparison("ranks-jupyter-en-fr")
    assert not is_comparison(str(recipe_file))
    assert not is_comparison("jupyter-en-fr")
