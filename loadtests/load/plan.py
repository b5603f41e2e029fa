"""A scenario, decided: every request with its time, adapter and text, before the first is sent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from adapters.errors import ScenarioInvalid
from loadtests.load.scenario import Scenario
from loadtests.load.texts import Kind

# Of the adapter when it is asked: never before; not among as many as the engine has slots for; or
# just now. Told from the order of requests, so the same on every server.
Warmth = Literal["cold", "returning", "warm"]


@dataclass(frozen=True)
class Planned:
    """One request; times are seconds since the start of the load, warm-up included."""

    number: int
    at_s: float
    model: str
    kind: Kind
    text: str
    tokens: int
    warmth: Warmth
    counted: bool  # not of the warm-up
    probe: int | None = None  # its text is this probe's, whose answer is known
    hangup_after: int | None = None


def plan(scenario: Scenario, models: Sequence[str]) -> list[Planned]:
    """Return the requests in the order of their times; the same for the same seed.

    Raises ScenarioInvalid if there are too few adapters for the scenario.
    """
    cold = scenario.popularity.cold
    if len(models) <= cold:
        raise ScenarioInvalid(
            f"{scenario.name}: {cold} cold adapters need at least {cold + 1}, found "
            f"{len(models)}; lower popularity.cold, or name more with --model"
        )
    chance = random.Random(scenario.seed)
    times = scenario.arrivals.times(scenario.warm_s + scenario.seconds, chance)
    if not times or times[-1] < scenario.warm_s:
        raise ScenarioInvalid(f"{scenario.name}: no request in {scenario.seconds:g} s; raise per_s")
    names = scenario.popularity.chosen(times, models, chance)
    last_asked = list(models[: len(models) - cold])
    found = []
    for number, (at_s, model) in enumerate(zip(times, names, strict=True)):
        kind, text = scenario.texts.drawn(number, chance)
        warmth = _asked(model, last_asked, scenario.server.slots)
        found.append(
            Planned(
                number, at_s, model, kind, text,
                tokens=scenario.texts.answer_tokens(text),
                warmth=warmth,
                counted=at_s >= scenario.warm_s,
                **_special(scenario, chance, warmth),
            )
        )  # fmt: skip
    return found


def _asked(model: str, last_asked: list[str], slots: int) -> Warmth:
    """Return how warm `model` is, and move it to the end of those that were asked last."""
    if model not in last_asked:
        last_asked.append(model)
        return "cold"
    distance = len(last_asked) - last_asked.index(model)
    last_asked.remove(model)
    last_asked.append(model)
    return "warm" if distance <= slots else "returning"


def _special(scenario: Scenario, chance: random.Random, warmth: Warmth) -> dict[str, int]:
    """Return what a request is besides: a probe, or one whose client leaves."""
    checks, hangups = scenario.checks, scenario.hangups
    # What a cold adapter answers is asked beforehand only by making it warm.
    if chance.random() < checks.share and warmth != "cold":
        return {"probe": chance.randrange(checks.prompts)}
    if hangups and chance.random() < hangups.share:
        return {"hangup_after": hangups.after_tokens}
    return {}
