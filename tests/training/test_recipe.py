from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from adapters.errors import RecipeInvalid
from adapters.ids import AdapterId, LanguagePair
from adapters.strict.keys import kinds_of
from tests import fakes
from training.methods.config import LoraMethod, Method
from training.methods.rates import learning_rate_of
from training.recipe import SHIPPED, Recipe, find_recipe

MINIMAL = "id: ui-en-fr\nlicence: CC0-1.0\ndata:\n  - jsonl: pairs.jsonl\n    licence: CC0-1.0\n"


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults_of(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeInvalid) as caught:
        Recipe.load(write(tmp_path, text), overrides=overrides)
    name = str(tmp_path / "recipe.yaml")
    return [line.replace(name, "recipe.yaml") for line in str(caught.value).splitlines()]


def test_a_minimal_recipe_gets_sensible_defaults(tmp_path: Path) -> None:
    recipe = Recipe.load(write(tmp_path, MINIMAL))
    assert recipe.id == AdapterId.parse("ui-en-fr")
    assert recipe.pair == LanguagePair("en", "fr")
    assert recipe.folder == tmp_path
    assert (recipe.evaluate.shots, recipe.gate.max_p_value) == (3, 0.05)
    assert recipe.method == LoraMethod(rank=16)


def test_all_faults_come_at_once_with_lines_and_remedies(tmp_path: Path) -> None:
    text = (
        "id: UI\n"
        "licens: MIT\n"
        "data:\n"
        "  - gettext: a.po\n"
        "    tsv: b.tsv\n"
        "    licence: MIT\n"
        "schedule:\n"
        "  epoch: 2\n"
        "  batch_size: many\n"
        "split: {test: 0}\n"
    )
    faults = faults_of(tmp_path, text)
    assert [fault.partition(": ")[0] for fault in faults] == [
        "recipe.yaml:1",  # id
        "recipe.yaml:1",  # licence is missing: told where the mapping starts
        "recipe.yaml:2",
        "recipe.yaml:4",
        "recipe.yaml:8",
        "recipe.yaml:9",
        "recipe.yaml:10",
    ]
    shown = "\n".join(faults)
    assert "unknown key `licens`; did you mean `licence`?" in shown
    assert "unknown key `schedule.epoch`; did you mean `epochs`?" in shown
    assert "`licence` is missing; add for example `licence: BSD-3-Clause`" in shown
    assert "found gettext and tsv" in shown
    assert "`schedule.batch_size`" in shown
    assert "found 'many'" in shown
    assert "expected DOMAIN-SOURCE-TARGET such as 'k8s-en-zh'" in shown


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ("id: ui-en-fr\nid: ui-en-de\n", "2"),
        (MINIMAL + "nothing_like_it: 1\n", "6"),
        (MINIMAL + "prompt:\n  user: translate this\n", "7"),
        (MINIMAL + 'prompt:\n  system: "{nobody}"\n', "7"),
        (MINIMAL + "schedule:\n  learning_rate: .inf\n", "7"),
        (MINIMAL + "gate:\n  max_p_value: 0.5\n", "7"),
        (MINIMAL.replace("ui-en-fr", "ui-mul"), "1"),
        (MINIMAL.replace("  - jsonl", "  - pair: en-de\n    jsonl"), "3"),
        ("- a\n- b\n", "1"),
        ("", "1"),
        ("id: [unclosed\n", "2"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(tmp_path: Path, wrong: str, where: str) -> None:
    assert any(fault.startswith(f"recipe.yaml:{where}: ") for fault in faults_of(tmp_path, wrong))


def test_an_unknown_key_without_a_near_one_lists_the_known_ones(tmp_path: Path) -> None:
    (fault,) = faults_of(tmp_path, MINIMAL + "split:\n  zzz: 1\n")
    assert "known keys: by, dev, test, near, seed" in fault


KINDS = {tag for member in get_args(get_args(Method)[0]) for tag in kinds_of(member)}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_shipped_recipe_takes_every_kind_of_method_at_the_rate_that_suits_it(kind: str) -> None:
    recipe = Recipe.load("jupyter-en-fr", overrides=[f"method.kind={kind}"])
    assert recipe.method.kind == kind
    assert recipe.schedule.learning_rate == learning_rate_of(recipe.method)


def test_a_recipes_own_learning_rate_wins(tmp_path: Path) -> None:
    sets = ["method.kind=ia3", "schedule.learning_rate=3e-4"]
    assert Recipe.load(write(tmp_path, MINIMAL), overrides=sets).schedule.learning_rate == 3e-4


def test_the_digest_is_the_same_whether_the_methods_own_rate_is_written_or_not(
    tmp_path: Path,
) -> None:
    path = write(tmp_path, MINIMAL)
    written = Recipe.load(path, overrides=["schedule.learning_rate=5e-4"])
    assert written.digest == Recipe.load(path).digest


def test_a_prefix_is_not_lost_to_gradient_checkpointing(tmp_path: Path) -> None:
    text = MINIMAL + "method: {kind: prefix}\nschedule: {gradient_checkpointing: true}\n"
    (fault,) = faults_of(tmp_path, text)
    assert fault.startswith("recipe.yaml:7: `schedule`: gradient_checkpointing takes the cache")


def test_set_overrides_nested_values(tmp_path: Path) -> None:
    overrides = ["schedule.epochs=2", "split.by=hash", "data.0.licence=MIT", "method.rank=8"]
    recipe = Recipe.load(write(tmp_path, MINIMAL), overrides=overrides)
    assert (recipe.schedule.epochs, recipe.split.by) == (2, "hash")
    assert recipe.method == LoraMethod(rank=8)
    assert recipe.data[0].licence == "MIT"


@pytest.mark.parametrize(
    "override", ["schedule.epoch=2", "schedule.epochs=two", "epochs", "data.7.licence=MIT", "=1"]
)
def test_a_wrong_override_is_told_by_its_own_text(tmp_path: Path, override: str) -> None:
    (fault,) = faults_of(tmp_path, MINIMAL, override)
    assert fault.startswith(f"--set {override}: ")


def test_the_digest_is_of_values_not_of_layout(tmp_path: Path) -> None:
    first = Recipe.load(write(tmp_path, MINIMAL)).digest
    assert Recipe.load(write(tmp_path, "# a comment\n" + MINIMAL)).digest == first
    assert Recipe.load(write(tmp_path, MINIMAL), overrides=["seed=1"]).digest != first


def test_a_reversed_pair_of_a_source_is_allowed(tmp_path: Path) -> None:
    text = MINIMAL.replace("  - jsonl", "  - pair: fr-en\n    jsonl")
    assert Recipe.load(write(tmp_path, text)).data[0].pair == LanguagePair("fr", "en")


def test_relative_paths_start_at_the_folder_that_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    assert Recipe.load(write(tmp_path, MINIMAL), folder=folder).folder == folder.resolve()


NAMED_FOR_THEIR_BASE = {"opus-mt-en-zh-k8s": "k8s-en-zh", "mbart-50-de-en": "general-de-en"}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_named_for_their_id(path: Path) -> None:
    # A prefix says how or on what it is trained, a suffix which other objective it has.
    recipe = Recipe.load(path.stem)
    other = "" if recipe.objective.kind == "sft" else f"-{recipe.objective.kind}"
    name = NAMED_FOR_THEIR_BASE.get(path.stem, path.stem)
    assert name.endswith(f"{recipe.id}{other}")


def test_there_are_shipped_recipes() -> None:
    assert {"jupyter-en-fr", "jupyter-en-de", "jupyter-mul", "summaries-en-fr"} <= {
        path.stem for path in SHIPPED.glob("*.yaml")
    }


def test_an_unknown_recipe_lists_the_shipped_ones() -> None:
    with pytest.raises(RecipeInvalid, match="jupyter-en-fr"):
        find_recipe("jupyter-en-xx")


def test_the_prompt_is_completed_by_what_the_base_says(tmp_path: Path) -> None:
    base = fakes.write_base(tmp_path / "tiny")
    recipe = Recipe.load(write(tmp_path, MINIMAL), overrides=["prompt.user=Say: {text}"])
    prompt = recipe.prompt.complete(base)
    assert prompt.stop_token_ids == (fakes.END, fakes.EOS)
    assert "Say: Save" in prompt.render("Save", recipe.pair)
