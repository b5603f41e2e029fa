"""`dragoman data score` as it is typed; the model is a fake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

import dragoman
from adapters.errors import DataInvalid
from tests.training.score.fake_generator import FakeGenerator, install
from training.corpus.segment import load_jsonl

WRONG = "Open the file number 71\tFermer le fichier numéro 72"


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    return dragoman.build_app()


@pytest.fixture
def generator(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGenerator:
    with (recipe_file.parent / "pairs.tsv").open("a", encoding="utf-8") as file:
        file.write(WRONG + "\n")
    return install(recipe_file.parent / "tiny", monkeypatch)


def score(app: typer.Typer, recipe: Path, *options: object) -> Result:
    out = recipe.parent / "scored.jsonl"
    # The rule on numbers would find the wrong pair first, and it must not be held out.
    arguments = [
        "data", "score", recipe, "--out", out, "--set", "clean.min_numbers_shared=null",
        "--set", "split.dev=1", "--set", "split.test=1", *options,
    ]  # fmt: skip
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_worst_pair_is_shown_and_dropped(
    app: typer.Typer, recipe_file: Path, generator: FakeGenerator
) -> None:
    done = score(app, recipe_file, "--min-score", 0)
    assert done.exit_code == 0, done.output
    assert "1 dropped" in done.stdout
    for expected in ("median", "worst", "at the limit", "-1.00", "number 71", "pairs.tsv:62"):
        assert expected in done.stdout
    written = load_jsonl(recipe_file.parent / "scored.jsonl")
    assert len(written) == 58
    assert not any("71" in segment.source for segment in written)
    assert [s.line for s in written] == sorted(s.line for s in written)


def test_json_tells_scores_with_their_signature(
    app: typer.Typer, recipe_file: Path, generator: FakeGenerator
) -> None:
    done = score(app, recipe_file, "--json", "--limit", 20, "--drop", 0.1, "--way", "forward")
    body = json.loads(done.stdout)
    assert (body["scored"], body["dropped"], body["kept"], body["too_long"]) == (20, 2, 18, 0)
    assert body["signature"].startswith("pmi:per-token-of-forward|pair:en-fr|base:tiny")
    assert body["quantiles"]["median"] == 1.5
    assert [near["is"] for near in body["at_limit"]] == ["dropped"] * 2 + ["kept"] * 3
    assert len(generator.asked) == 40


def test_stopped_it_leaves_nothing(
    app: typer.Typer, recipe_file: Path, generator: FakeGenerator
) -> None:
    generator.interrupt = True
    before = sorted(recipe_file.parent.iterdir())
    done = score(app, recipe_file)
    assert done.exit_code == 130
    assert "nothing was written" in done.output
    assert sorted(recipe_file.parent.iterdir()) == before


def test_two_limits_and_a_missing_folder_are_bad_usage(app: typer.Typer, recipe_file: Path) -> None:
    assert score(app, recipe_file, "--drop", 0.1, "--min-score", 0).exit_code == 2
    assert score(app, recipe_file, "--out", recipe_file.parent / "no" / "x.jsonl").exit_code == 2


def test_a_pair_that_the_recipe_has_not_is_told(app: typer.Typer, recipe_file: Path) -> None:
    done = score(app, recipe_file, "--pair", "en-de")
    assert isinstance(done.exception, DataInvalid)
