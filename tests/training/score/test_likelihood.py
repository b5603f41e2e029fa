from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.errors import BaseModelError, RecipeInvalid
from tests import fakes
from tests.training import tiny
from tests.training.score.fake_generator import ALONE, RIGHT, WRONG, FakeGenerator, install
from training.corpus.segment import Segment
from training.recipe import Recipe
from training.score.likelihood import Likelihood, Model
from training.score.refusal import refuse_other_objectives, refuse_seq2seq
from training.score.way import Way

TEXTS = [("open 1", "ouvrir 1"), ("save 2", "fermer 3"), ("move it to 4", "déplacer 4")]
SEGMENTS = [Segment(s, t, "", "a.tsv", 1) for s, t in TEXTS]


@pytest.fixture
def generator(recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGenerator:
    return install(recipe_file.parent / "tiny", monkeypatch)


def scorer(recipe_file: Path, way: Way, *overrides: str, adapter: Path | None = None) -> Likelihood:
    recipe = Recipe.load(str(recipe_file), overrides=overrides)
    model = Model(recipe_file.parent / "tiny", adapter)
    return Likelihood(recipe, recipe.pair, model, way, lambda _: None)


@pytest.mark.parametrize("way", [*Way])
def test_a_score_is_what_a_token_gains_by_the_other_side(
    recipe_file: Path, generator: FakeGenerator, way: Way
) -> None:
    right, wrong = RIGHT - ALONE, WRONG - ALONE
    found = [*scorer(recipe_file, way).scores(SEGMENTS)]
    assert found == pytest.approx([right, wrong, right])
    assert len(generator.asked) == 2 * len(SEGMENTS) * len(way.forth_and_back)


def test_the_side_that_is_predicted_and_the_languages_are_those_of_the_way(
    recipe_file: Path, generator: FakeGenerator
) -> None:
    asks = "prompt.user=From {source} into {target}: {text}"
    example = "prompt.examples=[{source: red, target: rouge}]"
    [*scorer(recipe_file, Way.BACK, asks, example).scores(SEGMENTS[:1])]
    (_, after, target), (_, alone, _) = generator.asked
    assert target == "open 1"
    assert "From French into English: ouvrir 1" in after
    assert after.index("rouge") < after.index("red")
    assert after.replace("ouvrir 1", "") == alone


def test_an_adapter_is_asked_what_it_has_learnt_and_its_base_the_reverse(
    recipe_file: Path, generator: FakeGenerator, tmp_path: Path
) -> None:
    adapter = fakes.write_lora(tmp_path / "lora")
    [*scorer(recipe_file, Way.BOTH, adapter=adapter).scores(SEGMENTS[:1])]
    assert [name for name, *_ in generator.asked] == ["scorer", "scorer", None, None]


def test_pairs_beyond_the_longest_row_have_no_score(
    recipe_file: Path, generator: FakeGenerator
) -> None:
    advanced: list[int] = []
    recipe = Recipe.load(str(recipe_file), overrides=["schedule.max_length=80"])
    model = Model(recipe_file.parent / "tiny")
    long = Segment("1" * 80, "1", "", "a.tsv", 1)
    scorer = Likelihood(recipe, recipe.pair, model, Way.BOTH, advanced.append)
    assert [score is None for score in scorer.scores([*SEGMENTS, long])] == [False] * 3 + [True]
    assert sum(advanced) == 8


def test_rows_go_through_the_model_in_batches_of_the_recipe(
    recipe_file: Path, generator: FakeGenerator
) -> None:
    [*scorer(recipe_file, Way.FORWARD, "evaluate.batch_size=2").scores(SEGMENTS)]
    assert generator.batch_sizes == [2, 2, 1, 1]


def test_the_signature_tells_prompts_and_ways_apart(recipe_file: Path) -> None:
    user = "prompt.user=French of {text}:"
    plain, other = scorer(recipe_file, Way.BOTH), scorer(recipe_file, Way.BOTH, user)
    assert plain.signature == scorer(recipe_file, Way.BOTH).signature
    assert len({plain.signature, other.signature, scorer(recipe_file, Way.BACK).signature}) == 3
    assert "base:tiny (sha256:" in plain.signature


@pytest.mark.parametrize("kind", ["dpo", "cpo"])
def test_recipes_of_preferences_are_refused(recipe_file: Path, kind: str) -> None:
    recipe = Recipe.load(str(recipe_file), overrides=[f"objective.kind={kind}"])
    with pytest.raises(RecipeInvalid, match=rf"objective.kind is {kind}, expected sft"):
        refuse_other_objectives(recipe)


def test_recipes_of_plain_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(
        "id: docs-fr-fr\nlicence: MIT\nobjective: {kind: monolingual}\n"
        "data: [{text: fr.txt, language: fr, licence: MIT}]\n"
    )
    with pytest.raises(RecipeInvalid, match=r"objective.kind is monolingual, expected sft"):
        refuse_other_objectives(Recipe.load(str(tmp_path / "r.yaml")))


def test_sequence_to_sequence_bases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "marian"}))
    with pytest.raises(BaseModelError, match=r"\(marian\), expected a causal model.*--base"):
        refuse_seq2seq(tmp_path)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_real_model_finds_swapped_targets_of_what_it_knows(
    recipe_file: Path, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    base = tiny.write_base(tmp_path / "real")
    model = AutoModelForCausalLM.from_pretrained(base, dtype="auto").train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    words = ("open", "close", "save", "run", "move", "stop")
    rows = tiny.encode(base, [(word, word.upper()) for word in words])
    for step in range(600):
        row = rows[step % len(rows)]
        ids, labels = (torch.tensor([each]) for each in (row.input_ids, row.labels))
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(base)
    recipe = Recipe.load(str(recipe_file))
    scorer = Likelihood(recipe, recipe.pair, Model(base), Way.FORWARD, lambda _: None)
    right = [Segment(w, w.upper(), "", "", 1) for w in words]
    swapped = [Segment(w, words[n - 1].upper(), "", "", 1) for n, w in enumerate(words)]
    found = [score for score in scorer.scores([*right, *swapped]) if score is not None]
    # Each target after its own source, and after another's.
    pairs = [(found[n], found[6 + (n + 1) % 6]) for n in range(6)]
    assert all(known > shuffled + 1 for known, shuffled in pairs)
