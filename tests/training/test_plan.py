"""What a plan says without torch: memory, machine, prices, advice."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import RecipeInvalid
from training.fit.numerics import numerics_of
from training.fit.schedule import Schedule
from training.methods.config import FullMethod, LoraMethod, Method
from training.methods.served import how_served
from training.plan import memory as memory_of_plan
from training.plan.advice import about_data, warnings
from training.plan.counts import Counts, Shape
from training.plan.gpus import Gpus, on_each
from training.plan.machine import available_memory
from training.plan.memory import Memory, Pass, estimate, largest_pass
from training.plan.work import Work
from training.recipe import Recipe

# Gemma 3 270M with LoRA r16 on all linear modules, as `count` gives it.
GEMMA = Shape("gemma3_text", 18, 640, 2048, 1024, 256, 262144, norms=4.06, head_norms=True)
COUNTS = Counts(
    shape=GEMMA,
    total=271_895_168,
    linear=100_270_080,
    trainable=3_796_992,
    ranks=18 * 7 * 16,
    adapted_inputs=18 * 6912,
    element_bytes=2,
    file_bytes=7_593_984,
)
LARGEST = Pass(736, 265)
GIB = 2**30


def memory(method: Method | None = None, **changes: Any) -> Memory:
    schedule = Schedule(**changes)
    return estimate(COUNTS, method or LoraMethod(), schedule, LARGEST)


def work(**changes: Any) -> Work:
    told: dict[str, Any] = {"pairs": 3000, "too_long": 0, "tokens": 90, "labels": 30}
    told |= {"positions": 100, "longest": 9, "steps": 5, "epochs": 1.0, "largest": LARGEST}
    return Work(**(told | changes))


@pytest.mark.parametrize(
    ("method", "changes", "measured_gib"),
    [
        # Peaks of six steps on jupyter-en-fr: 2 cores, torch 2.13, seed 0.
        (LoraMethod(), {}, 2.17),
        (LoraMethod(), {"gradient_checkpointing": True}, 1.87),
        (LoraMethod(quantize="nf4"), {}, 2.22),
        (LoraMethod(quantize="nf4"), {"gradient_checkpointing": True}, 1.91),
    ],
)
def test_the_memory_is_as_measured(
    method: Method, changes: dict[str, Any], measured_gib: float
) -> None:
    assert memory(method, **changes).total / GIB == pytest.approx(measured_gib, rel=0.25)


def test_the_chunk_of_logits_is_that_of_the_loss() -> None:
    from training.fit import label_loss

    assert memory_of_plan._CHUNK_ELEMENTS == label_loss._CHUNK_ELEMENTS


def test_what_should_save_memory_does() -> None:
    plain = memory()
    assert memory(gradient_checkpointing=True).activations < plain.activations / 5
    assert memory(LoraMethod(quantize="nf4")).weights < plain.weights
    assert memory(LoraMethod(dropout=0.1)).activations > plain.activations
    full = dataclasses.replace(COUNTS, total=268_098_176, trainable=100_326_016)
    whole = estimate(full, FullMethod(kind="full"), Schedule(), LARGEST)
    assert whole.optimizer == 8 * 100_326_016
    assert whole.total > plain.total


def test_a_pass_is_bounded_by_what_the_schedule_allows() -> None:
    assert largest_pass(Schedule(tokens_per_pass=1024, max_length=256)).tokens == 1024
    assert largest_pass(Schedule(tokens_per_pass=64, max_length=256)).tokens == 256  # one row
    assert largest_pass(Schedule(batch_size=1, max_length=256)).tokens == 256


def test_a_gpu_keeps_less_of_an_8_bit_optimizer() -> None:
    schedule = Schedule(optimizer="paged_adamw_8bit")
    on_cpu, on_gpu = (
        estimate(COUNTS, LoraMethod(), schedule, LARGEST, gpu=gpu).optimizer
        for gpu in (False, True)
    )
    assert on_cpu == 4 * on_gpu


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    return root


HOST = {"proc/meminfo": "MemTotal: 9000 kB\nMemAvailable: 8000 kB\n"}


def test_without_a_limit_the_host_says_what_is_available(tmp_path: Path) -> None:
    files = {"proc/self/cgroup": "0::/x\n", "sys/fs/cgroup/x/memory.max": "max\n"}
    assert available_memory(write(tmp_path, HOST | files)) == 8_000 * 1024
    assert available_memory(tmp_path / "nowhere") is None


def test_a_limit_of_the_group_or_of_one_above_it_binds(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/pod"
    files = {
        "proc/self/cgroup": "0::/pod/run\n",
        f"{group}/memory.max": "5000000\n",
        f"{group}/memory.current": "4000000\n",
        f"{group}/memory.stat": "anon 3000000\ninactive_file 500000\n",
        f"{group}/run/memory.max": "max\n",
        f"{group}/run/memory.current": "1\n",
    }
    assert available_memory(write(tmp_path, HOST | files)) == 1_500_000


def test_the_older_control_groups_are_read_too(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "4:memory:/of/the/host\n",
        f"{group}/memory.limit_in_bytes": "3000000\n",
        f"{group}/memory.usage_in_bytes": "1000000\n",
        f"{group}/memory.stat": "total_inactive_file 200000\n",
    }
    assert available_memory(write(tmp_path, HOST | files)) == 2_200_000


def test_the_shipped_prices_carry_their_dates_and_sources() -> None:
    table = Gpus.load()
    assert [gpu.name for gpu in table.gpus][:3] == ["T4", "L4", "A10G"]
    assert all(gpu.seen.year >= 2026 and gpu.source for gpu in table.gpus)


def test_a_gpu_that_is_too_small_has_no_time_and_no_cost() -> None:
    found = {on.gpu.name: on for on in on_each(Gpus.load(), 30e9, 3600 * 65e12)}
    assert not found["T4"].fits
    assert found["T4"].hours is found["T4"].cost is None
    large = found["A100 80 GB"]
    assert large.hours is not None
    assert large.hours == pytest.approx(65 / (312 * 0.3))
    assert large.cost == pytest.approx(65 / (312 * 0.3) * large.gpu.price)


def test_a_broken_table_of_prices_says_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "gpus.yaml"
    path.write_text("currency: EUR\nutilisation: 2\ngpus: []\n", encoding="utf-8")
    with pytest.raises(RecipeInvalid, match="utilisation"):
        Gpus.load(path)


@pytest.mark.parametrize(("pairs", "said"), [(300, "fewer"), (2872, "narrow"), (9000, "5,000")])
def test_advice_on_the_amount_of_text_names_its_source(pairs: int, said: str) -> None:
    assert said in about_data(pairs)
    assert "2409.03454" in about_data(pairs)


@pytest.mark.parametrize(
    ("overrides", "changes", "said"),
    [
        (["method.rank=24"], {}, "padded to 32"),
        (["method.kind=loha", "method.rank=22"], {}, "padded to 512"),
        (["schedule.learning_rate=0.02"], {}, "above what lora"),
        (["method.kind=full", "schedule.learning_rate=0.01"], {}, "above what full"),
        (["method.kind=prefix"], {}, "no server"),
        ([], {"positions": 200}, "55% of what goes"),
        ([], {"too_long": 600}, "600 pairs are longer"),
        ([], {"pairs": 9}, "there are 9"),
    ],
)
def test_likely_slips_are_warned_of(
    overrides: list[str], changes: dict[str, Any], said: str
) -> None:
    recipe = Recipe.load("jupyter-en-fr", overrides=overrides)
    served = how_served(recipe.method, "gemma3_text")
    assert any(said in w for w in warnings(recipe, served, work(**changes)))


def test_a_usual_recipe_has_no_warning() -> None:
    recipe = Recipe.load("jupyter-en-fr")
    assert warnings(recipe, how_served(recipe.method, "gemma3_text"), work()) == []


@pytest.mark.parametrize(
    ("asked", "gpu", "has", "notices"),
    [
        ({}, False, ("bf16", "adamw_torch_fused"), 0),
        ({"precision": "fp16"}, False, ("bf16", "adamw_torch_fused"), 1),
        ({"precision": "fp16"}, True, ("fp16", "adamw_torch_fused"), 0),
        ({"precision": "fp32"}, False, ("fp32", "adamw_torch_fused"), 0),
        ({"optimizer": "paged_adamw_8bit"}, False, ("bf16", "adamw_torch_fused"), 1),
        ({"optimizer": "paged_adamw_8bit"}, True, ("bf16", "paged_adamw_8bit"), 0),
    ],
)
def test_what_needs_a_gpu_is_replaced_elsewhere_and_said(
    asked: dict[str, Any], gpu: bool, has: tuple[str, str], notices: int
) -> None:
    told: list[str] = []
    found = numerics_of(Schedule(**asked), "bfloat16", gpu=gpu, say=told.append)
    assert (found.precision, found.optim) == has
    assert len(told) == notices


def test_a_half_precision_base_is_trained_in_bf16_on_a_cpu() -> None:
    told: list[str] = []
    assert numerics_of(Schedule(), "float16", gpu=False, say=told.append).dtype == "bfloat16"
    assert len(told) == 1


def test_the_presets_of_systems_have_their_values() -> None:
    recipe = Recipe.load("qlora-jupyter-en-fr")
    method, schedule = recipe.method, recipe.schedule
    assert isinstance(method, LoraMethod)
    assert (method.quantize, method.double_quantize) == ("nf4", True)
    assert (method.rank, method.alpha, method.dropout) == (16, 32, 0.1)
    assert method.targets == ("q_proj", "k_proj", "v_proj", "o_proj")
    assert (schedule.epochs, schedule.batch_size, schedule.gradient_accumulation) == (3, 4, 4)
    assert (schedule.learning_rate, schedule.scheduler, schedule.warmup) == (2e-4, "cosine", 0.03)
    assert (schedule.optimizer, schedule.max_grad_norm) == ("paged_adamw_8bit", 0.3)
    assert (schedule.gradient_checkpointing, schedule.max_length) == (True, 512)
