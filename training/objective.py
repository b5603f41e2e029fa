"""What a recipe says about the objective: a section a kind, chosen by `kind`. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adapters.strict.section import Section, kind_or
from training.methods.config import RESIDUAL_INITS, FullMethod, LoraMethod, Method


class Sft(Section):
    """Learn to answer: the target after its prompt, and nothing of the prompt."""

    kind: Literal["sft"] = "sft"
    kl_to_base: float = Field(
        default=0.0,
        ge=0,
        le=100,
        description="weight of KL(base || adapted) at target tokens, against forgetting",
    )


class Monolingual(Section):
    """Learn a language or a field from plain text: every token after those before it."""

    kind: Literal["monolingual"] = "monolingual"


class CandidateRule(Section):
    """How rejected translations are made where the text has references only.

    The base (or the adapter that training starts from) translates a segment several times; the
    one that is least like the reference by sentence chrF++ is the rejected one.
    """

    per_segment: int = Field(default=4, ge=1, le=64, description="translations that are sampled")
    temperature: float = Field(default=1.0, gt=0, le=2)
    segments: int | None = Field(
        default=None, ge=1, description="train on the first so many segments only"
    )
    chosen: Literal["reference", "best"] = Field(
        default="reference", description="what is preferred: the reference, or the best candidate"
    )
    min_margin: float = Field(
        default=5.0, ge=0, le=100, description="chrF++ points between chosen and rejected"
    )


class _OfPreferences(Section):
    """An objective on pairs of a chosen and a rejected translation."""

    beta: float = Field(default=0.1, gt=0, description="scale of the log-probabilities compared")
    start: str | None = Field(
        default=None, description="folder or id of the adapter to go on from, such as one of sft"
    )
    candidates: CandidateRule | None = Field(
        default=None, description="make rejected translations where the text has none"
    )


class Dpo(_OfPreferences):
    """DPO (arXiv 2305.18290): prefer the chosen more than where training started did."""

    kind: Literal["dpo"]
    nll_weight: float = Field(
        default=0.0, ge=0, description="weight of the chosen's mean token loss beside it"
    )


class Cpo(_OfPreferences):
    """CPO (arXiv 2401.08417): prefer the chosen, with no reference model, and learn it."""

    kind: Literal["cpo"]
    nll_weight: float = Field(
        default=1.0, ge=0, description="weight of the chosen's mean token loss beside it"
    )


Objective = Annotated[Sft | Monolingual | Dpo | Cpo, Field(discriminator="kind"), kind_or("sft")]
PreferenceObjective = Dpo | Cpo


def check_method(objective: Objective, method: Method) -> None:
    """Raise ValueError if the objective asks for the base or a start that `method` cannot give."""
    residual = isinstance(method, LoraMethod) and method.init in RESIDUAL_INITS
    if isinstance(objective, Sft) and objective.kl_to_base:
        if isinstance(method, FullMethod):
            raise ValueError("kl_to_base compares with the base, which method.kind: full changes")
        if residual:
            raise ValueError(
                "kl_to_base compares with the base, which this method.init takes apart; "
                "use init: kaiming"
            )
    starts = isinstance(objective, PreferenceObjective) and objective.start is not None
    if starts and (residual or not isinstance(method, LoraMethod)):
        raise ValueError("start is of a plain LoRA; use method.kind: lora with init: kaiming")
