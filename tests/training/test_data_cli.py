from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner, Result

import dragoman
from adapters.errors import DataInvalid, RecipeInvalid
from adapters.ids import LanguagePair
from training.corpus.jsonl import read_jsonl
from training.corpus.reading import Reading


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(dragoman.build_app(), [str(argument) for argument in arguments])


def test_build_writes_three_parts_and_a_report(recipe_file: Path, tmp_path: Path) -> None:
    result = invoke("data", "build", recipe_file, "--out", tmp_path / "data")
    assert result.exit_code == 0, result.output
    lines = {
        part: (tmp_path / "data" / f"{part}.jsonl").read_text(encoding="utf-8").splitlines()
        for part in ("train", "dev", "test")
    }
    assert {part: len(rows) for part, rows in lines.items()} == {"train": 42, "dev": 6, "test": 12}
    report = json.loads((tmp_path / "data" / "data.json").read_text())
    assert report["clean"]["dropped"]["duplicate"] == 1
    assert report["sources"][0]["segments"] == 61


def test_built_files_have_the_languages_as_keys_when_asked(
    recipe_file: Path, tmp_path: Path
) -> None:
    invoke("data", "build", recipe_file, "--out", tmp_path / "data", "--by-language")
    lines = (tmp_path / "data" / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    assert [*json.loads(lines[0])] == ["en", "fr"]
    pairs = [*read_jsonl(tmp_path / "data" / "dev.jsonl", Reading(LanguagePair("en", "fr")))]
    assert len(pairs) == len(lines) == 6


def test_built_files_are_a_source_again(recipe_file: Path, tmp_path: Path) -> None:
    invoke("data", "build", recipe_file, "--out", tmp_path / "data")
    again = tmp_path / "again.yaml"
    text = recipe_file.read_text().replace("tsv: pairs.tsv", "jsonl: data/train.jsonl")
    again.write_text(text.replace("test: 12", "test: 6"))
    result = invoke("data", "inspect", again, "--json")
    assert json.loads(result.stdout)["clean"]["read"] == 42


def test_inspect_counts_and_shows_and_writes_nothing(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    shown = invoke("data", "inspect", recipe_file)
    body = json.loads(invoke("data", "inspect", recipe_file, "--json").stdout)
    assert shown.exit_code == 0, shown.output
    for expected in ("train", "42", "duplicate", "median", "samples", "rejected"):
        assert expected in shown.stdout
    assert body["split"]["test"] == 12
    assert body["chars"]["source"]["longest"] == 24
    assert sorted(tmp_path.rglob("*")) == before


def test_set_changes_what_is_inspected(recipe_file: Path) -> None:
    result = invoke("data", "inspect", recipe_file, "--json", "--set", "split.test=20")
    assert json.loads(result.stdout)["split"]["test"] == 20


def test_a_broken_line_is_told_with_its_place(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("a\tb\nno tab\n")
    result = invoke("data", "inspect", recipe_file)
    assert isinstance(result.exception, DataInvalid)
    assert f"{tmp_path / 'pairs.tsv'}:2: " in str(result.exception)


def test_broken_lines_are_counted_when_asked(recipe_file: Path, tmp_path: Path) -> None:
    with (tmp_path / "pairs.tsv").open("a", encoding="utf-8") as file:
        file.write("no tab\na\tb\tc\n")
    result = invoke("data", "inspect", recipe_file, "--skip-bad", "--json")
    reading = json.loads(result.stdout)["reading"]
    assert reading["bad"] == 2
    assert "a tab is missing" in reading["shown"][0]
    assert "2 rows cannot be read" in invoke("data", "inspect", recipe_file, "--skip-bad").output


def test_documentation_in_two_languages_is_built_and_told_by_page(tmp_path: Path) -> None:
    for language, word in (("en", "Sentence"), ("fr", "Phrase")):
        for page in range(8):
            path = tmp_path / language / f"page{page}.md"
            path.parent.mkdir(exist_ok=True)
            lines = [f"{word} {n} of page {page} in `code{page}_{n}`." for n in range(10)]
            path.write_text("\n\n".join(lines), encoding="utf-8")
    with (tmp_path / "en" / "page3.md").open("a") as file:
        file.write("\n\nNobody translated this.")
    (tmp_path / "r.yaml").write_text(
        "id: docs-en-fr\nlicence: MIT\n"
        "data: [{markdown: '{language}', licence: MIT}]\nsplit: {dev: 5, test: 5, near: null}\n"
    )
    result = invoke("data", "build", tmp_path / "r.yaml", "--out", tmp_path / "built", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["clean"]["kept"] == 80
    pages = {Path(page["name"]).name: page for page in report["reading"]["pages"]}
    assert (pages["page3.md"]["blocks"], pages["page3.md"]["aligned"]) == (11, 10)
    shown = invoke("data", "inspect", tmp_path / "r.yaml").stdout
    assert shown.index("page3.md") > shown.index("least aligned pages")


def test_data_that_is_all_dropped_says_by_which_rules(recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "pairs.tsv").write_text("same\tsame\n")
    result = invoke("data", "inspect", recipe_file)
    assert "'identical': 1" in str(result.exception)


@pytest.mark.parametrize("command", [["data", "build"], ["data", "inspect"], ["train"]])
def test_every_command_refuses_a_broken_recipe(command: list[str], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("id: ui-en-fr\nlicens: MIT\n")
    assert isinstance(invoke(*command, tmp_path / "r.yaml").exception, RecipeInvalid)


@pytest.mark.parametrize(
    "command",
    [["data", "build"], ["data", "inspect"], ["data", "prefer"], ["data", "score"], ["train"]],
)
def test_help_has_an_example(command: list[str]) -> None:
    result = invoke(*command, "--help")
    assert f"Example: dragoman {' '.join(command)} jupyter-en-fr" in " ".join(result.stdout.split())


def test_force_without_publish_is_bad_usage(recipe_file: Path) -> None:
    assert invoke("train", recipe_file, "--force").exit_code == 2


def test_prefer_writes_preferences_that_are_a_source(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = SimpleNamespace(text="no idea", token_ids=(7,))
    fake = SimpleNamespace(generate=lambda prompts, **_: [said for _ in prompts])
    loaded = SimpleNamespace(load=lambda base, adapters: fake)
    module = SimpleNamespace(Generator=loaded)
    monkeypatch.setitem(sys.modules, "training.evaluate.generate", module)
    out = tmp_path / "preferences.jsonl"
    result = invoke("data", "prefer", recipe_file, "--out", out, "--segments", "10")
    assert result.exit_code == 0, result.output
    assert "10 preferences" in result.stdout
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {row["rejected"] for row in rows} == {"no idea"}
    assert [s.rejected for s in read_jsonl(out, Reading(LanguagePair("en", "fr")))] == [
        "no idea"
    ] * 10
