"""What a recipe says about the method: one section a kind, chosen by `kind`. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from adapters.strict.section import Section, kind_or

# vLLM reserves slots for these ranks only; another rank is served padded to the next of them.
SERVED_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
_SERVE_RANK: Final = "the most that the LoRA which stands for it may have"
# Inits that take the base apart: what is trained is added to what is left of it.
RESIDUAL_INITS: Final = ("pissa", "olora", "corda")

Targets = Literal["all-linear"] | Annotated[tuple[str, ...], Field(strict=False)]
_TARGETS: Final = "names of linear modules; never embeddings or lm_head"


def _named(targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
    if not targets:
        raise ValueError("name at least one module, or 'all-linear'")
    refused = sorted({"lm_head", "embed_tokens"}.intersection(targets))
    if not isinstance(targets, str) and refused:
        raise ValueError(f"{', '.join(refused)} cannot be served as LoRA on every base")
    return targets


class _OnModules(Section):
    """A change to linear modules of the base."""

    targets: Targets = Field(default="all-linear", description=_TARGETS)

    @field_validator("targets")
    @classmethod
    def _servable(cls, targets: str | tuple[str, ...]) -> str | tuple[str, ...]:
        return _named(targets)


class LoraMethod(_OnModules):
    """Two small matrices beside each frozen module; with rsLoRA, DoRA, PiSSA and others."""

    kind: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1, le=SERVED_RANKS[-1])
    alpha: float = Field(default=32.0, gt=0, description="scale of the update is alpha / rank")
    dropout: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="costs a copy of every input; 0 is right for LoRA",
    )
    rslora: bool = Field(default=False, description="scale by alpha / sqrt(rank) instead")
    dora: bool = Field(default=False, description="train each column's magnitude apart")
    serve_rank: int | None = Field(
        default=None, ge=1, le=SERVED_RANKS[-1], description=f"dora: {_SERVE_RANK}"
    )
    init: Literal["kaiming", "gaussian", "orthogonal", "pissa", "olora", "corda"] = Field(
        default="kaiming",
        description="pissa, olora and corda start from the base's own main directions",
    )
    quantize: Literal["none", "nf4", "int8"] = Field(
        default="none", description="hold the frozen base in 4 or 8 bits (QLoRA)"
    )
    double_quantize: bool = Field(default=True, description="nf4: quantise the scales as well")

    @model_validator(mode="after")
    def _combines(self) -> LoraMethod:
        residual = self.init in RESIDUAL_INITS
        if residual and (self.dora or self.rslora):
            other = "dora" if self.dora else "rslora"
            raise ValueError(f"init: {self.init} cannot be combined with {other}: true; leave one")
        if residual and self.quantize != "none":
            raise ValueError(
                f"init: {self.init} changes the base, which quantize: {self.quantize} would round "
                "again; use init: kaiming"
            )
        if self.serve_rank is not None and not self.dora:
            raise ValueError("serve_rank is for dora: true; this is served at its own rank")
        if residual and 2 * self.rank > SERVED_RANKS[-1]:
            raise ValueError(
                f"init: {self.init} is served at twice its rank, at most {SERVED_RANKS[-1]}; "
                f"use a rank of at most {SERVED_RANKS[-1] // 2}"
            )
        return self


class AdaLoraMethod(_OnModules):
    """LoRA whose ranks move to the modules that need them; `rank` is the mean at the end."""

    kind: Literal["adalora"]
    rank: int = Field(default=8, ge=1, le=256)
    start_rank: int = Field(default=12, ge=1, le=SERVED_RANKS[-1], description="of every module")
    alpha: float = Field(default=32.0, gt=0, description="scale of the update is alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1)
    orthogonal: float = Field(default=0.5, ge=0, description="weight of keeping factors orthogonal")

    @model_validator(mode="after")
    def _shrinks(self) -> AdaLoraMethod:
        if self.start_rank < self.rank:
            raise ValueError(f"start_rank {self.start_rank} is below rank {self.rank}")
        return self


class LohaMethod(_OnModules):
    """The Hadamard product of two low-rank updates; its own rank is up to rank squared."""

    kind: Literal["loha"]
    rank: int = Field(default=4, ge=1, le=22, description="served as LoRA of its square")
    alpha: float = Field(default=8.0, gt=0, description="scale of the update is alpha / rank")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of whole ranks")


class LokrMethod(_OnModules):
    """The Kronecker product of a small and a low-rank matrix."""

    kind: Literal["lokr"]
    rank: int = Field(default=16, ge=1, le=SERVED_RANKS[-1])
    alpha: float = Field(default=32.0, gt=0, description="scale of the update is alpha / rank")
    factor: int = Field(default=8, ge=2, le=1024, description="rows of the small matrix")
    dropout: float = Field(default=0.0, ge=0, lt=1, description="of whole ranks")
    serve_rank: int | None = Field(default=None, ge=1, le=SERVED_RANKS[-1], description=_SERVE_RANK)


class Ia3Method(Section):
    """One learnt factor for each output of keys and values and each input of the last MLP layer."""

    kind: Literal["ia3"]
    serve_rank: int | None = Field(default=None, ge=1, le=SERVED_RANKS[-1], description=_SERVE_RANK)


class PrefixMethod(Section):
    """Keys and values of virtual tokens before every layer's own."""

    kind: Literal["prefix"]
    tokens: int = Field(default=16, ge=1, le=512)


class PromptMethod(Section):
    """Embeddings of virtual tokens before the prompt."""

    kind: Literal["prompt"]
    tokens: int = Field(default=16, ge=1, le=512)
    init_text: str | None = Field(default=None, description="its words are the first embeddings")


class BottleneckMethod(Section):
    """Houlsby's adapters: two small layers after attention and after the MLP of each block."""

    kind: Literal["bottleneck"]
    size: int = Field(default=64, ge=1, le=4096)
    activation: Literal["relu", "gelu"] = "gelu"
    dropout: float = Field(default=0.0, ge=0, lt=1)


class FullMethod(Section):
    """Every weight is trained; the embeddings (and a head tied to them) only if asked to."""

    kind: Literal["full"]
    embeddings: bool = False


Method = Annotated[
    LoraMethod
    | AdaLoraMethod
    | LohaMethod
    | LokrMethod
    | Ia3Method
    | PrefixMethod
    | PromptMethod
    | BottleneckMethod
    | FullMethod,
    Field(discriminator="kind"),
    kind_or("lora"),
]
