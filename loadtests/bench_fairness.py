"""Fairness: more active adapters than slots, and one tenant that asks a hundred times as often."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from loadtests.arrivals import Mix, run_mix
from loadtests.closed_loop import LoopResult, Window, run_loop
from loadtests.contender import BATCH, TIERS

OVER: Final = 4
_TOKENS: Final = 32
# Short answers: many requests, or a tenant of one in a hundred would ask three times.
_MIX_TOKENS: Final = 8
_OVERLOAD: Final = 3.0


@dataclass(frozen=True)
class FairnessPlan:
    """How long to load and to measure each loop, and how long a mix of arrivals lasts."""

    window: Window
    mix_s: float


def measure_fairness(url: str, names: Sequence[str], plan: FairnessPlan) -> dict[str, Any]:
    """Return the figures of one server that has `contender.TIERS`.

    `over_slots` compares 4x as many active adapters as slots with as many as slots at equal load:
    with streams enough to fill the batch from the adapters in slots alone (4 x 32), and with as
    many streams as the batch takes (32), where slots leave part of the batch empty.
    Raises httpx.HTTPError, StreamBroken.
    """
    many = list(names[: TIERS.slots * OVER])
    return {
        "over_slots": {
            str(streams): _over_slots(url, many, streams, plan.window)
            for streams in (BATCH * OVER, BATCH)
        },
        "mix_100_to_1": _mixes(url, names, plan),
    }


def _over_slots(url: str, many: Sequence[str], streams: int, window: Window) -> dict[str, Any]:
    few = many[: len(many) // OVER]
    fits = run_loop(url, _turns(few, streams), window, tokens=_TOKENS)
    over = run_loop(url, _turns(many, streams), window, tokens=_TOKENS)
    return compare(fits, over)


def compare(fits: LoopResult, over: LoopResult) -> dict[str, Any]:
    """Return both loops' figures, the ratio of throughput, and p99 of first tokens to its limit.

    The limit is what the project promises: 3x the p99 that fits, or 2 s and one drain.
    """
    few, many = fits.figures(), over.figures()
    limit_ms = max(3 * few["ttft_p99_ms"], 2000 + many["drain_ms"])
    if not few["tok_s"]:
        raise ValueError("no request ended within the window; measure longer")
    return {
        "fits": few,
        "over": many,
        "tok_s_ratio": round(many["tok_s"] / few["tok_s"], 2),
        "ttft_p99_limit_ms": round(limit_ms, 1),
        "ttft_p99_within_limit": many["ttft_p99_ms"] <= limit_ms,
    }


def _mixes(url: str, names: Sequence[str], plan: FairnessPlan) -> dict[str, Any]:
    slots = TIERS.slots
    mixes = {
        "two_adapters": Mix(heavy=(names[0],), light=(names[1],)),
        "all_slots_heavy": Mix(
            heavy=tuple(names[:slots]), light=tuple(names[slots : slots + slots // 2])
        ),
    }
    capacity = run_loop(url, _turns(names[:slots], BATCH), plan.window, tokens=_MIX_TOKENS)
    per_s = _OVERLOAD * capacity.tok_s / _MIX_TOKENS
    return {
        name: run_mix(url, mix, per_s, plan.mix_s, tokens=_MIX_TOKENS)
        for name, mix in mixes.items()
    }


def _turns(names: Sequence[str], streams: int) -> list[str]:
    return list(itertools.islice(itertools.cycle(names), streams))
