"""The learning rate of each kind of method, where a recipe names none. Imports no torch."""

from __future__ import annotations

from typing import Final

from training.methods.config import (
    AdaLoraMethod,
    BottleneckMethod,
    FullMethod,
    Ia3Method,
    LohaMethod,
    LokrMethod,
    LoraMethod,
    Method,
    PrefixMethod,
    PromptMethod,
)

# A rate is a step of Adam in the units of what is trained, so it follows from what that is.
_RATES: Final[dict[type, float]] = {
    LoraMethod: 5e-4,
    # A third factor of singular values begins at zero and its gradient is small at first.
    AdaLoraMethod: 2e-3,
    # Products of four small factors, or of a small one with a low-rank one: slower than LoRA's two.
    LohaMethod: 1e-3,
    LokrMethod: 1e-3,
    # Factors begin at 1 and are few: they must move by tenths to say anything.
    Ia3Method: 1e-2,
    # Keys, values and embeddings of some tokens have entries of about 1, not of a weight's size.
    # Of a prefix on Gemma 3 270M, 20 steps end at 5.8 with 1e-2 and at 3.9 with 5e-2.
    PrefixMethod: 5e-2,
    PromptMethod: 3e-2,
    # What the layers read is not normalised, and large on Gemma: at 1e-3 the first steps double
    # the loss there (20 steps of 4 short rows: 6.8 at the end, 3.8 with 2e-4, base alone 5.6).
    BottleneckMethod: 2e-4,
    # The weights hold what the base knows: a large step forgets it.
    FullMethod: 5e-5,
}


def learning_rate_of(method: Method) -> float:
    """Return the learning rate that suits `method`."""
    return _RATES[type(method)]
