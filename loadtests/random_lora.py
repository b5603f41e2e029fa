"""A PEFT LoRA of random weights that fits a base model: for measuring speed, not for answers.

python -m loadtests.random_lora gemma3-270m --seed 1 --out ./random-1
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

import numpy as np
from safetensors.numpy import save_file

from adapters.base_model import weight_shapes
from adapters.locations import bases_root

_MODULES: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
# Small enough that the base's answers change but numbers stay finite.
_SCALE: Final = 0.01


def write_random_lora(
    base: Path, out: Path, *, rank: int, seed: int, scale: float | None = None
) -> None:
    """Write adapter_config.json and adapter_model.safetensors for all linear layers of `base`.

    scale is the standard deviation of A and B; a larger one makes answers differ more.
    """
    scale = _SCALE if scale is None else scale
    generator = np.random.default_rng(seed)
    tensors = {}
    for key, shape in weight_shapes(base).items():
        module = key.removesuffix(".weight")
        if module.rpartition(".")[2] not in _MODULES:
            continue
        size_out, size_in = shape
        a_RI = generator.standard_normal((rank, size_in), dtype=np.float32) * scale
        b_OR = generator.standard_normal((size_out, rank), dtype=np.float32) * scale
        tensors[f"base_model.model.{module}.lora_A.weight"] = a_RI
        tensors[f"base_model.model.{module}.lora_B.weight"] = b_OR
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": rank,
        "lora_alpha": rank,
        "target_modules": list(_MODULES),
        "bias": "none",
    }
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "adapter_model.safetensors")
    (out / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Read the arguments and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("base", help="name of a fetched base model, or its folder")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--rank", type=int, default=16, help="LoRA rank (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weights (default: 0)")
    arguments = parser.parse_args()
    folder = Path(arguments.base)
    base = folder if (folder / "config.json").is_file() else bases_root() / arguments.base
    write_random_lora(base, arguments.out, rank=arguments.rank, seed=arguments.seed)


if __name__ == "__main__":
    main()
