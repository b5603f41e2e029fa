"""Pin one adapter in a real engine of two slots, and serve two others: ours, or vLLM's scheduler.

    python pinned_engine.py FOLDER fair|vllm

FOLDER holds what tiny_base.py wrote. Prints `answered` when all is done; vLLM's engine dies.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

from serving.settings import HANDOVER, AdapterWish, ServingSettings

ADAPTERS = ("a-en-fr", "b-en-fr", "c-en-fr")


def adapter_folder(base: Path, name: str) -> Path:
    """Return a random adapter of the tiny base."""
    folder = base.parent / name
    config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(str(folder))
    return folder


def main(base: Path, scheduler: str) -> None:
    """Pin the first adapter while it is idle, then ask the two others at once."""
    settings = ServingSettings(
        base=str(base), max_loras=2, adapters={ADAPTERS[0]: AdapterWish(pinned=True)}
    )
    if scheduler == "fair":
        os.environ[HANDOVER] = settings.model_dump_json()
    loras = [
        LoRARequest(f"{name}@0", number, str(adapter_folder(base, name)))
        for number, name in enumerate(ADAPTERS, start=1)
    ]
    engine = LLM(
        str(base), enable_lora=True, max_loras=2, max_cpu_loras=4, max_lora_rank=8,
        max_model_len=256, enforce_eager=True,
        scheduler_cls="serving.scheduler.FairScheduler" if scheduler == "fair" else None,
    )  # fmt: skip
    engine.llm_engine.add_lora(loras[0])
    assert engine.llm_engine.pin_lora(1)
    params = SamplingParams(max_tokens=20, ignore_eos=True)
    for asked in ([loras[1], loras[2]] * 3, [*loras] * 2):
        answers = engine.generate(["hello"] * len(asked), params, lora_request=asked)
        assert [len(answer.outputs[0].token_ids) for answer in answers] == [20] * len(asked)
    print("answered")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
