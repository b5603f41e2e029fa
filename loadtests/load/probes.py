"""Whether each adapter answers under load what it answers when it is asked alone.

No server says which weights it used; its answers do. A few texts are asked beforehand, alone and
then in batches, which tells how far rounding moves an answer. Under load a share of the requests
asks them again.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from adapters.errors import LoadTestFailed
from loadtests.churn_answers import Answer, drift, mistaken, tolerance_of
from loadtests.load import client
from loadtests.load.client import Asking
from loadtests.load.plan import Planned
from loadtests.load.served import Ending, Served
from loadtests.load.texts import text_of

_CHARS: Final = 120
_TOGETHER: Final = 16
_REPEATS: Final = 2
# Batches of another size may round otherwise than those that were tried.
_LEAST_TOLERANCE: Final = 0.1

Key = tuple[str, str]  # model and digest; the digest is empty where a server tells none


@dataclass(frozen=True)
class References:
    """What each version of each adapter answers, and how far an answer may stray from it."""

    texts: Mapping[tuple[str, int], str]  # by model and number of the probe
    answers: Mapping[tuple[Key, int], Answer]
    tolerance: float

    def told_apart(self) -> float:
        """Return the share of pairs of versions, by probe, that are not taken for each other."""
        named = {(f"{model} {digest}", n): a for ((model, digest), n), a in self.answers.items()}
        keys = {key for key, _ in self.answers}
        pairs = len(keys) * (len(keys) - 1) * len({n for _, n in self.answers})
        return 1 - len(mistaken(named, self.tolerance)) / pairs if pairs else 1.0


@dataclass
class Judgement:
    """What the probes of a run found."""

    probes: int = 0
    wrong: int = 0
    unknown: int = 0  # of versions that nobody had asked before
    worst_drift: float = 0.0
    samples: list[str] = field(default_factory=list)


def answer_of(places: Sequence[Mapping[str, Any]]) -> Answer:
    """Return a probe's answer from the `logprobs.content` of its events."""
    return Answer(
        tuple(place["token"] for place in places),
        tuple({c["token"]: c["logprob"] for c in place["top_logprobs"]} for place in places),
    )


def texts(models: Sequence[str], prompts: int) -> dict[tuple[str, int], str]:
    """Return the probes' texts: the same for every adapter, so that answers can be compared."""
    chance = random.Random(0)
    written = [text_of(900_000_000 + n, _CHARS, chance) for n in range(prompts)]
    return {(model, n): text for model in models for n, text in enumerate(written)}


async def settle(url: str, versions: Mapping[str, str], prompts: int, asking: Asking) -> References:
    """Ask every version alone, then all in batches; return what they said.

    versions: the name to ask for each, and the model that it is a version of.
    Raises LoadTestFailed if one does not answer.
    """
    asked = texts([*versions], prompts)
    asking = Asking(asking.exactly, asked, asking.headers, asking.fields)
    keys = [*itertools.product(versions, range(prompts))]
    async with client.session(url, asking.headers) as session:

        async def ask(name: str, number: int) -> Served:
            served = Served(_probe(name, number))
            await client.follow(session, asking, served, client.clock())
            if served.ending is not Ending.OK or not served.places:
                raise LoadTestFailed(
                    f"{name}: no answer to hold others against: {served.ending} {served.status} "
                    f"{served.detail}; see that it answers, name others with --model, or set "
                    "checks.share=0"
                )
            return served

        alone = {(name, number): await ask(name, number) for name, number in keys}
        together: list[tuple[tuple[str, int], Served]] = []
        for some in _chunks(keys * _REPEATS, _TOGETHER):
            together += zip(some, await asyncio.gather(*(ask(*key) for key in some)), strict=True)
    pairs = [(answer_of(s.places), answer_of(alone[key].places)) for key, s in together]
    return References(
        texts={(versions[name], number): text for (name, number), text in asked.items()},
        answers={
            ((versions[name], s.digest), number): answer_of(s.places)
            for (name, number), s in alone.items()
        },
        tolerance=max(_LEAST_TOLERANCE, tolerance_of(pairs)),
    )


def judge(served: Iterable[Served], references: References) -> Judgement:
    """Return what the probes among `served` found: whole answers only."""
    found = Judgement()
    for one in served:
        number = one.planned.probe
        if number is None or one.ending is not Ending.OK:
            continue
        found.probes += 1
        reference = references.answers.get(((one.planned.model, one.digest), number))
        if reference is None:
            _judge_unknown(found, one, references)
            continue
        strayed = drift(answer_of(one.places), reference)
        if strayed > references.tolerance:
            _wrong(found, one, f"is {strayed:.2f} from its own answer")
        else:
            found.worst_drift = max(found.worst_drift, strayed)
    return found


def _judge_unknown(found: Judgement, one: Served, references: References) -> None:
    owners = {model for (model, digest), _ in references.answers if digest == one.digest}
    if owners:
        _wrong(found, one, f"came from {', '.join(sorted(owners))}")
    else:
        found.unknown += 1


def _wrong(found: Judgement, one: Served, what: str) -> None:
    found.wrong += 1
    if len(found.samples) < 10:
        said = "".join(place["token"] for place in one.places)
        found.samples.append(f"{one.planned.model} at {one.planned.at_s:.1f} s: {said!r} {what}")


def _probe(name: str, number: int) -> Planned:
    return Planned(
        0, 0.0, name, "segment", "", client.PROBE_TOKENS, "warm", counted=False, probe=number
    )


def _chunks(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[i : i + size] for i in range(0, len(items), size))
