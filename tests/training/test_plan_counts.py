"""Parameters counted on the meta device, and the plan and refusal that stand on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from transformers import LlamaConfig, MBartConfig
from typer.testing import CliRunner

import dragoman
from adapters.errors import BaseModelError, OutOfMemory
from tests import fakes
from tests.training import tiny
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.config import LoraMethod, Method
from training.plan import machine
from training.plan.counts import count, count_of
from training.plan.refusal import refuse_beyond_memory
from training.recipe import Recipe

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def recipe(recipe_file: Path, tmp_path: Path) -> Recipe:
    tiny.write_base(tmp_path / "base")
    return Recipe.load(str(recipe_file), overrides=[f"base={tmp_path / 'base'}"])


def test_mbart_50_with_rank_8_on_queries_and_values_trains_1179648() -> None:
    # The values of facebook/mbart-large-50's config.json.
    config = MBartConfig(
        vocab_size=250054,
        d_model=1024,
        encoder_layers=12,
        decoder_layers=12,
        encoder_attention_heads=16,
        decoder_attention_heads=16,
        encoder_ffn_dim=4096,
        decoder_ffn_dim=4096,
        max_position_embeddings=1024,
        scale_embedding=True,
    )
    counts = count_of(config, LoraMethod(rank=8, alpha=16, targets=("q_proj", "v_proj")))
    assert counts.trainable == 1_179_648
    assert counts.total - counts.trainable == 610_879_488
    assert counts.shape.layers == 24


def test_llama_8b_with_rank_16_on_attention_trains_13631488() -> None:
    # The values of meta-llama/Llama-3.1-8B's config.json.
    config = LlamaConfig(
        vocab_size=128256,
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        tie_word_embeddings=False,
        dtype="bfloat16",
    )
    method = LoraMethod(quantize="nf4", targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    counts = count_of(config, method)
    assert counts.trainable == 13_631_488
    assert counts.total - counts.trainable == 8_030_261_248
    assert counts.file_bytes == 2 * 13_631_488
    # All but embedding, head and norms are held in four bits.
    assert counts.linear == 8_030_261_248 - 2 * 128256 * 4096 - 65 * 4096


@pytest.mark.parametrize(
    "body",
    [{"rank": 4}, {"rank": 4, "init": "pissa"}, {"kind": "ia3"}, {"rank": 4, "dora": True}],
    ids=lambda body: "-".join(map(str, body.values())),
)
def test_the_count_is_that_of_the_fit_and_the_file_as_large(
    body: dict[str, Any], tmp_path: Path
) -> None:
    base = tiny.write_base(tmp_path / "base", dtype=torch.bfloat16)
    method: Method = TypeAdapter(Method).validate_python(body)
    counts = count(base, method)
    rows = tiny.lessons(base, 4)
    result = fit(rows, [], base, method, Schedule(max_steps=1), tmp_path / "run")
    assert counts.trainable == result.trainable_parameters
    if body == {"rank": 4}:  # the others are saved converted
        size = (result.adapter_folder / "adapter_model.safetensors").stat().st_size
        assert counts.file_bytes == pytest.approx(size, abs=6000)  # the header


def test_an_architecture_that_nobody_knows_cannot_be_planned(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="nothing can be planned"):
        count(fakes.write_base(tmp_path / "fake"), LoraMethod())


def test_a_plan_says_what_a_run_takes_and_trains_nothing(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "home"))
    base = tiny.write_base(tmp_path / "base")
    asked = ["train", str(recipe_file), "--plan", "--set", f"base={base}"]
    app = dragoman.build_app()
    result = CliRunner().invoke(app, [*asked, "--json"])
    assert result.exit_code == 0, result.output
    body = json.loads(result.stdout)
    assert body["work"]["pairs"] == 42
    assert body["work"]["steps"] == 9  # three epochs of three batches
    assert body["memory_bytes"]["total"] < body["available_bytes"]
    assert body["hours"] > 0
    assert body["served"]["way"] == "directly"
    assert all(gpu["fits"] and gpu["cost"] > 0 for gpu in body["gpus"])
    assert not (tmp_path / "home").exists()
    shown = CliRunner().invoke(app, asked)
    assert f"{body['parameters']['trainable']:,} of" in shown.stdout
    assert "42 pairs" in shown.stdout


def test_a_plan_without_the_text_says_why_and_bounds_the_memory(
    recipe_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "pairs.tsv").unlink()
    base = tiny.write_base(tmp_path / "base")
    asked = ["train", str(recipe_file), "--plan", "--json", "--set", f"base={base}"]
    body = json.loads(CliRunner().invoke(dragoman.build_app(), asked).stdout)
    assert "pairs.tsv" in body["work_unknown_because"]
    assert body["work"] is body["hours"] is None
    assert body["largest_pass"]["tokens"] == 1024


def test_a_run_beyond_the_memory_is_refused_with_what_to_change(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    base = tmp_path / "base"
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(machine, "available_memory", lambda: 500_000_000)
    with pytest.raises(OutOfMemory, match=r"needs about 1\.\d GB .* 0\.5 GB are available") as told:
        refuse_beyond_memory(recipe, base)
    for remedy in ("gradient_checkpointing", "tokens_per_pass", "nf4", "smaller base"):
        assert remedy in str(told.value)
    assert told.value.code == "out_of_memory"
    refuse_beyond_memory(recipe, base, allow=True)
    assert "available" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_that_fits_is_not_refused(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_beyond_memory(recipe, tmp_path / "base")
    # The bound for any text is over this, what its own text needs is not.
    large = recipe.model_copy(
        update={"schedule": Schedule(max_length=100_000, tokens_per_pass=100_000)}
    )
    monkeypatch.setattr(machine, "available_memory", lambda: 1_100_000_000)
    refuse_beyond_memory(large, tmp_path / "base")


def test_a_refused_command_leaves_no_run_folder(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny.write_base(tmp_path / "base")
    monkeypatch.setattr(machine, "available_memory", lambda: 500_000_000)
    asked = ["train", str(recipe_file), "--out", str(tmp_path / "run"), "--set", f"base={base}"]
    result = CliRunner().invoke(dragoman.build_app(), asked)
    assert isinstance(result.exception, OutOfMemory)
    assert not (tmp_path / "run").exists()
