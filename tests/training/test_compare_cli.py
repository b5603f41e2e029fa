"""`dragoman compare` as it is typed; fits and decoding are faked, servers and files are real."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import dragoman
from adapters.base_model import BaseModelRef
from adapters.errors import DataInvalid, RecipeInvalid, TrainingFailed
from adapters.registry import FileRegistry
from tests import fakes
from tests.training.fake_run import World, to_french
from tests.training.synthesis.served import Served, completion, serving, text_of
from training.comparison.folder import PAGE_FILE
from training.corpus.segment import load_jsonl

pytestmark = pytest.mark.slow  # resampling, mostly

SPEC = """\
title: Four ways
recipe: recipe.yaml
baseline: base
systems:
  - {name: base, base: {shots: 0}}
  - {name: few, base: {shots: 2}}
  - {name: memory, base: {retrieved: 2}}
  - {name: r4, set: {method.rank: 4, method.targets: [q_proj, up_proj]}}
"""
TEACHER = """\
title: Teacher
recipe: recipe.yaml
synthesize:
  - {name: teacher, endpoint: {url: URL, model: big}, text: [english.txt], limit: 30}
systems:
  - {name: C, train_on: [teacher]}
  - {name: D, train_on: [recipe, teacher]}
  - {name: teacher, endpoint: {url: URL, model: big}}
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def trainings(world: World, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Train by the real command, but here, where its fit is the fake one."""
    commands: list[list[str]] = []

    def here(command: Sequence[str], name: str) -> None:
        arguments = [*command[3:]]
        commands.append(arguments)
        done = CliRunner().invoke(dragoman.build_app(), arguments)
        if done.exit_code == 130:
            raise KeyboardInterrupt
        if done.exception:
            raise TrainingFailed(f"error[out_of_memory]: {done.exception}")

    monkeypatch.setattr("training.comparison.trained.run_to_end", here)
    return commands


@pytest.fixture
def server() -> Iterator[Served]:
    with serving() as served:
        served.reply = lambda body: completion(to_french(text_of(body)), tokens=(20, 10))
        yield served


@pytest.fixture
def run(recipe_file: Path, tmp_path: Path) -> Callable[..., Result]:
    """Return what compares by a file of that text, or by what is named."""

    def invoke(spec: str | Sequence[object], *options: object) -> Result:
        words: Sequence[object] = (
            spec if not isinstance(spec, str) else [recipe_file.parent / "c.yaml"]
        )
        if isinstance(spec, str):
            (recipe_file.parent / "c.yaml").write_text(spec, encoding="utf-8")
        typed = ["compare", *words, "--out", tmp_path / "out", *options]
        return CliRunner().invoke(dragoman.build_app(), [str(word) for word in typed])

    return invoke


def error_of(done: Result) -> BaseException:
    assert done.exception is not None
    return done.exception


def body_of(done: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_systems_are_trained_asked_and_scored_on_the_same_text(
    run: Callable[..., Result], tmp_path: Path, world: World
) -> None:
    done = run(SPEC, "--json", "--html", tmp_path / "page.html")
    assert done.exit_code == 0, done.output
    body = body_of(done)
    assert body == json.loads((tmp_path / "out" / "comparison.json").read_text())
    scored = {one["system"]: one for one in body["scoreboard"]["systems"]}
    assert [*scored] == ["base", "few", "memory", "r4"]
    assert scored["r4"]["scores"]["chrF++"]["value"] == 100
    assert scored["r4"]["scores"]["chrF++"]["gain"] > 50
    assert "gain" not in scored["base"]["scores"]["chrF++"]
    rows = {one["name"]: one for one in body["systems"]}
    training = rows["r4"]["training"]
    assert (training["rank"], training["targets"]) == (4, ["q_proj", "up_proj"])
    assert training["trainable_parameters"] == 1234
    assert training["trainable_percent"] == round(123400 / training["base_parameters"], 4)
    assert training["adapter_mb"] >= 0
    assert (training["train_s"], training["train_loss"], training["dev_loss"]) == (12.0, 1.0, 1.2)
    assert body["losses"]["r4"]["dev"] == [[10, 1.6], [20, 1.2]]
    asked = {name: row["per_segment"]["prompt_tokens"] for name, row in rows.items()}
    assert asked["base"] < asked["few"]
    assert asked["base"] < asked["memory"]
    assert body["data"]["split"]["test"] == body["scoreboard"]["segments"] == 12
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Four ways" in page
    assert page == (tmp_path / "out" / PAGE_FILE).read_text(encoding="utf-8")


def test_what_is_done_is_not_done_again_and_the_table_is_the_same(
    run: Callable[..., Result], world: World
) -> None:
    first = run(SPEC)
    assert first.exit_code == 0, first.output
    for name in ("base", "memory", "r4", "chrF++", "nrefs:1", "page: "):
        assert name in first.stdout
    decoded, fits = len(world.decodes), len(world.fits)
    again = run(SPEC)
    assert (len(world.decodes), len(world.fits)) == (decoded, fits) == (decoded, 1)
    assert again.stdout == first.stdout
    assert again.stderr.count("done before") == 4


def test_another_comparison_in_the_folder_is_refused_unless_fresh(
    run: Callable[..., Result], world: World
) -> None:
    assert run(SPEC).exit_code == 0
    other = SPEC.replace("method.rank: 4", "method.rank: 8")
    with pytest.raises(
        TrainingFailed, match=r"comparison, trainings differs.*--out DIR, or --fresh"
    ):
        raise error_of(run(other))
    with pytest.raises(TrainingFailed, match="changes"):
        raise error_of(run(SPEC, "--set", "seed=1"))
    done = run(other, "--fresh", "--json")
    assert done.exit_code == 0, done.output
    assert body_of(done)["systems"][3]["training"]["rank"] == 8
    assert len(world.fits) == 2


def test_a_failed_training_is_a_row_and_the_others_go_on(
    run: Callable[..., Result], world: World
) -> None:
    world.too_large = True
    spec = SPEC.replace("  - {name: base", "  - {name: first}\n  - {name: base")
    done = run(spec)
    assert done.exit_code == 1
    assert "first failed: error[out_of_memory]: needs 9 GB" in done.stderr
    assert "failed" in done.stdout
    body = body_of(run(spec, "--json"))
    assert [(one["name"], one["status"]) for one in body["systems"]] == [
        ("first", "failed"),
        ("base", "done"),
        ("few", "done"),
        ("memory", "done"),
        ("r4", "failed"),
    ]
    assert not body["complete"]
    world.too_large = False
    assert run(spec).exit_code == 0


def test_an_interrupt_says_how_to_go_on_and_keeps_what_is_done(
    run: Callable[..., Result], world: World
) -> None:
    world.interrupt = True
    stopped = run(SPEC)
    assert stopped.exit_code == 130
    assert "the same command goes on" in stopped.stderr
    world.interrupt = False
    done = run(SPEC)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("done before") == 3
    assert [resumed for _, resumed in world.fits] == [True, True]


def test_a_recipe_that_holds_out_other_text_is_refused_before_anything_is_trained(
    run: Callable[..., Result], recipe_file: Path, world: World
) -> None:
    other = recipe_file.with_name("other.yaml")
    text = recipe_file.read_text(encoding="utf-8")
    other.write_text(text.replace("test: 12", "test: 12, seed: 5"), encoding="utf-8")
    done = run([recipe_file, other])
    assert isinstance(done.exception, DataInvalid)
    assert "other: holds out other text" in str(done.exception)
    assert not world.fits
    same = recipe_file.with_name("same.yaml")
    same.write_text(text.replace("samples: 4", "samples: 5"), encoding="utf-8")
    done = run([recipe_file, same, "base"], "--fresh", "--json")
    assert done.exit_code == 0, done.output
    body = body_of(done)
    assert [one["name"] for one in body["systems"]] == ["recipe", "same", "base"]
    assert body["scoreboard"]["baseline"] == "base"


def test_students_learn_what_the_teacher_made_and_nothing_that_is_held_out(
    run: Callable[..., Result],
    recipe_file: Path,
    tmp_path: Path,
    server: Served,
    world: World,
) -> None:
    assert run(SPEC, "--out", tmp_path / "first").exit_code == 0
    held_out = load_jsonl(tmp_path / "first" / "data" / "test.jsonl")
    texts = [f"{verb} the file number {n}" for verb in ("Open", "Save") for n in range(20, 30)]
    english = "\n\n".join([*texts, held_out[0].source])
    (recipe_file.parent / "english.txt").write_text(english, encoding="utf-8")
    world.fits.clear()
    done = run(TEACHER.replace("URL", server.url), "--json")
    assert done.exit_code == 0, done.output
    body = body_of(done)
    (made,) = body["synthesized"]
    assert (made["texts"], made["kept"]) == (20, 20)
    assert [pairs for pairs, _ in world.fits] == [20, 20 + body["data"]["split"]["train"]]
    sources = {segment.source for segment in held_out}
    for name in ("C", "D"):
        data = tmp_path / "out" / "runs" / name / "data"
        assert sources.isdisjoint(s.source for s in load_jsonl(data / "train.jsonl"))
        assert {s.source for s in load_jsonl(data / "test.jsonl")} == sources
    teacher = body["systems"][2]
    assert teacher["per_segment"]["prompt_tokens"] == 20
    assert teacher["per_segment"]["completion_tokens"] == 10
    asked = len(server.asked)
    assert run(TEACHER.replace("URL", server.url)).exit_code == 0
    assert len(server.asked) == asked


def test_an_endpoint_is_asked_again_only_for_what_it_did_not_answer(
    run: Callable[..., Result], server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THE_KEY", "secret")
    spec = (
        "title: Hosted\nrecipe: recipe.yaml\nsystems: [{name: hosted, endpoint: "
        f"{{url: '{server.url}', model: big, key_env: THE_KEY, concurrency: 1}}}}]\n"
    )

    def gone(body: dict[str, Any]) -> Any:
        return completion("Ouvrir") if len(server.asked) <= 4 else (401, {}, b"no")

    server.reply = gone
    failed = run(spec)
    assert failed.exit_code == 1
    assert "hosted failed: error[synthesis_failed]" in failed.stderr
    assert "secret" not in failed.output
    server.reply = lambda _: completion("Fermer")
    done = run(spec, "--json")
    assert done.exit_code == 0, done.output
    assert len(server.asked) == 12 + 1  # the one that was refused, too
    assert server.headers[0]["authorization"] == "Bearer secret"
    assert "secret" not in done.stdout


def test_a_run_folder_and_an_adapter_of_the_registry_are_rows(
    run: Callable[..., Result], recipe_file: Path, tmp_path: Path, home: Path
) -> None:
    assert run(SPEC, "--out", tmp_path / "first").exit_code == 0
    base = fakes.write_base(home / "bases" / "tiny")
    registry = FileRegistry(tmp_path / "registry")
    folder = fakes.write_lora(tmp_path / "lora")
    registry.publish(fakes.contract(folder, base=BaseModelRef.read(base)), folder)
    named = [tmp_path / "first" / "runs" / "r4", "ui-en-fr@1", "base"]
    where = ["--recipe", recipe_file, "--registry", registry.root]
    done = run(named, *where, "--json")
    assert done.exit_code == 0, done.output
    run_row, published, _ = body_of(done)["systems"]
    assert run_row["training"]["train_s"] == 12.0
    assert (published["training"]["rank"], published["training"]["alpha"]) == (4, 8)
    assert published["what"] == "ui-en-fr@1 of the registry"
    notes = body_of(done)["scoreboard"]["systems"][1]["notes"]
    assert "may have been trained on what is tested" in notes["held out"]
    missing = run(["ui-en-fr@7", "base"], *where, "--out", tmp_path / "second")
    assert isinstance(missing.exception, RecipeInvalid)
    assert "ui-en-fr@7" in str(missing.exception)


def test_a_run_that_learnt_what_is_tested_is_refused(
    run: Callable[..., Result], recipe_file: Path, tmp_path: Path
) -> None:
    assert run(SPEC, "--out", tmp_path / "first").exit_code == 0
    text = recipe_file.read_text(encoding="utf-8").replace("test: 12", "test: 12, seed: 5")
    recipe_file.with_name("other.yaml").write_text(text, encoding="utf-8")
    named = [tmp_path / "first" / "runs" / "r4", "base"]
    done = run(named, "--recipe", recipe_file.with_name("other.yaml"))
    assert done.exit_code == 1
    assert "r4 failed: error[data_invalid]" in done.stderr
    assert "of 12 texts of the test set" in done.stderr


def test_a_comparison_is_run_alone(run: Callable[..., Result]) -> None:
    assert run(["ranks-jupyter-en-fr", "base"]).exit_code == 2
