"""Training text that a teacher makes for a comparison, once, and never of what is held out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from adapters.console import note
from adapters.errors import DataInvalid
from training.clean.rules import Cleaner
from training.comparison.engines import engine_of
from training.comparison.folder import read_json, write_json
from training.comparison.ground import Ground
from training.comparison.spec import Synthesis
from training.corpus.source import digest_of
from training.synthesis.direction import Direction
from training.synthesis.judge import Judge
from training.synthesis.run import Outcome, Plan, synthesize
from training.synthesis.texts import originals_of

_MIN_LOGPROB = -3.0  # as `dragoman data synthesize` has it


def make(spec: Synthesis, ground: Ground, folder: Path) -> dict[str, Any]:
    """Write the pairs that `spec` asks for; return what was made, also where it was made before.

    Relative paths start in `folder`. Raises SynthesisFailed, DataInvalid.
    """
    engine = engine_of(spec.endpoint, ground.recipe.pair)
    files = [folder / name for name in spec.text]
    out = ground.folder.synthesized(spec.name)
    _check_there(files, spec.name)
    identity = {
        "engine": dict(engine.identity),
        "text": digest_of(files),
        "limit": spec.limit,
        "held_out": ground.test.digest,
    }
    body = read_json(out.with_suffix(".json")) or {}
    if body.get("identity") == identity and out.is_file():
        note(f"{spec.name}: made before, {body['made']['kept']} pairs")
        return dict(body["made"])
    note(f"{spec.name}: making training text by {engine.identity['engine']}")
    direction = Direction(ground.recipe.pair)
    originals = originals_of(ground.data, direction, files)[: spec.limit]
    judge = Judge(Cleaner(ground.recipe.clean).broken, _MIN_LOGPROB)
    outcome = synthesize(Plan(originals, direction, out), engine, judge, say=note)
    made = {"name": spec.name, "engine": dict(engine.identity), **_told(outcome)}
    note(f"{spec.name}: {made['kept']} pairs of {made['texts']} texts")
    write_json(out.with_suffix(".json"), {"identity": identity, "made": made})
    return made


def _told(outcome: Outcome) -> dict[str, Any]:
    body = outcome.to_json()
    costs = (body["cost"], body["cost_before"])
    return {
        "texts": body["texts"],
        "kept": body["clean"]["kept"],
        "dropped": body["clean"]["dropped"],
        "seconds": body["cost"]["seconds"],
        "prompt_tokens": sum(cost["prompt_tokens"] for cost in costs),
        "completion_tokens": sum(cost["completion_tokens"] for cost in costs),
    }


def _check_there(files: list[Path], name: str) -> None:
    if missing := [file for file in files if not file.is_file()]:
        raise DataInvalid(
            f"{name}: {', '.join(map(str, missing))}: no such file; `text` names files of the "
            "source language (.txt, .jsonl), and their paths start at --data"
        )
