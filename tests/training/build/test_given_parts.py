"""Given parts of a recipe, from files to the three parts and the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from training.prepare import Prepared, prepare
from training.recipe import Recipe

RECIPE = """\
id: ui-en-fr
licence: CC0-1.0
data:
  - {jsonl: train.jsonl, licence: CC0-1.0, part: train}
  - {jsonl: dev.jsonl, licence: CC0-1.0, part: dev}
  - {jsonl: test.jsonl, licence: CC0-1.0, part: test}
clean: {max_chars: 40}
evaluate: {segments: all}
"""
TRAIN = ["Save all", "Open it", "Move it", "Close it"]
LONG = "A long and winding sentence that is hard to translate"


def write(folder: Path, part: str, sources: list[str]) -> None:
    lines = [json.dumps({"source": s, "target": f"<{s}>", "doc": part}) for s in sources]
    (folder / f"{part}.jsonl").write_text("\n".join(lines), encoding="utf-8")


def prepared(folder: Path, **parts: list[str]) -> Prepared:
    for part, sources in {"train": TRAIN, "dev": ["Run it"], "test": ["Stop it"], **parts}.items():
        write(folder, part, sources)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    recipe = Recipe.load(str(folder / "recipe.yaml"), overrides=["clean.match_placeholders=false"])
    assert recipe.evaluate.limit is None
    return prepare(recipe)


def test_each_file_is_the_part_that_its_source_says(tmp_path: Path) -> None:
    data = prepared(tmp_path)
    assert [s.source for s in data.train] == TRAIN
    assert [s.source for s in data.dev] == ["Run it"]
    assert [s.source for s in data.test] == ["Stop it"]
    assert data.report.split["by"] == "source"
    assert data.report.lost() == []


def test_a_test_row_that_training_has_too_leaves_training(tmp_path: Path) -> None:
    data = prepared(tmp_path, test=["save all.", "Stop it"])
    assert [s.source for s in data.test] == ["save all.", "Stop it"]
    assert "Save all" not in {s.source for s in data.train}
    assert data.report.split["removed_as_leak"] == 1


def test_test_rows_that_cleaning_drops_are_counted_and_told(tmp_path: Path) -> None:
    data = prepared(tmp_path, train=[*TRAIN, LONG], test=["Stop it", LONG])
    assert data.report.clean["given"]["test"]["dropped"]["too_long"] == 1
    assert data.report.clean["dropped"]["too_long"] == 2
    (line,) = data.report.lost()
    assert line == "cleaning dropped 1 of 2 test pairs (too_long 1)"


def test_a_part_of_which_nothing_is_left_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataInvalid, match="none of 1 pairs given as test is left"):
        prepared(tmp_path, test=[LONG])
