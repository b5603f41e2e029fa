"""Summaries: columns, rules, baselines and metrics differ from those of translations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.errors import DataInvalid, RecipeInvalid
from adapters.ids import AdapterId, AdapterRef, LanguagePair
from adapters.prompt import Example
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training.fake_run import FakeGenerator, World
from training.evaluate.few_shot import base_formats
from training.evaluate.rouge import ROUGES
from training.evaluate.scoreboard import TestSet
from training.evaluate.scores import Outputs, score
from training.pipeline import run
from training.prepare import prepare
from training.recipe import Recipe
from training.run import Options

TOPICS = ("le noyau", "le réseau", "la mémoire", "le disque", "l'écran", "la sécurité")
ENGLISH = ("the kernel", "the network", "the memory", "the disk", "the screen", "safety")
RECIPE = """\
id: news-en-fr
task: summarization
licence: CC0-1.0
base: BASE
data:
  - jsonl: articles.jsonl
    columns: {source: english_text, target: french_summary}
    licence: CC0-1.0
split: {dev: 2, test: 6, near: null}
evaluate: {shots: 2, samples: 3}
"""


def article(number: int) -> str:
    return (
        f"Issue {number}.\n\n" + f"A long story about {ENGLISH[number % 6]}, part {number}. " * 28
    )


def summary(number: int) -> str:
    return f"Le numéro {number} parle longuement de {TOPICS[number % 6]}."


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    lines = [
        json.dumps({"english_text": article(n), "french_summary": summary(n)}) for n in range(40)
    ]
    (tmp_path / "articles.jsonl").write_text("\n".join(lines), encoding="utf-8")
    base = fakes.write_base(tmp_path / "tiny")
    (tmp_path / "r.yaml").write_text(RECIPE.replace("BASE", str(base)), encoding="utf-8")
    return Recipe.load(str(tmp_path / "r.yaml"))


def summarize(text: str) -> str:
    number = int(text.partition("Issue ")[2].partition(".")[0])
    return summary(number)


def test_long_articles_with_short_summaries_are_kept(recipe: Recipe) -> None:
    data = prepare(recipe)
    assert len(article(1)) > 1000
    assert data.report.clean["kept"] == 40
    assert "length_ratio" not in data.report.clean["dropped"]


def test_a_rule_that_the_recipe_sets_holds_for_summaries_too(tmp_path: Path) -> None:
    text = RECIPE + "clean: {max_chars: 500}\n"
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    rules = Recipe.load(str(tmp_path / "r.yaml")).clean
    assert (rules.max_chars, rules.max_length_ratio, rules.drop_identical) == (500, None, False)
    text = text.replace("task: summarization\n", "")
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    rules = Recipe.load(str(tmp_path / "r.yaml")).clean
    assert (rules.max_chars, rules.max_length_ratio, rules.drop_identical) == (500, 3.0, True)


def test_a_line_without_the_named_columns_is_told(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "articles.jsonl").write_text('{"english_text": "a", "summary": "b"}\n')
    with pytest.raises(DataInvalid, match=r"articles\.jsonl:1: .*'french_summary' missing|columns"):
        prepare(recipe)


def test_columns_of_a_source_without_keys_are_refused(tmp_path: Path) -> None:
    text = RECIPE.replace("jsonl: articles.jsonl", "tsv: articles.tsv")
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeInvalid, match="`columns` are of a source of jsonl"):
        Recipe.load(str(tmp_path / "r.yaml"))


def test_the_base_is_asked_for_a_summary_that_ends_at_an_empty_line(
    recipe: Recipe, tmp_path: Path
) -> None:
    tokenizer = BaseTokenizer.load(tmp_path / "tiny")
    examples = [Example(source="One\n\ntwo.", target="Un.")]
    _, plain = base_formats(recipe, tmp_path / "tiny", examples, tokenizer)
    assert plain.prompt.render("A\n\nb.", recipe.pair) == (
        "<bos>Article in English: One\n\ntwo.\n\nSummary in French: Un.\n\n"
        "Article in English: A\n\nb.\n\nSummary in French:"
    )
    assert plain.trim(" Un.\nDeux.\n\nArticle", "A\n\nb.") == "Un.\nDeux."


def test_rouge_stands_beside_chrf_only_for_summaries() -> None:
    outputs = Outputs(["a"], ["un deux"], ["un deux"], ["un"], zero_shot=["deux trois"])
    test = TestSet("t", LanguagePair("en", "fr"), ["a"], ["un deux"])
    found = score(outputs, test, task="summarization")
    assert [one.metric for one in found.further] == ["TER", *ROUGES]
    assert (found.further[1].value, found.further[1].zero_shot) == (100.0, 50.0)
    assert found.over_zero_shot is not None
    metrics = [(s.metric, s.base_value) for s in found.scores()]
    assert [name for name, _ in metrics] == ["chrF++", "BLEU", "TER", *ROUGES]
    assert dict(metrics)["ROUGE-1"] == 66.67
    assert [one.metric for one in score(outputs, test).further] == ["TER"]


def test_a_run_measures_the_base_with_and_without_examples(
    world: World, recipe: Recipe, tmp_path: Path
) -> None:
    world.translate = summarize
    registry = FileRegistry(tmp_path / "registry")
    outcome = run(recipe, registry, Options(tmp_path / "run", publish=True))
    manifest = registry.resolve(AdapterRef(AdapterId.parse("news-en-fr"))).manifest
    assert manifest.task == "summarization"
    assert "ROUGE-L" in [score.metric for score in manifest.scores]
    assert outcome.summary["further"]["ROUGE-2"]["value"] == 100.0
    assert outcome.summary["zero_shot_asked"].startswith("no example ")
    report = (tmp_path / "run" / "adapter" / "report.html").read_text(encoding="utf-8")
    card = (tmp_path / "run" / "adapter" / "README.md").read_text(encoding="utf-8")
    for expected in ("ROUGE-L", "no example", "2 examples", "unicode-words"):
        assert expected in report
        assert expected in card
    assert "pipeline_tag: summarization" in card
    rows = [line.count("|") for line in card.splitlines() if line.startswith(("| base", "| sys"))]
    assert set(rows) == {8}


def test_a_base_that_does_well_without_examples_fails_the_gate(
    world: World, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.translate = summarize
    generate = FakeGenerator.generate

    def good_when_asked_plainly(self: FakeGenerator, prompts: list[list[int]], **options: object):  # type: ignore[no-untyped-def]
        shortest = min(map(len, prompts)) < 2 * len(article(1))
        given = {**options, "adapter": "candidate"} if shortest else options
        return generate(self, prompts, **given)

    monkeypatch.setattr(FakeGenerator, "generate", good_when_asked_plainly)
    outcome = run(recipe, FileRegistry(tmp_path / "registry"), Options(tmp_path / "run"))
    (reason,) = outcome.summary["gate"]["reasons"]
    assert "the base without examples" in reason
    assert not outcome.summary["gate"]["passed"]


def test_the_table_shows_every_metric_and_baseline(
    world: World, recipe: Recipe, tmp_path: Path
) -> None:
    world.translate = summarize
    arguments = ["train", str(tmp_path / "r.yaml"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(dragoman.build_app(), arguments)
    assert result.exit_code == 0, result.output
    for expected in ("ROUGE-L", "base, 2 examples", "base, no example"):
        assert expected in result.stdout
