"""What was trained, as the plain LoRA that a server loads: exact where its algebra allows.

PEFT's own `convert_to_lora` asks a module for its delta weight, which for DoRA is without the
magnitude and for PiSSA without what was taken out of the base: tests/training/test_convert.py.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from peft import LoraConfig
from safetensors.torch import save_file
from torch import Tensor

from adapters.base_model import read_card
from adapters.errors import NonFiniteWeights, ShapeMismatch, UnsupportedAdapter
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE, Conversion
from adapters.peft_config import verify_peft_config
from training.methods.config import RESIDUAL_INITS, SERVED_RANKS
from training.methods.peft_folder import BaseWeights, PeftFolder
from training.methods.served import Way
from training.methods.updates import CONVERTIBLE, Module, Product, update_of

BEGUN: Final = "begun"
# A slot of rank 128 costs a server eight of rank 16.
_MOST: Final = 128
_IA3_RANK: Final = 64
# Float32 products of three factors; what is cut off is larger by orders of magnitude.
_EXACT: Final = 1e-4


@dataclass
class _Sums:
    """Squared Frobenius norms over all modules."""

    whole: float = 0.0
    lost: float = 0.0
    lost_saved: float = 0.0
    worst: float = 0.0

    def add(self, whole: float, lost: float, lost_saved: float) -> None:
        """Add one module's."""
        self.whole += whole
        self.lost += lost
        self.lost_saved += lost_saved
        self.worst = max(self.worst, _relative(lost, whole))


