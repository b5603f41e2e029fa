"""What a conversion to a plain LoRA cost: told to a person, and held to a limit. No torch."""

from __future__ import annotations

from adapters.errors import ConversionTooLossy
from adapters.manifest import Check, Conversion, Gate


def check_conversion(conversion: Conversion, limit: float, *, trained: str) -> None:
    """Raise ConversionTooLossy if the LoRA misses more than `limit` of what is in `trained`."""
    if (fault := _fault(conversion, limit)) is not None:
        raise ConversionTooLossy(
            f"{trained}: {fault}; convert it with a higher rank (`dragoman adapters convert "
            "--rank`, or method.serve_rank before training), merge it into a model of its own "
            "(`dragoman adapters merge`), or train a plain LoRA"
        )


def judged(gate: Gate, conversion: Conversion | None, limit: float) -> Gate:
    """Return `gate`, not passed where the conversion misses more than `limit`."""
    fault = None if conversion is None else _fault(conversion, limit)
    if fault is None:
        return gate
    failed = Check(name="conversion", passed=False, detail=fault)
    reasons = (*(() if gate.passed else gate.reasons), fault)
    return gate.model_copy(
        update={"passed": False, "reasons": reasons, "checks": (*gate.checks, failed)}
    )


def _fault(conversion: Conversion, limit: float) -> str | None:
    error = max(conversion.error, conversion.error_saved)
    if error <= limit:
        return None
    return (
        f"as a LoRA of rank {conversion.rank} it is off by {error:.0%} of its change, "
        f"at most {limit:.0%} is allowed (gate.max_conversion_error)"
    )


def told(conversion: Conversion) -> str:
    """Return the conversion in one line."""
    line = f"{conversion.way}, rank {conversion.rank}, weights off by {conversion.error_saved:.2%}"
    if conversion.logit_error is None or conversion.base_logit_error is None:
        return line
    return (
        f"{line}, answers by {conversion.logit_error:.2g} nats a token "
        f"(the base alone: {conversion.base_logit_error:.2g})"
    )
