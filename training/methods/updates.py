"""The change of one module's weight by each kind of PEFT adapter, as its algebra has it.

W' = W + U. U is a product B @ A where the kind has one, else a full matrix. All in float32.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from adapters.errors import ShapeMismatch, UnsupportedAdapter

# What PEFT adds to the rank when it scales AdaLoRA (tuners/adalora/layer.py).
_ADALORA_EPSILON: Final = 1e-5
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Product:
    """U = B @ A."""

    B: Tensor
    A: Tensor

    @property
    def rank(self) -> int:
        """The inner dimension: the rank that a LoRA of this needs."""
        return self.A.shape[0]

    def dense(self) -> Tensor:
        """Return U itself."""
        return self.B @ self.A

    def shortest(self) -> Product:
        """Return the same with an inner dimension of at most the smaller side of U."""
        size_out, size_in = self.B.shape[0], self.A.shape[1]
        if self.rank <= min(size_out, size_in):
            return self
        if size_out <= size_in:
            return Product(torch.eye(size_out), self.dense())
        return Product(self.dense(), torch.eye(size_in))


@dataclass(frozen=True)
class Module:
    """What an adapter holds for one module; `weight` reads the base's, (out, in)."""

    name: str
    parts: Parts
    config: dict[str, Any]
    weight: Callable[[], Tensor]
    begun: Parts | None = None

    def scaling(self, rank: int) -> float:
        """Return the factor of the product, after PEFT's alpha, patterns and rsLoRA."""
        alpha_key = "lora_alpha" if self.config["peft_type"] == "LORA" else "alpha"
        own: Any = _by_pattern(self.config.get("alpha_pattern"), self.name)
        alpha = float(own or self.config[alpha_key])
        return alpha / (math.sqrt(rank) if self.config.get("use_rslora") else rank)

    def base_weight(self, shape: tuple[int, ...]) -> Tensor:
        """Return the base's weight, if `shape` fits it. Raises ShapeMismatch."""
        weight = self.weight()
        if any(own not in (1, size) for own, size in zip(shape, weight.shape, strict=True)):
            raise ShapeMismatch(
                f"{self.name} is {tuple(weight.shape)} in the base, the adapter is for {shape}; "
                "it was trained on another base"
            )
        return weight


def update_of(module: Module) -> Product | Tensor:
    """Return how the adapter changes the module's weight. Raises UnsupportedAdapter."""
    try:
        return _KINDS[module.config["peft_type"]](module)
    except KeyError as error:
        raise UnsupportedAdapter(
            f"{module.name}: no part {error} among {', '.join(sorted(module.parts))}; "
            "save the adapter again with PEFT"
        ) from error


def _lora(module: Module) -> Product | Tensor:
    A, B = module.parts["lora_A"], module.parts["lora_B"]
    B = B * module.scaling(len(A))
    if module.begun is not None:
        return _less_the_begin(A, B, module.begun)
    if "lora_magnitude_vector" not in module.parts:
        return Product(B, A)
    base = module.base_weight((len(B), A.shape[1]))
    changed = torch.addmm(base, B, A)
    norms: Tensor = torch.linalg.norm(changed, dim=1)
    factors = module.parts["lora_magnitude_vector"] / norms
    return factors[:, None] * changed - base


def _less_the_begin(A: Tensor, B: Tensor, begun: Parts) -> Product:
    # B A - B0 A0 as (B - B0) A + B0 (A - A0): the same in twice the rank, but each term is as
    # small as what was learnt. In bf16, [B, -B0] [A; A0] loses it: two large products that cancel.
    A_begun, B_begun = begun["lora_A"], begun["lora_B"]
    return Product(torch.cat([B - B_begun, B_begun], 1), torch.cat([A, A - A_begun], 0))


def _adalora(module: Module) -> Product:
    # PEFT goes on scaling by the rank that every module began with.
    scaling = module.config["lora_alpha"] / (module.config["init_r"] + _ADALORA_EPSILON)
    E = module.parts["lora_E"]
    kept = E[:, 0] != 0
    A = (module.parts["lora_A"] * E)[kept]
    return Product(module.parts["lora_B"][:, kept] * scaling, A)


def _loha(module: Module) -> Product:
    w1_a, w1_b, w2_a, w2_b = (
        module.parts[f"hada_{part}"] for part in ("w1_a", "w1_b", "w2_a", "w2_b")
    )
    # (sum_i a_i b_i) o (sum_j c_j d_j) = sum_ij (a_i o c_j) (b_i o d_j)
    B = (w1_a[:, :, None] * w2_a[:, None, :]).flatten(1)
    A = (w1_b[:, None, :] * w2_b[None, :, :]).flatten(0, 1)
    return Product(B * module.scaling(len(w1_b)), A).shortest()


def _lokr(module: Module) -> Product:
    rank = _by_pattern(module.config.get("rank_pattern"), module.name) or module.config["r"]
    B1, A1 = _halves(module.parts, "lokr_w1")
    B2, A2 = _halves(module.parts, "lokr_w2")
    # kron(B1 A1, B2 A2) = kron(B1, B2) kron(A1, A2)
    B = torch.kron(B1, B2) * module.scaling(int(rank))
    return Product(B, torch.kron(A1, A2)).shortest()


def _halves(parts: Parts, name: str) -> tuple[Tensor, Tensor]:
    if name not in parts:
        return parts[f"{name}_a"], parts[f"{name}_b"]
    whole = parts[name]
    size_out, size_in = whole.shape
    if size_out <= size_in:
        return torch.eye(size_out), whole
    return whole, torch.eye(size_in)


def _ia3(module: Module) -> Tensor:
    # (out, 1) factors of outputs, or (1, in) factors of inputs.
    factors = module.parts["ia3_l"]
    return module.base_weight(tuple(factors.shape)) * (factors - 1)


def _by_pattern(patterns: dict[str, Any] | None, name: str) -> Any:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return None


_KINDS: Final[dict[str, Callable[[Module], Product | Tensor]]] = {
    "ADALORA": _adalora,
    "IA3": _ia3,
    "LOHA": _loha,
    "LOKR": _lokr,
    "LORA": _lora,
}
CONVERTIBLE: Final = tuple(_KINDS)
