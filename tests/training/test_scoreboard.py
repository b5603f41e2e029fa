from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adapters.ids import LanguagePair
from training.evaluate.bootstrap import compare
from training.evaluate.fault import Fault
from training.evaluate.metrics import bleu, chrf
from training.evaluate.page.segments import Judged, worst
from training.evaluate.scoreboard import Cost, Scoreboard, System, TestSet, score_systems

REFERENCES = [f"Ouvrir le fichier numéro {n} dans un nouvel onglet" for n in range(20)]
SOURCES = [f"Open the file number {n} in a new tab" for n in range(20)]
GOOD = [text.replace("nouvel", "autre") if n % 3 else text for n, text in enumerate(REFERENCES)]
TEST = TestSet("ui", LanguagePair("en", "fr"), SOURCES, REFERENCES)


@pytest.fixture(scope="module")
def board() -> Scoreboard:
    systems = [System("copy", SOURCES), System("good", GOOD, Cost(400, 200, 2.0), {"rank": "16"})]
    return score_systems(TEST, systems, baseline="copy")


def test_every_system_has_every_figure_over_the_baseline(board: Scoreboard) -> None:
    assert board.metrics == ("chrF++", "BLEU", "TER")
    good = board.entry("good")
    assert good.figure("chrF++").value == pytest.approx(chrf(GOOD, REFERENCES).value)
    assert good.figure("BLEU").value == pytest.approx(bleu(GOOD, REFERENCES, language="fr").value)
    assert good.figure("chrF++").versus == compare(GOOD, SOURCES, REFERENCES)
    assert board.entry("copy").figure("chrF++").versus is None
    assert good.figure("TER").lower_is_better
    assert good.figure("TER").value < board.entry("copy").figure("TER").value


def test_faults_are_counted_of_each_system(board: Scoreboard) -> None:
    assert board.entry("copy").fault_rates.rate(Fault.COPIED) == 1
    assert set(board.entry("good").faults) == {None}


def test_the_worst_segments_come_first_by_fault_then_by_score() -> None:
    texts = [*GOOD]
    texts[7], texts[3] = SOURCES[7], "Ouvrir le dossier"
    board = score_systems(TEST, [System("one", texts)])
    entry = board.entry("one")
    judged = Judged(entry.system.texts, entry.faults, entry.segment_scores)
    shown = worst({"sources": SOURCES, "references": REFERENCES}, judged, 2)
    assert [segment.number - 1 for segment in shown] == [7, 3]


def test_the_board_is_plain_json_and_names_what_repeats_it(board: Scoreboard) -> None:
    body = json.loads(json.dumps(board.to_json()))
    assert body["test_set"] == f"ui, 20 segments, sha256:{TEST.digest}"
    assert body["significance"] == "paired-bs:1000|seed:12345|as:sacrebleu"
    good = body["systems"][1]
    assert good["notes"] == {"rank": "16"}
    assert good["cost"] == {"prompt_tokens": 400, "completion_tokens": 200, "seconds": 2.0}
    assert set(good["scores"]["BLEU"]) == {
        "value", "signature", "ci95", "gain", "gain_ci95", "p_value",
    }  # fmt: skip


def test_another_test_set_has_another_name() -> None:
    assert replace(TEST, references=GOOD).digest != TEST.digest
    assert replace(TEST, name="other").digest == TEST.digest


def test_summaries_have_rouge_as_well() -> None:
    board = score_systems(TEST, [System("good", GOOD)], task="summarization")
    assert board.metrics[3:] == ("ROUGE-1", "ROUGE-2", "ROUGE-L")
