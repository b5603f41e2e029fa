"""One run over several pairs: text, prompts, scores, gate and manifest are of each pair."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.errors import DataInvalid
from adapters.ids import AdapterId, AdapterRef, LanguagePair
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.training.fake_run import World
from training.build.keys import normalise
from training.fit.dev_texts import dev_texts_of
from training.pipeline import run
from training.prepare import prepare
from training.recipe import Recipe
from training.run import Options

EN_DE, DE_EN, EN_FR = (LanguagePair.parse(pair) for pair in ("en-de", "de-en", "en-fr"))
VERBS = {
    "Open": ("Öffne", "Ouvrir"),
    "Close": ("Schließe", "Fermer"),
    "Save": ("Speichere", "Enregistrer"),
    "Move": ("Verschiebe", "Déplacer"),
}
RECIPE = """\
id: ui-mul
pairs: [en-de, en-fr, de-en]
licence: CC0-1.0
base: BASE
data:
  - {tsv: de.tsv, licence: CC0-1.0, pair: en-de}
  - {tsv: fr.tsv, licence: CC0-1.0, pair: en-fr}
split: {dev: 3, test: 8, near: null}
sampling: {temperature: 0.0}
prompt: {user: "{source}>{target}: {text}"}
evaluate: {segments: 6, shots: 1, samples: 6, probes: false}
"""


def write(folder: Path) -> Path:
    """German text of 40 commands, French text of 80: the same English, in part."""
    for name, column, numbers in (("de", 0, 10), ("fr", 1, 20)):
        rows = [
            f"{verb} the file number {n}\t{others[column]} {name} {n}"
            for verb, others in VERBS.items()
            for n in range(numbers)
        ]
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    base = fakes.write_base(folder / "tiny")
    (folder / "mul.yaml").write_text(RECIPE.replace("BASE", str(base)), encoding="utf-8")
    return folder / "mul.yaml"


def translate(question: str) -> str:
    """Answer `English>German: Open the file number 3` as the reference does."""
    languages, _, text = question.partition(": ")
    source, _, target = languages.partition(">")
    column = {"German": 0, "French": 1}[target if source == "English" else source]
    if source == "English":
        verb, _, number = text.partition(" the file number ")
        return f"{VERBS[verb][column]} {'de' if column == 0 else 'fr'} {number}"
    verb, _, number = text.split(" ")
    english = next(name for name, others in VERBS.items() if others[column] == verb)
    return f"{english} the file number {number}"


def only_into_english(question: str) -> str:
    return translate(question) if ">English:" in question else "kein"


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return Recipe.load(str(write(tmp_path)))


def test_every_pair_is_read_split_and_counted(recipe: Recipe) -> None:
    data = prepare(recipe)
    pairs = data.report.split["pairs"]
    assert set(pairs) == {"en-de", "en-fr", "de-en"}
    for counts in pairs.values():
        assert counts["test"] >= 8
        assert counts["dev"] >= 3
    drawn = [counts["drawn"] for counts in pairs.values()]
    assert max(drawn) - min(drawn) <= 1
    assert sum(drawn) == len(data.train)
    assert pairs["en-fr"]["train"] > 2 * pairs["en-de"]["train"]


def test_neither_side_of_a_held_out_pair_is_in_training(recipe: Recipe) -> None:
    data = prepare(recipe)
    held_out = {normalise(t) for s in [*data.test, *data.dev] for t in (s.source, s.target)}
    assert held_out
    assert not held_out & {normalise(s.source) for s in data.train}
    # The unit is the English text, so leaks were never made, rather than removed.
    assert data.report.split["removed_as_leak"] == 0


def test_a_run_scores_each_pair_and_publishes_all(
    world: World, recipe: Recipe, tmp_path: Path
) -> None:
    world.translate = translate
    registry = FileRegistry(tmp_path / "registry")
    outcome = run(recipe, registry, Options(tmp_path / "run", publish=True))
    manifest = registry.resolve(AdapterRef(AdapterId.parse("ui-mul"))).manifest
    assert manifest.pairs == (EN_DE, EN_FR, DE_EN)
    assert [(s.metric, s.test_set.split(" test")[0]) for s in manifest.scores] == [
        (metric, f"ui-mul {pair}")
        for pair in ("en-de", "en-fr", "de-en")
        for metric in ("chrF++", "BLEU", "TER")
    ]
    assert {figures["chrf"] for figures in outcome.summary["pairs"].values()} == {100.0}
    assert outcome.summary["chrf"] == 100.0
    assert manifest.golden[0].source in {
        s.source for s in prepare(recipe).test if s.pair == EN_DE
    }  # servers ask it in the first pair
    report = (tmp_path / "run" / "adapter" / "report.html").read_text(encoding="utf-8")
    for expected in ("English to German", "German to English", "Mean of 3 language pairs"):
        assert expected in report


def test_prompts_and_rows_are_of_each_segments_own_pair(
    world: World, recipe: Recipe, tmp_path: Path
) -> None:
    world.translate = translate
    run(recipe, FileRegistry(tmp_path / "registry"), Options(tmp_path / "run"))
    tokenizer = BaseTokenizer.load(tmp_path / "tiny")
    asked = [tokenizer.decode(list(row.prompt_ids)) for row in world.shown]
    for languages in ("English>German", "English>French", "German>English"):
        shown = [n for n, prompt in enumerate(asked) if languages in prompt]
        assert len(shown) >= len(asked) // 3 - 1
    assert not any("French>" in prompt for prompt in asked)


def test_a_pair_that_became_worse_than_the_base_fails_the_gate(
    world: World, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.training.fake_run import FakeGenerator

    world.translate = only_into_english
    generate = FakeGenerator.generate

    def base_speaks_german(self: Any, prompts: Any, **options: Any) -> Any:
        answers = generate(self, prompts, **options)
        if options["adapter"] is None:
            for answer in answers:
                answer.text = "Öffne de 5 Schließe de 7"
        return answers

    monkeypatch.setattr(FakeGenerator, "generate", base_speaks_german)
    outcome = run(recipe, FileRegistry(tmp_path / "registry"), Options(tmp_path / "run"))
    reasons = outcome.summary["gate"]["reasons"]
    assert not outcome.summary["gate"]["passed"]
    assert any(
        reason.startswith("en-de: ") and "the base" in reason and "significantly worse" in reason
        for reason in reasons
    )
    assert not any(reason.startswith("de-en: ") for reason in reasons)


def test_the_command_shows_every_pair_and_the_mean(world: World, tmp_path: Path) -> None:
    world.translate = translate
    arguments = ["train", str(write(tmp_path)), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(dragoman.build_app(), arguments)
    assert result.exit_code == 0, result.output
    for expected in ("en-de: ui-mul en-de test", "de-en: ", "mean of 3 pairs", "on average over 3"):
        assert expected in " ".join(result.stdout.split())
    again = CliRunner().invoke(dragoman.build_app(), [*arguments, "--resume", "--json"])
    assert set(json.loads(again.stdout)["pairs"]) == {"en-de", "en-fr", "de-en"}


def test_a_pair_without_test_text_is_told(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text().replace(
        "pair: en-fr}", "pair: en-fr}\n  - {tsv: fr.tsv, licence: MIT, pair: en-fr, part: test}"
    )
    path.write_text(text)
    with pytest.raises(DataInvalid, match="has no segment in"):
        prepare(Recipe.load(str(path)))


def test_early_stopping_translates_some_of_each_pair_by_its_own_prompt(
    tmp_path: Path,
) -> None:
    rule = "schedule.early_stopping.segments=6"
    recipe = Recipe.load(str(write(tmp_path)), overrides=[rule])
    dev = prepare(recipe).dev
    texts = dev_texts_of(recipe, tmp_path / "tiny", dev)
    assert texts is not None
    shown = [texts.tokenizer.decode(list(prompt)) for prompt in texts.prompts]
    directions = [re.findall(r"(\w+>\w+): ", text)[0] for text in shown]
    assert set(directions) == {"English>German", "English>French", "German>English"}
    assert len(texts.references) == len(texts.max_tokens) == 6
    for text, reference in zip(shown, texts.references, strict=True):
        assert translate(re.findall(r"\w+>\w+: [^\n]*", text)[0].strip()) == reference
