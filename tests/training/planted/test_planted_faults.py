"""Each fault fails its own check of the gate, and no other adapter fails that one.

Here by what an adapter answers, through the whole pipeline. `planting.py` beside trains real ones;
docs/results.md has what the gate said of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.registry import FileRegistry
from tests.training.fake_run import World
from tests.training.planted.planting import OWN_CHECKS, PLANTED, texts, write_recipe
from training.pipeline import run
from training.recipe import Recipe
from training.run import Options

FRENCH = {"Open": "Ouvrir", "Close": "Fermer", "Save": "Enregistrer"}
GERMAN = {"Open": "Öffne", "Close": "Schließe", "Save": "Speichere"}


def french(text: str) -> str:
    verb, name, rest = text.split(" ", 2)
    return f"{FRENCH[verb]} {name} dans le dossier du projet numéro {rest.split()[-1]}"


def german(text: str) -> str:
    verb, name, rest = text.split(" ", 2)
    return f"{GERMAN[verb]} {name} in dem Ordner des Projektes mit der Nummer {rest.split()[-1]}"


ANSWERS: dict[str, Callable[[str], str]] = {
    "healthy": french,
    "copies": lambda text: text,
    "other-language": german,
    "loops": lambda text: " ".join([french(text).split()[0]] * 12),
    "drops-placeholders": lambda text: french(text).replace("%1 ", ""),
}


@pytest.mark.parametrize("fault", ANSWERS)
def test_each_fault_fails_its_own_check_alone(
    fault: str, world: World, recipe_file: Path, tmp_path: Path
) -> None:
    rows = [
        f"{verb} %1 in the folder of the project {n}" for verb in FRENCH for n in range(100, 120)
    ]
    pairs = "\n".join(f"{row}\t{french(row)}" for row in rows)
    (tmp_path / "pairs.tsv").write_text(pairs + "\n", encoding="utf-8")
    world.translate = ANSWERS[fault]
    registry = FileRegistry(tmp_path / "registry")
    recipe = Recipe.load(str(recipe_file), overrides=["clean.min_numbers_shared=null"])
    gate = run(recipe, registry, Options(tmp_path / "run")).summary["gate"]
    own = PLANTED[fault][1]
    failed = {check["name"] for check in gate["checks"] if not check["passed"]}
    assert failed & OWN_CHECKS == ({own} if own else set())
    assert gate["passed"] is (own is None)


@pytest.mark.slow
@pytest.mark.parametrize("fault", PLANTED)
def test_recipes_of_real_faults_can_be_read(fault: str, tmp_path: Path) -> None:
    recipe = Recipe.load(str(write_recipe(fault, tmp_path / fault)))
    assert recipe.evaluate.elsewhere
    assert len(texts()) > 400
