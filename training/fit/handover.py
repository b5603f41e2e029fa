"""From what was trained to what is served: as it is, or as the plain LoRA that stands for it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import save_file

from adapters.base_model import read_config
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE, Conversion
from training.encode import Encoded
from training.methods.attach import Adapted, Factors, load_base
from training.methods.config import LoraMethod, Method
from training.methods.convert import BEGUN, convert
from training.methods.divergence import divergence, log_probs
from training.methods.save import save
from training.methods.served import Way, how_served


def hand_over(
    adapted: Adapted, method: Method, base: Path, out: Path, rows: Sequence[Encoded]
) -> tuple[Path, Conversion | None]:
    """Write `out/adapter`, which is evaluated and published; return it, and what it cost.

    What has to be converted stays in `out/trained` as PEFT saves it, in float32: factors near 1
    and differences of two products are lost in bf16. `rows` are what the answers are compared on.
    """
    served = how_served(method, str(read_config(base).get("model_type")))
    # PEFT cannot load CorDA's adapter on the whole base, and makes PiSSA's anew: they become plain
    # LoRAs on bases that no server gives adapters to, too.
    if served.way not in (Way.EXACTLY, Way.LOSSY) and adapted.begun is None:
        return save(adapted, base, out / "adapter"), None
    trained = save(adapted, base, out / "trained", precision=torch.float32)
    if adapted.begun is not None:
        _save_begun(adapted.begun, trained)
    rank = getattr(method, "serve_rank", None)
    conversion = convert(trained, base, out / "adapter", rank=rank)
    if not served.as_adapter:
        return out / "adapter", None
    model: Any = adapted.model
    own = log_probs(model, rows)
    model.to("cpu")  # two models would not fit where one just did
    return out / "adapter", compare(conversion, own, base, out / "adapter", rows)


def compare(
    conversion: Conversion, own: torch.Tensor, base: Path, adapter: Path, rows: Sequence[Encoded]
) -> Conversion:
    """Return `conversion` with how far the answers of `adapter` are from the method's `own`."""
    fresh = load_base(base, LoraMethod())
    if torch.cuda.is_available():
        fresh = fresh.to("cuda")
    model: Any = PeftModel.from_pretrained(fresh, str(adapter), autocast_adapter_dtype=False)
    converted = log_probs(model, rows)
    with model.disable_adapter():
        alone = log_probs(model, rows)
    errors = {
        "logit_error": divergence(own, converted),
        "base_logit_error": divergence(own, alone),
    }
    return conversion.model_copy(update=errors)


def _save_begun(begun: Factors, trained: Path) -> None:
    config = json.loads((trained / CONFIG_FILE).read_text(encoding="utf-8"))
    rank = config["r"]
    config |= {"init_lora_weights": True, "lora_alpha": rank, "use_rslora": False}
    folder = trained / BEGUN
    folder.mkdir()
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    tensors = {}
    for name, (B, A) in begun.items():
        tensors[f"{name}.lora_A.weight"] = A.cpu().contiguous()
        tensors[f"{name}.lora_B.weight"] = B.cpu().contiguous()
    save_file(tensors, str(folder / WEIGHTS_FILE), metadata={"format": "pt"})
