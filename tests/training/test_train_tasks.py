"""Shipped recipes of other tasks on a tiny random model: real training, decoding, measuring."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from tests.training import tiny
from training.pipeline import run
from training.recipe import Recipe
from training.run import Options

pytestmark = pytest.mark.train

QUICK = [
    "schedule.max_steps=2",
    "schedule.max_length=200",
    "evaluate.batch_size=4",
    "decoding.min_max_tokens=8",
    "decoding.max_tokens_per_source_token=0.2",
    "gate.min_chrf_gain=0.0",
]


def test_the_preset_for_summaries_runs_on_any_articles(tmp_path: Path) -> None:
    lines = [
        {"english_text": f"News {n}: the kernel was released. " * 3, "french_summary": f"Noyau {n}"}
        for n in range(20)
    ]
    articles = tmp_path / "articles.jsonl"
    articles.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    sizes = ["split.dev=2", "split.test=4", "split.near=null", "evaluate.shots=1"]
    base = tiny.write_base(tmp_path / "tiny")
    own = [f"data.0.jsonl={articles}", f"base={base}", "prompt.user=Resume: {text}"]
    recipe = Recipe.load("summaries-en-fr", overrides=[*own, *sizes, *QUICK])
    registry = FileRegistry(tmp_path / "registry")
    outcome = run(recipe, registry, Options(tmp_path / "run", publish=True, force=True))
    manifest = registry.resolve(AdapterRef(AdapterId.parse("summaries-en-fr"))).manifest
    assert manifest.task == "summarization"
    assert {"chrF++", "ROUGE-1", "ROUGE-2", "ROUGE-L"} <= {s.metric for s in manifest.scores}
    assert outcome.summary["train_steps"] == 2
    assert outcome.summary["segments"]["test"] == 4
    assert outcome.summary["zero_shot_chrf"] >= 0


def test_the_preset_of_three_pairs_trains_and_scores_all(tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "tiny")
    sizes = ["split.dev=2", "split.test=3", "evaluate.segments=3", "evaluate.shots=1"]
    recipe = Recipe.load(
        "jupyter-mul", overrides=[f"base={base}", "clean.max_chars=12", *sizes, *QUICK]
    )
    registry = FileRegistry(tmp_path / "registry")
    outcome = run(recipe, registry, Options(tmp_path / "run", publish=True, force=True))
    manifest = registry.resolve(AdapterRef(AdapterId.parse("jupyter-mul"))).manifest
    assert [str(pair) for pair in manifest.pairs] == ["en-de", "en-fr", "fr-en"]
    assert set(outcome.summary["pairs"]) == {"en-de", "en-fr", "fr-en"}
    assert len({score.test_set for score in manifest.scores}) == 3


def test_a_fit_on_plain_text_lowers_the_perplexity_of_held_out_text(tmp_path: Path) -> None:
    pages = [f"Page {n} : le noyau est le noyau du noyau." for n in range(60)]
    (tmp_path / "pages.txt").write_text("\n\n".join(pages), encoding="utf-8")
    base = tiny.write_base(tmp_path / "tiny")
    (tmp_path / "r.yaml").write_text(
        "id: docs-en-fr\nlicence: CC0-1.0\nobjective: {kind: monolingual}\n"
        f"base: {base}\ndata: [{{text: pages.txt, language: fr, licence: CC0-1.0}}]\n"
        "split: {dev: 6, test: 12, near: null}\n"
        "schedule: {max_length: 64, max_steps: 12, batch_size: 8, learning_rate: 1.0e-2}\n",
        encoding="utf-8",
    )
    outcome = run(
        Recipe.load(str(tmp_path / "r.yaml")),
        FileRegistry(tmp_path / "registry"),
        Options(tmp_path / "run"),
    )
    summary = outcome.summary
    assert summary["perplexity"] < 0.9 * summary["base_perplexity"]
    assert summary["p_value"] < 0.05
    assert summary["train_steps"] == 12
