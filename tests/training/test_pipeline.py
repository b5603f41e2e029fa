"""The whole run, with a fit and a decoder that need no torch: phases, resume, gate, registry."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.errors import (
    ConversionTooLossy,
    DataInvalid,
    GateFailed,
    NotServable,
    OutOfMemory,
    TrainingFailed,
)
from adapters.ids import AdapterId, AdapterRef
from adapters.manifest import Conversion
from adapters.registry import FileRegistry
from tests import fakes
from tests.training.fake_run import World
from training.pipeline import run
from training.prepare import load
from training.recipe import Recipe
from training.run import Options
from training.translate.note import NOTE_FILE

UI = AdapterId.parse("ui-en-fr")


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    return FileRegistry(tmp_path / "registry")


def test_a_run_publishes_what_beats_its_base(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    outcome = run(Recipe.load(str(recipe_file)), registry, Options(tmp_path / "run", publish=True))
    assert outcome.published is not None
    assert outcome.summary["chrf"] > outcome.summary["base_chrf"] + 10
    assert outcome.summary["p_value"] < 0.05
    assert registry.resolve(AdapterRef(UI)).manifest.scores[0].base_value is not None
    assert {"README.md", "report.html"} <= {f.name for f in outcome.published.folder.iterdir()}
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == outcome.summary


def test_nothing_is_trained_on_that_is_tested(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    run(Recipe.load(str(recipe_file)), registry, Options(tmp_path / "run"))
    data = load(tmp_path / "run" / "data")
    assert world.fits == [(len(data.train), False)]
    assert (len(data.dev), len(data.test)) == (6, 12)
    assert data.report.clean["dropped"]["duplicate"] == 1
    assert not {s.source for s in data.train} & {s.source for s in data.test}


@pytest.mark.slow
def test_candidates_of_the_base_become_what_is_rejected(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    changes = ["objective.kind=dpo", "objective.candidates.segments=20"]
    recipe = Recipe.load(str(recipe_file), overrides=changes)
    run(recipe, registry, Options(tmp_path / "run"))
    data = load(tmp_path / "run" / "data")
    assert (len(data.train), len(data.dev), len(data.test)) == (20, 6, 12)
    assert {s.rejected for s in [*data.train, *data.dev]} == {"no idea"}
    assert all(s.rejected is None for s in data.test)
    assert data.report.split["undecided"] == 0
    assert world.fits == [(20, False)]


@pytest.mark.slow
def test_preferences_go_on_from_an_adapter_and_are_compared_with_it(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    start = fakes.write_lora(tmp_path / "sft" / "adapter")
    changes = ["objective.kind=cpo", "objective.candidates.per_segment=2"]
    world.good = False  # so that what the start says is worth rejecting
    asked = Recipe.load(str(recipe_file), overrides=[*changes, "objective.start=sft/adapter"])
    outcome = run(asked, registry, Options(tmp_path / "run"))
    assert world.decodes[:2] == ["sampler", "sampler"]
    assert "start" in world.decodes
    assert outcome.summary["start_chrf"] == outcome.summary["chrf"]
    report = (tmp_path / "run" / "adapter" / "report.html").read_text(encoding="utf-8")
    assert "start of training" in report
    (start / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TrainingFailed, match="another start"):
        run(asked, registry, Options(tmp_path / "run", resume=True))


def test_preferences_of_one_side_are_refused_before_training(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe = Recipe.load(str(recipe_file), overrides=["objective.kind=dpo"])
    with pytest.raises(DataInvalid, match=r"pairs.tsv:\d+: objective.kind: dpo compares"):
        run(recipe, registry, Options(tmp_path / "run"))
    assert world.fits == []


def test_without_publish_the_registry_stays_as_it_was(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    assert run(Recipe.load(str(recipe_file)), registry, Options(tmp_path / "run")).published is None
    assert registry.ids() == []


def test_a_failed_gate_publishes_nothing_and_keeps_the_run(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    world.good = False
    recipe, out = Recipe.load(str(recipe_file)), tmp_path / "run"
    with pytest.raises(GateFailed, match="not published"):
        run(recipe, registry, Options(out, publish=True))
    assert registry.ids() == []
    assert not json.loads((out / "summary.json").read_text())["gate"]["passed"]
    assert (out / "adapter" / "report.html").is_file()
    forced = run(recipe, registry, Options(out, resume=True, publish=True, force=True)).published
    assert forced is not None
    assert forced.manifest.gate is not None
    assert forced.manifest.gate.forced


def test_a_refused_run_has_written_nothing(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    world.too_large = True
    recipe, out = Recipe.load(str(recipe_file)), tmp_path / "run"
    with pytest.raises(OutOfMemory):
        run(recipe, registry, Options(out))
    assert not out.exists()
    assert run(recipe, registry, Options(out, allow_memory=True)).folder == out
    again = run(recipe, registry, Options(out, resume=True))  # nothing is left to train
    assert len(world.fits) == 1
    assert again.summary["id"] == "ui-en-fr"


def test_a_resumed_run_does_no_finished_phase_again(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe, out = Recipe.load(str(recipe_file)), tmp_path / "run"
    first = run(recipe, registry, Options(out))
    decodes = len(world.decodes)
    again = run(recipe, registry, Options(out, resume=True, publish=True))
    assert (len(world.fits), len(world.decodes)) == (1, decodes)
    assert again.summary == first.summary
    assert again.published is not None


def test_a_run_may_stop_after_its_fit_and_be_measured_later(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe = Recipe.load(str(recipe_file))
    first = run(recipe, registry, Options(tmp_path / "run", fit_only=True))
    assert not world.decodes
    assert "gate" not in first.summary
    assert (tmp_path / "run" / NOTE_FILE).is_file()  # it can be asked to translate
    assert not (tmp_path / "run" / "summary.json").exists()
    second = run(recipe, registry, Options(tmp_path / "run", resume=True))
    assert len(world.fits) == 1
    assert second.summary["gate"]["passed"]


def test_an_adapter_is_probed_and_its_card_tells_what_was_found(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe = Recipe.load(str(recipe_file), overrides=["evaluate.probes=true"])
    outcome = run(recipe, registry, Options(tmp_path / "run"))
    found = outcome.summary["probes"]
    assert set(found) >= {"injection", "gender_gap"}
    again = run(recipe, registry, Options(tmp_path / "run", resume=True))
    assert again.summary["probes"] == found
    card = (tmp_path / "run" / "adapter" / "README.md").read_text(encoding="utf-8")
    assert "injection" in card.partition("## Limitations")[2]


def test_an_interrupted_fit_leaves_nothing_and_is_resumed(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe, out = Recipe.load(str(recipe_file)), tmp_path / "run"
    world.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        run(recipe, registry, Options(out, publish=True))
    assert registry.ids() == []
    world.interrupt = False
    assert run(recipe, registry, Options(out, resume=True, publish=True)).published is not None
    assert [resumed for _, resumed in world.fits] == [False, True]


@pytest.mark.slow
def test_a_second_version_is_measured_against_the_first(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe = Recipe.load(str(recipe_file))
    run(recipe, registry, Options(tmp_path / "one", publish=True))
    assert "current" not in world.decodes
    second = run(recipe, registry, Options(tmp_path / "two", publish=True)).published
    assert "current" in world.decodes
    assert second is not None
    assert second.manifest.version == 2
    assert registry.aliases(UI)["stable"] == 2


def test_the_command_trains_publishes_and_prints_json(
    world: World, recipe_file: Path, tmp_path: Path
) -> None:
    command = ["train", str(recipe_file), "--publish", "--json", "--set", "seed=3"]
    folders = ["--registry", str(tmp_path / "registry"), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(dragoman.build_app(), [*command, *folders])
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert body["id"] == "ui-en-fr"
    assert body["published"]["version"] == 1
    assert Path(body["published"]["folder"]).is_dir()


def test_ctrl_c_says_how_to_go_on(
    world: World, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.interrupt = True
    arguments = ["train", str(recipe_file), "--out", str(tmp_path / "run")]
    monkeypatch.setattr(sys, "argv", ["/bin/not-dragoman", *arguments])
    result = CliRunner().invoke(dragoman.build_app(), arguments)
    assert result.exit_code == 130
    assert f"dragoman train {recipe_file} --out {tmp_path / 'run'} --resume" in result.stderr
    assert "Traceback" not in result.output


def test_the_table_shows_all_three_systems(world: World, recipe_file: Path, tmp_path: Path) -> None:
    arguments = ["train", str(recipe_file), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(dragoman.build_app(), arguments)
    assert result.exit_code == 0, result.output
    for expected in ("adapter", "base", "source copied", "gate passed", "report.html"):
        assert expected in result.stdout


@pytest.mark.parametrize("change", ["method.kind=prefix", "method.kind=full"])
def test_what_cannot_be_an_adapter_is_not_trained_in_order_to_be_published(
    change: str, world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe = Recipe.load(str(recipe_file), overrides=[change])
    with pytest.raises(NotServable, match=r"served .*without --publish, or"):
        run(recipe, registry, Options(tmp_path / "run", publish=True))
    assert world.fits == []
    assert not (tmp_path / "run").exists()


def test_a_base_without_lora_is_refused_as_well(
    world: World, recipe_file: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    recipe = Recipe.load(str(recipe_file))
    path = Path(recipe.base) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_type": "bloom"}))
    with pytest.raises(NotServable, match=r"of type bloom.*adapters merge"):
        run(recipe, registry, Options(tmp_path / "run", publish=True))
    assert world.fits == []


def test_a_conversion_is_told_in_summary_report_and_manifest_and_held_to_the_limit(
    world: World,
    recipe_file: Path,
    registry: FileRegistry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    world.conversion = Conversion(
        way="converted with a measured error", rank=4, error=0.2, error_max=0.4, error_saved=0.2,
        logit_error=0.01, base_logit_error=1.5,
    )  # fmt: skip
    recipe, out = Recipe.load(str(recipe_file), overrides=["method.dora=true"]), tmp_path / "run"
    outcome = run(recipe, registry, Options(out, publish=True))
    assert "served: converted with a measured error" in capsys.readouterr().err
    assert outcome.summary["conversion"]["error"] == 0.2
    assert "weights off by 20.00%" in (out / "adapter" / "README.md").read_text()
    assert outcome.published is not None
    training = outcome.published.manifest.training
    assert training is not None
    assert training.method == "dora"
    assert training.conversion == world.conversion
    again = run(recipe, registry, Options(out, resume=True))
    # It is now held against the version that it became.
    assert {**again.summary, "gate": None} == {**outcome.summary, "gate": None}

    strict = ["method.dora=true", "gate.max_conversion_error=0.1"]
    recipe = Recipe.load(str(recipe_file), overrides=strict)
    decodes = len(world.decodes)
    with pytest.raises(ConversionTooLossy, match=r"off by 20% .*at most 10% is allowed"):
        run(recipe, registry, Options(tmp_path / "strict", publish=True))
    assert len(world.decodes) == decodes
    gate = run(recipe, registry, Options(tmp_path / "strict", resume=True)).summary["gate"]
    assert not gate["passed"]
    assert "off by 20%" in gate["reasons"][0]
