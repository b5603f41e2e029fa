"""Preferences as text: reading, refusing, cleaning, and candidates that are ranked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adapters.base_model import BaseModelRef
from adapters.errors import BaseModelMismatch, DataInvalid, RecipeInvalid
from adapters.ids import LanguagePair
from adapters.registry import FileRegistry
from tests import fakes
from training.build.division import FREE
from training.build.duplicates import duplicates
from training.build.judge import Chunk, Judge
from training.build.spool import Spool
from training.clean.rules import CleanRules
from training.corpus.jsonl import read_jsonl
from training.corpus.preferences import require_rejected
from training.corpus.reading import Reading
from training.corpus.segment import Segment, load_jsonl, write_jsonl
from training.objective import CandidateRule
from training.objectives.candidates import preference_of
from training.recipe import Recipe
from training.start import find_start

PAIR = LanguagePair("en", "fr")


def read(tmp_path: Path, *rows: dict[str, Any]) -> list[Segment]:
    path = tmp_path / "preferences.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n", encoding="utf-8")
    return list(read_jsonl(path, Reading(PAIR)))


@pytest.mark.parametrize(
    "row",
    [
        {"source": "Save", "chosen": "Enregistrer", "rejected": "Sauver"},
        {"prompt": "Save", "chosen": "Enregistrer", "rejected": "Sauver"},
        {"source": "Save", "mt": "Sauver", "post_edit": "Enregistrer"},
        {"source": "Save", "target": "Enregistrer", "rejected": "Sauver"},
    ],
)
def test_a_row_of_a_preference_is_read_whatever_its_keys(
    row: dict[str, str], tmp_path: Path
) -> None:
    (segment,) = read(tmp_path, row)
    assert (segment.source, segment.target) == ("Save", "Enregistrer")
    assert segment.rejected == "Sauver"


def test_preferences_survive_being_written(tmp_path: Path) -> None:
    segments = read(tmp_path, {"source": "Save", "chosen": "a", "rejected": "b", "doc": "d"})
    path = tmp_path / "written.jsonl"
    write_jsonl(segments, path)
    assert load_jsonl(path) == segments
    assert next(read_jsonl(path, Reading(PAIR))).rejected == "b"


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"source": "Save", "rejected": "Sauver"}, "only what is rejected. Add the translation"),
        ({"chosen": "a", "rejected": "b"}, "name the source text"),
        ({"source": "Save", "chosen": [{"role": "user"}], "rejected": "b"}, "without chat turns"),
    ],
)
def test_a_row_that_teaches_nothing_is_refused_with_its_line(
    row: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(DataInvalid, match=expected) as refused:
        read(tmp_path, {"source": "a", "chosen": "b", "rejected": "c"}, row)
    assert "preferences.jsonl:2: expected the texts" in str(refused.value)


def test_one_side_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    both = {"source": "Open", "chosen": "Ouvrir", "rejected": "Ouvre"}
    segments = read(tmp_path, both, {"source": "Save", "chosen": "Enregistrer"})
    require_rejected(segments[:1], kind="dpo")
    with pytest.raises(DataInvalid) as refused:
        require_rejected(segments, kind="dpo")
    message = str(refused.value)
    assert "preferences.jsonl:2: objective.kind: dpo compares two translations" in message
    assert "1 segments have one" in message
    for part in ('"rejected"', "objective.kind=sft", "objective.candidates", "data prefer"):
        assert part in message


def test_equal_sides_are_dropped_and_counted_and_others_of_one_source_stay(tmp_path: Path) -> None:
    segments = read(
        tmp_path,
        {"source": "Save", "mt": "Enregistrer", "post_edit": "Enregistrer "},
        {"source": "Save", "mt": "Sauver", "post_edit": "Enregistrer"},
        {"source": "Save", "mt": "Garder", "post_edit": "Enregistrer"},
        {"source": "Save", "mt": "Garder", "post_edit": "Enregistrer"},
    )
    judged = Judge(CleanRules(), seed=0)(Chunk(0, segments))
    assert judged.report.dropped["equal_sides"] == 1
    with Spool(tmp_path / "spool") as spool:
        spool.append(judged, FREE)
        found = duplicates(spool, np.arange(judged.report.kept, dtype=np.uint32), CleanRules())
    assert {name: numbers.tolist() for name, numbers in found.items()} == {
        "duplicate": [2], "other_translation": [],
    }  # fmt: skip


SEGMENT = Segment("Save the file", "Enregistrer le fichier", "d", "p", 1)
TEXTS = ["Enregistrer le fichier", "Enregistrer un fichier", "Save", " "]


def rule(**changes: Any) -> CandidateRule:
    return CandidateRule(**changes)


def test_the_candidate_least_like_the_reference_is_rejected() -> None:
    found = preference_of(SEGMENT, TEXTS, rule())
    assert found is not None
    assert (found.target, found.rejected) == (SEGMENT.target, "Save")


def test_the_best_candidate_may_be_preferred() -> None:
    found = preference_of(SEGMENT, TEXTS[1:], rule(chosen="best"))
    assert found is not None
    assert (found.target, found.rejected) == ("Enregistrer un fichier", "Save")
    assert preference_of(SEGMENT, TEXTS[1:2] * 3, rule(chosen="best", min_margin=0)) is None


def test_candidates_without_a_clear_difference_make_no_preference() -> None:
    assert preference_of(SEGMENT, TEXTS[:1] * 4, rule()) is None
    assert preference_of(SEGMENT, TEXTS[:2], rule(min_margin=90)) is None
    assert preference_of(SEGMENT, ["", " "], rule()) is None


def test_a_start_is_a_folder_or_a_version_of_the_same_base(tmp_path: Path) -> None:
    base = BaseModelRef.read(fakes.write_base(tmp_path / "tiny"))
    registry = FileRegistry(tmp_path / "registry")
    folder = fakes.write_lora(tmp_path / "run" / "adapter")
    assert find_start("run/adapter", tmp_path, registry, base) == folder
    with pytest.raises(RecipeInvalid, match="no adapter to start from"):
        find_start("run", tmp_path, registry, base)
    published = fakes.publish(registry)
    assert find_start("ui-en-fr@1", tmp_path, registry, published.manifest.base) == published.folder
    with pytest.raises(BaseModelMismatch, match="train without a start"):
        find_start("ui-en-fr@1", tmp_path, registry, base)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["objective.kl_to_base=1", "method.kind=full"], "which method.kind: full changes"),
        (["objective.kl_to_base=1", "method.init=pissa"], "use init: kaiming"),
        (
            ["objective.kind=dpo", "objective.start=a", "method.kind=ia3"],
            "start is of a plain LoRA",
        ),
    ],
)
def test_an_objective_that_the_method_cannot_serve_is_refused(
    changes: list[str], expected: str
) -> None:
    with pytest.raises(RecipeInvalid, match=expected):
        Recipe.load("jupyter-en-fr", overrides=changes)
