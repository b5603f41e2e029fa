from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from adapters.base_model import BaseModelRef
from adapters.manifest import DataSource, Golden
from tests import fakes
from training.build.report import DataReport
from training.candidate import Candidate
from training.evaluate.scoreboard import TestSet
from training.evaluate.scores import Outputs, score
from training.fit.result import FitResult
from training.gate import Findings, judge
from training.measure import Measured, Row
from training.recipe import Recipe

if TYPE_CHECKING:
    from tests.training.fake_run import World

RECIPE = """\
id: ui-en-fr
licence: CC0-1.0
base: BASE
data:
  - tsv: pairs.tsv
    licence: CC0-1.0
split: {dev: 6, test: 12, near: null} # commands that differ in a number
evaluate: {segments: 12, shots: 3, samples: 4, probes: false}
"""
VERBS = {"Open": "Ouvrir", "Close": "Fermer", "Save": "Enregistrer", "Move": "Déplacer"}


def fit_result(folder: Path) -> FitResult:
    return FitResult(
        adapter_folder=folder,
        seconds=12.0,
        steps=20,
        tokens=4000,
        tok_s=333.0,
        losses=((5, 2.0), (10, 1.5), (20, 1.0)),
        dev_losses=((10, 1.6), (20, 1.2)),
        trainable_parameters=1234,
        target_modules=("q_proj", "up_proj"),
        peak_rss_gb=1.0,
        versions={"torch": "2"},
    )


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Matrices of a tiny model are small: two threads would only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    """A recipe with its data: sixty commands of an interface, and one duplicate."""
    rows = [
        f"{english} the file number {n}\t{french} le fichier numéro {n}"
        for english, french in VERBS.items()
        for n in range(15)
    ]
    (tmp_path / "pairs.tsv").write_text("\n".join([*rows, rows[0]]) + "\n", encoding="utf-8")
    base = fakes.write_base(tmp_path / "tiny")
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("BASE", str(base)), encoding="utf-8")
    return path


@pytest.fixture
def make_candidate(tmp_path: Path, recipe_file: Path) -> Callable[..., Candidate]:
    """Return a measured candidate; `good` says whether it beats its base."""

    def make(*, good: bool = True, seed: int = 0) -> Candidate:
        recipe = Recipe.load(str(recipe_file))
        references = [f"Ouvrir le fichier <{n}>" for n in range(12)]
        sources = [f"Open file <{n}>" for n in range(12)]
        better, worse = references, [text.replace("fichier", "file") for text in references]
        candidate, base = (better, worse) if good else (worse, better)
        outputs = Outputs(sources=sources, references=references, candidate=candidate, base=base)
        test = TestSet("ui-en-fr test", recipe.pair, sources, references)
        evaluation = score(outputs, test)
        measured = Measured(
            pair=recipe.pair,
            evaluation=evaluation,
            base_asked="3 examples in turns",
            rows=tuple(map(Row, sources, references, candidate, base)),
            golden=(Golden(source="a", token_ids=(7, 4), logprob=-1.0),),
        )
        counts = {"by": "hash", "train": 42, "dev": 6, "test": 12, "removed_as_leak": 0}
        clean = {
            "read": 61,
            "kept": 60,
            "dropped": {"duplicate": 1},
            "samples": {
                "duplicate": [
                    {"source": "<i>a</i>", "target": "b", "doc": "d", "path": "f", "line": 1}
                ]
            },
        }
        source = DataSource(name="pairs", digest=f"sha256:{'1' * 64}", licence="MIT", segments=61)
        base_folder = tmp_path / "tiny"
        return Candidate(
            recipe=recipe,
            base=BaseModelRef.read(base_folder),
            base_folder=base_folder,
            base_licence="Gemma",
            data=DataReport((source,), clean, counts),
            fit=fit_result(fakes.write_lora(tmp_path / f"lora{seed}", seed=seed)),
            measured=(measured,),
            over_base=evaluation.over_base,
            gate=judge(Findings({recipe.pair: evaluation}, evaluation.over_base), recipe.gate),
            hardware="2 CPU cores (test)",
        )

    return make


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Runs neither fit nor decode for real; the test sets how good the adapter is."""
    from tests.training.fake_run import FakeGenerator, World

    made = World()
    monkeypatch.setattr(FakeGenerator, "world", made, raising=False)
    fit, generate = SimpleNamespace(fit=made.fit), SimpleNamespace(Generator=FakeGenerator)
    monkeypatch.setitem(sys.modules, "training.fit.run", fit)
    # What torch would count: the tiny base is of no architecture that it knows.
    monkeypatch.setattr("training.plan.refusal.refuse_beyond_memory", made.admit)
    monkeypatch.setattr("training.plan.speed.remember", lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "training.evaluate.generate", generate)
    return made
