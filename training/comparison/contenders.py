"""The systems of a comparison, made ready; what is wrong with any is told before the first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from adapters.errors import DragomanError, RecipeInvalid
from adapters.ids import AdapterRef
from training.comparison.answered import Contender
from training.comparison.base_in_memory import BaseInMemory
from training.comparison.based import BaseContender
from training.comparison.engined import EngineContender
from training.comparison.engines import engine_of, told
from training.comparison.ground import Ground
from training.comparison.modelled import FolderContender, PublishedContender
from training.comparison.plan import Plan
from training.comparison.spec import BaseSystem, Kind, SystemSpec
from training.comparison.trained import TrainedContender

Make = Callable[[SystemSpec, Plan, Ground, BaseInMemory], Contender]


def contenders_of(plan: Plan, ground: Ground, memory: BaseInMemory) -> dict[str, Contender]:
    """Return each system by its name. Raises RecipeInvalid with all that cannot be made."""
    made, faults = dict[str, Contender](), list[str]()
    for system in plan.comparison.systems:
        try:
            made[system.name] = _MAKERS[system.kind](system, plan, ground, memory)
        except DragomanError as error:
            faults.append(f"{system.name}: {error}")
    if faults:
        raise RecipeInvalid("\n".join(faults))
    return made


def _base(system: SystemSpec, _: Plan, ground: Ground, memory: BaseInMemory) -> Contender:
    return BaseContender(ground, system.base or BaseSystem(), memory.asker_for)


def _published(system: SystemSpec, _: Plan, ground: Ground, __: BaseInMemory) -> Contender:
    found = PublishedContender(ground, AdapterRef.parse(str(system.adapter)))
    found.identity()
    return found


def _folder(system: SystemSpec, plan: Plan, ground: Ground, _: BaseInMemory) -> Contender:
    found = FolderContender(ground, plan.found(str(system.model)))
    found.identity()
    return found


def _engine(system: SystemSpec, _: Plan, ground: Ground, __: BaseInMemory) -> Contender:
    engine = engine_of(system.endpoint, ground.test.pair)
    return EngineContender(ground, system.name, engine, told(system.endpoint))


def _training(system: SystemSpec, plan: Plan, ground: Ground, _: BaseInMemory) -> Contender:
    training = plan.training(system, ground.folder)
    training.recipe()
    return TrainedContender(ground, training, plan.options.registry)


_MAKERS: Final[Mapping[Kind, Make]] = {
    "base": _base,
    "adapter": _published,
    "model": _folder,
    "endpoint": _engine,
    "engine": _engine,
    "training": _training,
}
