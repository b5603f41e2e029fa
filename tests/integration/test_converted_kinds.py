"""Every kind that is converted is answered by the real engine as the method itself answers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from adapters.base_model import BaseModelRef
from adapters.manifest import Weights, hash_files
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.integration.harness import start_server
from tests.training import tiny
from tests.training.test_methods import METHODS, parse
from training.evaluate.generate import Generator
from training.fit.run import fit
from training.fit.schedule import Schedule
from training.methods.divergence import log_probs
from training.methods.load import Loaded
from training.methods.served import Way

pytestmark = [pytest.mark.engine, pytest.mark.train]

KINDS: Final = ("pissa", "olora", "corda", "adalora", "loha", "lokr", "dora", "ia3")
ASKED: Final = ("open", "save it", "move the cell")
TOKENS: Final = 8
# vLLM has attention kernels for heads of at least 32.
SIZES: Final[dict[str, Any]] = {"hidden_size": 64, "head_dim": 32}


@dataclass(frozen=True)
class Trained:
    folder: Path
    answers: list[tuple[int, ...]]  # of the method itself
    way: str


def answers_of(generator: Generator, base: Path, adapter: str | None) -> list[tuple[int, ...]]:
    fmt, tokenizer = fakes.prompt_format(), BaseTokenizer.load(base)
    prompts = [fmt.encode(text, tiny.PAIR, tokenizer) for text in ASKED]
    found = generator.generate(
        prompts,
        stop_token_ids=fmt.stop_token_ids,
        max_tokens=[TOKENS] * len(prompts),
        adapter=adapter,
    )
    return [answer.token_ids for answer in found]


def train(name: str, base: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    found: list[list[tuple[int, ...]]] = []

    def asked(model: Any, rows: Any) -> torch.Tensor:
        if not found:  # the first that is measured is the method itself, as it was trained
            model.eval()
            loaded: dict[str | None, Loaded] = {
                "default": Loaded(model.get_base_model(), "LORA", model)
            }
            generator = Generator(loaded, BaseTokenizer.load(base))
            found.append(answers_of(generator, base, "default"))
        return log_probs(model, rows)

    monkeypatch.setattr("training.fit.handover.log_probs", asked)
    rate = 0.5 if name == "ia3" else 3e-2
    schedule = Schedule(batch_size=8, epochs=8, learning_rate=rate, warmup=0.0, evaluate_every=99)
    rows = tiny.lessons(base)
    result = fit(rows, rows[:5], base, parse(METHODS[name]), schedule, run)
    assert result.conversion is not None
    return Trained(result.adapter_folder, found[0], result.conversion.way)


def publish(name: str, trained: Trained, base: Path, registry: FileRegistry) -> None:
    config = json.loads((trained.folder / "adapter_config.json").read_text())
    weights = Weights(
        rank=config["r"],
        alpha=config["lora_alpha"],
        target_modules=tuple(config["target_modules"]),
        files=hash_files(trained.folder),
    )
    reference = BaseModelRef.read(base)
    draft = fakes.contract(
        trained.folder, adapter_id=f"{name}-en-fr", base=reference, weights=weights
    )
    registry.publish(draft, trained.folder)


def test_every_converted_kind_is_answered_as_the_method_itself_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    base = tiny.write_base(tmp_path / "base", **SIZES)
    PreTrainedTokenizerFast(
        tokenizer_file=str(base / "tokenizer.json"), bos_token="<bos>", eos_token="<eos>"
    ).save_pretrained(base)
    registry = FileRegistry(tmp_path / "registry")
    trained = {}
    for name in KINDS:
        trained[name] = train(name, base, tmp_path / name, monkeypatch)
        publish(name, trained[name], base, registry)
    wanted, alone = {}, answers_of(Generator.load(base), base, None)
    for name, it in trained.items():
        wanted[name] = it.answers
        if it.way != Way.EXACTLY:
            loaded = Generator.load(base, {"lora": it.folder})
            wanted[name] = answers_of(loaded, base, "lora")
    torch.set_num_threads(threads)
    assert {trained[name].way for name in KINDS[:6]} == {Way.EXACTLY}
    # Adapters that say what the base says would prove nothing.
    assert [name for name in KINDS if wanted[name] == alone] == []

    flags = ("--max-loras", "2", "--max-lora-rank", "64", "--max-model-len", "256")
    server = start_server(
        registry.root,
        tmp_path / "log",
        *flags,
        "--",
        "--dtype",
        "float32",
        "--enforce-eager",
        base=str(base),
    )
    try:
        found = {name: [_ask(server, f"{name}-en-fr", text) for text in ASKED] for name in KINDS}
    finally:
        server.stop()
    assert found == wanted


def _ask(server: Any, model: str, text: str) -> tuple[int, ...]:
    answer = server.client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": text}],
        max_tokens=TOKENS,
        extra_body={"return_token_ids": True},
    )
    return tuple(answer.choices[0].to_dict()["token_ids"])