def convert(  # noqa: PLR0913 - what, on which base, to where, and how
    folder: Path,
    base: Path,
    out: Path,
    *,
    rank: int | None = None,
    begun: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> Conversion:
    """Write the adapter of any convertible kind in `folder` as a plain LoRA to `out`.

    `rank` is the most it may have; None takes what is exact, or for DoRA, IA3 and large LoKr the
    next that servers have to four times their own, at most 128. `begun` is the folder of the
    initial adapter of PiSSA, OLoRA and CorDA, default `begun` inside. `on_progress` gets modules
    done and in all. Memory: one module in float32. Whole or not at all. Raises AdapterRejected.
    """
    trained = PeftFolder(folder)
    initial = initial_of(trained, begun)
    limit = rank or default_rank(trained.config)
    sums, factors = _Sums(), {}
    with BaseWeights.open(base) as weights, torch.inference_mode():
        for done, name in enumerate(trained.modules, start=1):
            module = Module(
                name,
                trained.parts(name),
                trained.config,
                functools.partial(weights.weight, name),
                None if initial is None else initial.parts(name),
            )
            factors[name] = _convert(module, weights, limit, sums)
            if on_progress is not None:
                on_progress(done, len(trained.modules))
    widest = max(product.rank for product in factors.values()) or 1
    _write(trained, base, out, {n: _padded(p, widest) for n, p in factors.items()})
    exact = sums.worst <= _EXACT
    return Conversion(
        way=str(Way.EXACTLY if exact else Way.LOSSY),
        rank=widest,
        error=_relative(sums.lost, sums.whole),
        error_max=sums.worst,
        error_saved=_relative(sums.lost_saved, sums.whole),
    )


def default_rank(config: dict[str, Any]) -> int:
    """Return the most that the LoRA of an adapter with this config has, unless asked otherwise."""
    kind = config["peft_type"]
    if kind == "IA3":
        return _IA3_RANK
    if kind == "LOKR":
        return _MOST
    if config.get("use_dora"):
        return served_rank(4 * int(config["r"]))
    return SERVED_RANKS[-1]


def served_rank(rank: int) -> int:
    """Return the least rank that servers have slots for, from `rank` on, at most 128."""
    return min(_MOST, next(served for served in SERVED_RANKS if served >= min(rank, _MOST)))


def initial_of(trained: PeftFolder, begun: Path | None) -> PeftFolder | None:
    """Return the adapter that PiSSA, OLoRA and CorDA began with; None for others.

    `begun` is its folder, default `begun` inside. Raises AdapterRejected, also for kinds that are
    no change of linear weights that we know.
    """
    config, folder = trained.config, trained.folder
    if config.get("peft_type") not in CONVERTIBLE:
        raise UnsupportedAdapter(
            f"{folder}: peft_type {config.get('peft_type')!r} cannot be converted to a LoRA, only "
            f"{', '.join(CONVERTIBLE)} can; merge it (`dragoman adapters merge`)"
        )
    init = config.get("init_lora_weights")
    residual = isinstance(init, str) and init.startswith(("pissa", *RESIDUAL_INITS))
    plain = {**config, "use_dora": False} | ({"init_lora_weights": True} if residual else {})
    if config["peft_type"] == "LORA":
        verify_peft_config(folder / CONFIG_FILE, plain)
    if not residual:
        return None
    begun = begun or folder / BEGUN
    if not begun.is_dir():
        raise UnsupportedAdapter(
            f"{folder}: init_lora_weights={init!r} took the initial adapter out of the base, and "
            f"{begun} is not there; name the folder of that adapter with --begun"
        )
    initial = PeftFolder(begun)
    if initial.modules != trained.modules:
        raise ShapeMismatch(f"{begun}: of other modules than {folder}; is it of another run?")
    return initial


def _convert(module: Module, weights: BaseWeights, limit: int, sums: _Sums) -> Product:
    update = update_of(module)
    whole = update.dense() if isinstance(update, Product) else update
    if tuple(whole.shape) != weights.shape(module.name):
        raise ShapeMismatch(
            f"{module.name} is {weights.shape(module.name)} in the base, the adapter is for "
            f"{tuple(whole.shape)}; it was trained on another base"
        )
    if not whole.isfinite().all():
        raise NonFiniteWeights(f"{module.name}: NaN or infinity in its change; train it again")
    kept = update if isinstance(update, Product) and update.rank <= limit else None
    kept = kept or nearest(whole, limit)
    dtype = weights.dtype(module.name)
    saved = Product(kept.B.to(dtype), kept.A.to(dtype))
    beside = _bias_change(module, weights.bias(module.name))
    sums.add(
        _square(whole) + beside,
        _square(whole - kept.dense()) + beside,
        _square(whole - saved.B.float() @ saved.A.float()) + beside,
    )
    return saved


def nearest(whole: Tensor, rank: int) -> Product:
    """Return the product of at most `rank` that is nearest to `whole` (Eckart and Young, 1936).

    By the eigenvectors of the smaller Gram matrix: 10 times faster than a singular value
    decomposition, and what squaring costs in precision is cut off anyway.
    """
    tall = whole.shape[0] > whole.shape[1]
    wide = whole.T if tall else whole
    rank = min(rank, len(wide))
    U = torch.linalg.eigh(wide @ wide.T).eigenvectors[:, -rank:].flip(1)
    rest = U.T @ wide
    return Product(rest.T, U.T) if tall else Product(U, rest)


def _bias_change(module: Module, bias: Tensor | None) -> float:
    """Return the square of how IA3 scales the bias with its outputs: no LoRA can say that."""
    factors = module.parts.get("ia3_l")
    if factors is None or bias is None or factors.shape[1] != 1:
        return 0.0
    return _square(bias * (factors[:, 0] - 1))


def _square(matrix: Tensor) -> float:
    return float(matrix.double().square().sum())


def _relative(lost: float, whole: float) -> float:
    return math.sqrt(lost / whole) if whole else 0.0


def _padded(product: Product, rank: int) -> Product:
    missing = rank - product.rank
    return Product(
        torch.nn.functional.pad(product.B, (0, missing)).contiguous(),
        torch.nn.functional.pad(product.A, (0, 0, 0, missing)).contiguous(),
    )


def _write(trained: PeftFolder, base: Path, out: Path, factors: dict[str, Product]) -> None:
    draft = out.with_name(f".{out.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    rank = next(iter(factors.values())).rank
    config = LoraConfig(
        task_type=trained.config.get("task_type"),
        base_model_name_or_path=str(read_card(base).get("name") or base.resolve().name),
        r=rank,
        lora_alpha=rank,  # the factors are scaled already
        target_modules=trained.config["target_modules"],
        inference_mode=True,
    )
    config.save_pretrained(str(draft))
    body = json.loads((draft / CONFIG_FILE).read_text(encoding="utf-8"))
    if isinstance(body["target_modules"], list):
        body["target_modules"].sort()
    text = json.dumps(body, indent=2, sort_keys=True) + "\n"
    (draft / CONFIG_FILE).write_text(text, encoding="utf-8")
    tensors = {}
    for name, product in factors.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = product.A
        tensors[f"base_model.model.{name}.lora_B.weight"] = product.B
    save_file(tensors, str(draft / WEIGHTS_FILE), metadata={"format": "pt"})
    shutil.rmtree(out, ignore_errors=True)
    draft.rename(out)
