"""In which precision a run computes and with which AdamW, on this machine. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from training.fit.schedule import Schedule

_DTYPES: Final = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
_NAMES: Final = {dtype: name for name, dtype in _DTYPES.items()}
# transformers' names; fused is one kernel for all parameters.
_OPTIMIZERS: Final = {
    "adamw": "adamw_torch_fused",
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "paged_adamw_8bit",
}


@dataclass(frozen=True)
class Numerics:
    """`precision` is bf16, fp16 or fp32; `optim` is transformers' name."""

    precision: str
    optim: str

    @property
    def dtype(self) -> str:
        """The torch dtype that the frozen base is held in."""
        return _DTYPES[self.precision]


def numerics_of(
    schedule: Schedule, base_dtype: str, *, gpu: bool, say: Callable[[str], None]
) -> Numerics:
    """Return what `schedule` asks for, or what this machine has instead; `say` hears which.

    Without a GPU, fp16 becomes bf16 (there is no loss scaling for it on a CPU) and an 8-bit or
    paged AdamW becomes the plain one (its states and kernels are CUDA's).
    """
    asked = schedule.precision
    precision = _NAMES.get(base_dtype, "fp32") if asked == "auto" else asked
    if precision == "fp16" and not gpu:
        precision = "bf16"
        say("fit: fp16 needs a GPU; this run computes in bf16")
    optimizer = schedule.optimizer
    if optimizer != "adamw" and not gpu:
        say(f"fit: {optimizer} needs a GPU; this run uses plain AdamW")
        optimizer = "adamw"
    return Numerics(precision, _OPTIMIZERS[optimizer])
