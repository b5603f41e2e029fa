"""What is handed on is exactly this: files, keys, names and shapes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from gguf import GGUFReader
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor
from typer.testing import CliRunner

import dragoman
from adapters.base_model import BaseModelRef
from adapters.errors import DragomanError, HubUnavailable
from adapters.ids import AdapterRef
from adapters.manifest import AdapterManifest, Weights, hash_files
from adapters.registry import FileRegistry
from tests import fakes
from tests.training import tiny
from tests.training.test_methods import METHODS, parse
from training.artefacts.gguf_adapter import as_llama_cpp
from training.artefacts.hub import push
from training.fit.run import fit
from training.fit.schedule import Schedule

pytestmark = pytest.mark.train

SCHEDULE = Schedule(batch_size=4, max_steps=4, learning_rate=2e-2, warmup=0.0, evaluate_every=50)
RANK = 4
# (out, in) of each linear module of the tiny base.
SHAPES = {
    "self_attn.q_proj": (32, 32), "self_attn.k_proj": (16, 32), "self_attn.v_proj": (16, 32),
    "self_attn.o_proj": (32, 32), "mlp.gate_proj": (48, 32), "mlp.up_proj": (48, 32),
    "mlp.down_proj": (32, 48),
}  # fmt: skip
GGUF_NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
MODELFILE = '''\
FROM {base}
ADAPTER ./adapter.gguf
TEMPLATE """<start_of_turn>user
{{{{ .Prompt }}}}<end_of_turn>
<start_of_turn>model
"""
PARAMETER stop "<end_of_turn>"
PARAMETER stop "<eos>"
PARAMETER temperature 0
PARAMETER top_p 1
PARAMETER repeat_penalty 1
'''


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_base(tmp_path_factory.mktemp("bases") / "tiny")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a LoRA."""
    return train(base, "lora", tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def registry(base: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> FileRegistry:
    root = FileRegistry(tmp_path_factory.mktemp("registry"))
    folder = trained / "adapter"
    config = json.loads((folder / "adapter_config.json").read_text())
    weights = Weights(
        rank=RANK,
        alpha=config["lora_alpha"],
        target_modules=tuple(config["target_modules"]),
        files=hash_files(folder),
    )
    root.publish(contract(folder, base, weights), folder)
    return root


def contract(folder: Path, base: Path, weights: Weights) -> AdapterManifest:
    return fakes.contract(folder, base=BaseModelRef.read(base), weights=weights)


def train(base: Path, name: str, run: Path) -> Path:
    rows = tiny.lessons(base)
    fit(rows, rows[:5], base, parse(METHODS[name]), SCHEDULE, run)
    return run


def command(*arguments: object, code: int = 0) -> dict[str, Any]:
    words = ["adapters", *map(str, arguments), "--json"]
    result = CliRunner().invoke(dragoman.build_app(), words)
    if isinstance(result.exception, DragomanError):
        raise result.exception
    assert result.exit_code == code, result.output
    return dict(json.loads(result.stdout)) if code == 0 else {}


def files_of(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_a_peft_export_is_the_adapter_and_nothing_of_the_base(
    base: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    told = command("export", "ui-en-fr", "--out", out, "--base", base, "--registry", registry.root)
    assert files_of(out) == told["files"] == ["adapter_config.json", "adapter_model.safetensors"]
    assert told["size_bytes"] < 50e6
    config = json.loads((out / "adapter_config.json").read_text())
    wanted = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 32.0,
        "base_model_name_or_path": "tiny", "bias": "none", "use_dora": False, "use_rslora": False,
        "inference_mode": True, "init_lora_weights": True, "modules_to_save": None,
        "target_modules": sorted(name.rpartition(".")[2] for name in SHAPES),
    }  # fmt: skip
    assert {key: config[key] for key in wanted} == wanted
    shapes = {name: tuple(t.shape) for name, t in load_file(out / files_of(out)[1]).items()}
    prefix = "base_model.model.model.layers"
    assert shapes == {
        f"{prefix}.{layer}.{name}.lora_{side}.weight": (RANK, size[1])
        if side == "A"
        else (size[0], RANK)
        for layer in range(2)
        for name, size in SHAPES.items()
        for side in "AB"
    }


def test_a_folder_with_more_than_a_lora_in_it_is_not_exported(
    base: Path, trained: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "with-base"
    shutil.copytree(trained / "adapter", folder)
    path = folder / "adapter_model.safetensors"
    save_file({**load_file(path), "base_model.model.lm_head.weight": torch.ones(2, 2)}, str(path))
    with pytest.raises(DragomanError, match="no LoRA matrix"):
        command("export", folder, "--out", tmp_path / "out", "--base", base)
    assert not (tmp_path / "out").exists()


def test_an_ollama_export_has_the_prompt_that_it_was_trained_on(
    base: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--to", "ollama", "--out", out, "--base", base, "--registry", registry.root)
    command("export", "ui-en-fr", *arguments)
    assert files_of(out) == ["Modelfile", "adapter.gguf"]
    assert (out / "Modelfile").read_text() == MODELFILE.format(base=base.resolve())


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_a_gguf_export_has_llama_cpps_keys_names_and_rows(kind: str, tmp_path: Path) -> None:
    base = tiny.write_base(tmp_path / "tiny", kind)
    run = train(base, "lora", tmp_path / "run")
    command("export", run / "adapter", "--to", "gguf", "--out", tmp_path / "out", "--base", base)
    reader = GGUFReader(tmp_path / "out" / "adapter.gguf")
    told = {key: field.contents() for key, field in reader.fields.items() if "." in key}
    assert told == {
        "general.architecture": {"llama": "llama", "gemma": "gemma3"}[kind],
        "general.type": "adapter",
        "adapter.type": "lora",
        "adapter.lora.alpha": 32.0,
        **({} if "GGUF.version" not in told else {k: told[k] for k in told if k[:4] == "GGUF"}),
    }
    tensors = load_file(run / "adapter" / "adapter_model.safetensors")
    found = {t.name: torch.tensor(t.data) for t in reader.tensors}
    assert found.keys() == {
        f"blk.{layer}.{name}.weight.lora_{side}"
        for layer in range(2)
        for name in GGUF_NAMES.values()
        for side in "ab"
    }
    for layer in range(2):
        for name, target in GGUF_NAMES.items():
            A, B = (
                tensors[f"base_model.model.model.layers.{layer}.{name}.lora_{s}.weight"]
                for s in "AB"
            )
            if kind == "llama" and target in ("attn_q", "attn_k"):
                B = as_llama_cpp(B, {"attn_q": 2, "attn_k": 1}[target])
            torch.testing.assert_close(found[f"blk.{layer}.{target}.weight.lora_a"], A)
            torch.testing.assert_close(found[f"blk.{layer}.{target}.weight.lora_b"], B)


def test_llama_cpps_rows_are_what_transformers_turns_back() -> None:
    rows = torch.randn(32, 4)
    turned = as_llama_cpp(rows, 2)
    assert not torch.equal(turned, rows)
    back = LlamaTensorProcessor()._reverse_permute_weights(turned.numpy(), 2, 2)
    assert torch.equal(torch.tensor(back), rows)


def test_a_vllm_export_names_a_slot_that_its_rank_fits(
    base: Path, registry: FileRegistry, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ("--to", "vllm", "--out", out, "--base", base, "--registry", registry.root)
    command("export", "ui-en-fr", *arguments)
    assert files_of(out) == [
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "serve.sh",
    ]
    text = (out / "serve.sh").read_text()
    assert f"exec vllm serve {base.resolve()} --enable-lora --max-lora-rank 8 " in text
    assert '--lora-modules ui-en-fr="$here/adapter" "$@"' in text


@pytest.mark.parametrize("name", ["lora", "dora", "pissa"])
def test_a_merged_model_is_the_one_that_peft_merges(name: str, base: Path, tmp_path: Path) -> None:
    run = train(base, name, tmp_path / "run")
    trained = run / ("trained" if name != "lora" else "adapter")
    command("merge", trained, "--out", tmp_path / "out", "--base", base)
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} < set(
        files_of(tmp_path / "out")
    )
    card = json.loads((tmp_path / "out" / "dragoman-base.json").read_text())
    assert card["source"] == "merged into tiny"
    model: Any = AutoModelForCausalLM.from_pretrained(base)
    wanted = peft.PeftModel.from_pretrained(model, str(trained)).merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict()
    assert found.keys() == wanted.keys()
    for key, weight in found.items():
        torch.testing.assert_close(weight, wanted[key], rtol=1e-4, atol=1e-5)
    assert BaseModelRef.read(tmp_path / "out").fingerprint != BaseModelRef.read(base).fingerprint


def test_a_conversion_by_command_says_what_it_lost_and_refuses_too_much(
    base: Path, tmp_path: Path
) -> None:
    run = train(base, "dora", tmp_path / "run")
    arguments = (run / "trained", "--base", base, "--out")
    told = command("convert", *arguments, tmp_path / "out", "--rank", 32)
    assert told["rank"] == 32
    assert told["error"] < 1e-4
    with pytest.raises(DragomanError, match="at most 1% is allowed"):
        command("convert", *arguments, tmp_path / "no", "--rank", 1, "--max-error", 0.01)
    assert not (tmp_path / "no").exists()
    command("convert", *arguments, tmp_path / "out", code=2)  # it is there already


class FakeHub:
    """Keeps what it is given; `down` refuses as a machine without network does."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.pushed: dict[str, list[str]] = {}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        if self.down:
            # What the real one raises, which is no OSError.
            raise errors.HTTPError("no route to host")  # type: ignore[attr-defined]
        assert private
        assert exist_ok

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str
    ) -> str:
        self.pushed[repo_id] = [f for f in files_of(folder_path) if f in allow_patterns]
        return f"https://hub.example/{repo_id}"


def test_a_push_uploads_the_adapter_and_its_contract_or_says_why_not(
    registry: FileRegistry, trained: Path
) -> None:
    version = registry.resolve(AdapterRef.parse("ui-en-fr")).folder
    hub = FakeHub()
    assert push(version, "me/ui", hub, private=True) == "https://hub.example/me/ui"
    files = ["adapter_config.json", "adapter_model.safetensors", "manifest.json"]
    assert hub.pushed == {"me/ui": files}
    with pytest.raises(HubUnavailable, match=r"no route to host.*hf auth login"):
        push(version, "me/ui", FakeHub(down=True), private=True)
