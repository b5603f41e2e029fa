"""Text of other kinds and pairs: read, kept apart from training, and held against the base."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from adapters.registry import FileRegistry
from tests.training.fake_run import World, to_french
from training.corpus.segment import Segment
from training.elsewhere import Kept, read_elsewhere
from training.evaluate.bootstrap import Comparison
from training.likelihoods import Likelihoods
from training.pipeline import Outcome, run
from training.recipe import Recipe
from training.run import Options

PRINT = "Print the page number"
ROWS = [f"{PRINT} {n}\tImprimer la page numéro {n}" for n in range(40)]


def recipe_with(recipe_file: Path, *rows: str) -> Recipe:
    (recipe_file.parent / "other.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    sources = json.dumps([{"tsv": "other.tsv", "licence": "MIT", "name": "print shop"}])
    changes = [f"evaluate.elsewhere={sources}", "evaluate.elsewhere_segments=16"]
    return Recipe.load(str(recipe_file), overrides=changes)


def outcome_of(recipe: Recipe, folder: Path) -> Outcome:
    return run(recipe, FileRegistry(folder / "registry"), Options(folder / "run"))


def test_an_adapter_that_still_does_other_text_passes(
    world: World, recipe_file: Path, tmp_path: Path
) -> None:
    def translate(text: str) -> str:
        is_other = text.startswith(PRINT)
        return text.replace(PRINT, "Imprimer la page numéro") if is_other else to_french(text)

    world.translate = translate
    outcome = outcome_of(recipe_with(recipe_file, *ROWS), tmp_path)
    (kept,) = outcome.summary["elsewhere"]
    assert (kept["name"], kept["segments"], kept["chrf"]["value"]) == ("print shop", 16, 100.0)
    assert kept["perplexity"] < kept["base_perplexity"]
    assert outcome.summary["gate"]["passed"]
    again = run(
        recipe_with(recipe_file, *ROWS),
        FileRegistry(tmp_path / "registry"),
        Options(tmp_path / "run", resume=True),
    )
    assert again.summary == outcome.summary


def test_an_adapter_that_forgot_other_text_fails_that_check_alone(
    world: World, recipe_file: Path, tmp_path: Path
) -> None:
    world.translate = lambda text: "-" if text.startswith(PRINT) else to_french(text)
    gate = outcome_of(recipe_with(recipe_file, *ROWS), tmp_path).summary["gate"]
    assert [check["name"] for check in gate["checks"] if not check["passed"]] == ["forgetting"]
    assert "print shop (en-fr)" in gate["reasons"][0]


def test_what_is_trained_on_is_no_other_text(recipe_file: Path) -> None:
    recipe = recipe_with(recipe_file, *ROWS)
    trained_on = [Segment(f"{PRINT} {n}", "x", "d", "f", 1) for n in range(0, 40, 10)]
    (text,) = read_elsewhere(recipe, trained_on)
    known = {segment.source for segment in trained_on}
    assert not known & {segment.source for segment in (*text.test, *text.shown)}
    assert not {s.source for s in text.test} & {s.source for s in text.shown}


def test_too_little_text_is_told_before_anything_is_trained(
    world: World, recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataInvalid, match=r"other\.tsv has 20 texts .* expected at least 27"):
        outcome_of(recipe_with(recipe_file, *ROWS[:20]), tmp_path)
    assert not world.fits


@pytest.mark.parametrize("chrf", [None, Comparison(3.0, 2.0, 0.1, (1.0, 4.0), (-1.0, 2.0))])
def test_what_was_kept_is_read_back_as_written(chrf: Comparison | None) -> None:
    kept = Kept("news", "en-fr", 16, "0" * 12, 3.5, 3.25, chrf, "3 examples in turns")
    assert Kept.from_json(json.loads(json.dumps(kept.to_json()))) == kept


def test_overfitting_is_how_much_worse_dev_is_than_what_was_trained_on() -> None:
    assert Likelihoods(2.0, 4.0, 5.0, 8.0, 16.0, 16.0, "s").overfitting == 2.0
