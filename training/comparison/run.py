"""One comparison: systems in their order, each done once, and all scored on the same text."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from adapters.console import clock, note
from adapters.errors import DragomanError
from adapters.locations import bases_root, default_registry
from adapters.registry import FileRegistry
from training import prepare
from training.base_models import resolve_base
from training.comparison.answered import Answered, Contender
from training.comparison.base_in_memory import BaseInMemory
from training.comparison.contenders import contenders_of
from training.comparison.folder import open_comparison, read_json, write_json
from training.comparison.ground import Ground, check_same_test, prepared
from training.comparison.made import make
from training.comparison.plan import Plan, digest
from training.comparison.spec import SystemSpec
from training.comparison.trained import TrainedContender
from training.evaluate.scoreboard import Scoreboard, score_systems
from training.fit_phase import release_memory
from training.recipe import Recipe

# What of a recipe decides the held-out text.
_OF_DATA: Final = {"data", "clean", "split", "pairs", "task"}


@dataclass(frozen=True)
class Row:
    """One system: its answers, or why there are none; `seconds` are of the session that did it."""

    spec: SystemSpec
    answered: Answered | None
    error: str | None
    seconds: float


@dataclass(frozen=True)
class Compared:
    """All rows in order, and the figures of those that have answers."""

    plan: Plan
    ground: Ground
    made: Sequence[Mapping[str, Any]]
    rows: Sequence[Row]
    board: Scoreboard | None


def compare(plan: Plan) -> Compared:
    """Do what of the comparison is not done yet, and score all of it.

    A system that fails is a row without figures, and the others go on. Raises RecipeInvalid,
    DataInvalid, SynthesisFailed and TrainingFailed for what concerns all of them.
    """
    recipe = plan.recipe
    base = resolve_base(recipe.base, root=bases_root(), say=note)
    registry = FileRegistry(plan.options.registry or default_registry())
    with open_comparison(plan.out, plan.identity, fresh=plan.options.fresh) as folder:
        note(f"comparing {len(plan.comparison.systems)} systems in {folder.root}")
        ground = Ground(recipe, base, folder, registry, prepared(recipe, folder))
        memory = BaseInMemory(recipe, base)
        contenders = contenders_of(plan, ground, memory)
        _check_tests(ground, contenders)
        made = [make(one, ground, plan.folder) for one in plan.comparison.synthesize]
        rows = _rows(plan, ground, contenders, memory)
        return Compared(plan, ground, made, rows, _scored(plan, ground, rows))


def _rows(
    plan: Plan, ground: Ground, contenders: Mapping[str, Contender], memory: BaseInMemory
) -> list[Row]:
    rows = []
    systems = plan.comparison.systems
    for number, system in enumerate(systems, start=1):
        if system.kind != "base":
            memory.release()  # a training wants the memory, and so does another model
        where = f"[{number}/{len(systems)}] {system.name}"
        rows.append(_row(system, ground, contenders[system.name], where))
        release_memory()
    return rows


def _row(system: SystemSpec, ground: Ground, contender: Contender, where: str) -> Row:
    began = time.monotonic()
    file = ground.folder.system(system.name)
    shared = {"base": ground.reference.fingerprint, "test": ground.test.digest}
    try:
        identity = digest({"kind": system.kind, **shared, **contender.identity()})
        body = read_json(file) or {}
        if body.get("identity") == identity and not body["answered"]["unanswered"]:
            note(f"{where}: done before")
            return Row(system, Answered.from_json(body["answered"]), None, body["seconds"])
        note(f"{where}: {_doing(system)}")
        answered = contender.answer()
    except DragomanError as error:
        told = str(error) if str(error).startswith("error[") else f"error[{error.code}]: {error}"
        note(f"{where}: {told}")
        return Row(system, None, told, time.monotonic() - began)
    seconds = time.monotonic() - began
    kept = {"identity": identity, "seconds": round(seconds, 1), "answered": answered.to_json()}
    write_json(file, kept)
    note(f"{where}: done in {clock(seconds)}")
    return Row(system, answered, None, seconds)


def _doing(system: SystemSpec) -> str:
    return "training, then translating" if system.kind == "training" else "translating"


def _check_tests(ground: Ground, contenders: Mapping[str, Contender]) -> None:
    """Raise DataInvalid if a training would hold out other text than the comparison."""
    own = _data_of(ground.recipe)
    for name, contender in contenders.items():
        if not isinstance(contender, TrainedContender) or contender.plan.holds_out_ours:
            continue
        recipe = contender.plan.recipe()
        if _data_of(recipe) != own:
            note(f"{name}: reading its text, to see that it holds out the same")
            check_same_test(ground, name, recipe, prepare.prepare(recipe))


def _data_of(recipe: Recipe) -> dict[str, Any]:
    body = recipe.model_dump(mode="json", include=_OF_DATA)
    return {**body, "folder": str(recipe.folder), "objective": recipe.objective.kind}


def _scored(plan: Plan, ground: Ground, rows: Sequence[Row]) -> Scoreboard | None:
    systems = [row.answered.system(row.spec.name) for row in rows if row.answered]
    if not systems:
        return None
    baseline = plan.comparison.baseline
    if baseline not in {system.name for system in systems}:
        baseline = None
    return score_systems(ground.test, systems, baseline=baseline, task=ground.recipe.task)
