"""What `dragoman eval` is made of: texts out of files, rows out of files, further scores."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from training.evaluate.scoreboard import Cost, System, TestSet, score_systems
from training.evaluation import remote
from training.evaluation.held_out import Wanted
from training.evaluation.neural_scores import NeuralScores, parse_metrics
from training.evaluation.outputs import read_outputs, write_lines
from training.evaluation.result import apart
from training.evaluation.run import Against
from training.synthesis.backoff import Backoff
from training.synthesis.endpoint import Server
from training.synthesis.translator import Answer

EN_FR = LanguagePair("en", "fr")
# Reads and writes as comet-score of unbabel-comet does; a segment is right, or it is not.
COMET = f"""\
#!{sys.executable}
import json, sys
named = {{option: sys.argv[sys.argv.index(option) + 1] for option in ("-t", "-r", "--to_json")}}
texts = [open(named[option]).read().splitlines() for option in ("-t", "-r")]
rows = [{{"mt": mt, "COMET": float(mt == ref)}} for mt, ref in zip(*texts)]
json.dump({{named["-t"]: rows}}, open(named["--to_json"], "w"))
"""
SOURCES = ["open the file", "close the file", "save the file"]
REFERENCES = ["ouvrir le fichier", "CLOSE THE FILE", "enregistrer le fichier"]


def test_names_are_told_apart() -> None:
    test = TestSet("x", EN_FR, ["a"], ["b"])
    with_names = [read_row(name, test) for name in ("a", "a", "a (2)", "a")]
    assert [row.name for row in apart(with_names)] == ["a", "a (2)", "a (2) (2)", "a (3)"]


def read_row(name: str, test: TestSet) -> Any:
    return System(name, test.references)


@pytest.mark.parametrize(("name", "text"), [
    ("a.jsonl", '{"en": "Save", "fr": "Enregistrer"}\n{"source": "Open", "target": "Ouvrir"}\n'),
    ("a.po", 'msgid "Save"\nmsgstr "Enregistrer"\n\nmsgid "Open"\nmsgstr "Ouvrir"\n'),
    ("a.tmx", '<tmx version="1.4"><header srclang="en"/><body>'
     '<tu><tuv xml:lang="en"><seg>Save</seg></tuv>'
     '<tuv xml:lang="fr"><seg>Enregistrer</seg></tuv></tu>'
     '<tu><tuv xml:lang="en"><seg>Open</seg></tuv>'
     '<tuv xml:lang="fr"><seg>Ouvrir</seg></tuv></tu></body></tmx>'),
    ("a.csv", "source,target\nSave,Enregistrer\nOpen,Ouvrir\n"),
])  # fmt: skip
def test_files_of_many_formats_are_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = Wanted(str(tmp_path / name)).read(EN_FR)
    assert list(found.test.sources) == ["Save", "Open"]
    assert list(found.test.references) == ["Enregistrer", "Ouvrir"]
    assert found.digest.startswith("sha256:")


def test_each_language_may_have_its_own_file(tmp_path: Path) -> None:
    (tmp_path / "a.en").write_text("Save\nOpen\n")
    (tmp_path / "a.fr").write_text("Enregistrer\nOuvrir\n")
    found = Wanted(f"{tmp_path}/a.{{language}}", limit=1).read(EN_FR)
    assert (found.kind, list(found.test.references)) == ("moses", ["Enregistrer"])
    (tmp_path / "en.json").write_text('{"save": "Save"}')
    (tmp_path / "fr.json").write_text('{"save": "Enregistrer"}')
    assert Wanted(f"{tmp_path}/{{language}}.json").read(EN_FR).kind == "locale_json"


def test_a_run_of_several_pairs_is_measured_on_one(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    rows = [
        {"source": "Save", "target": "Enregistrer", "pair": "en-fr"},
        {"source": "Save", "target": "Speichern", "pair": "en-de"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert Wanted(str(path)).pair_said() == EN_FR
    assert list(Wanted(str(path)).read(EN_FR).test.references) == ["Enregistrer"]
    german = Wanted(str(path)).read(LanguagePair("en", "de"))
    assert list(german.test.references) == ["Speichern"]


def test_rows_that_cannot_be_read_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "test.jsonl"
    path.write_text('{"source": "Save", "target": "Enregistrer"}\n{"source": 1\n')
    with pytest.raises(DataInvalid, match=r"test\.jsonl:2"):
        Wanted(str(path)).read(EN_FR)
    assert Wanted(str(path), skip_bad=True).read(EN_FR).to_json()["left_out"] == 1


def test_breaks_in_answers_become_spaces_in_a_file_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "out.txt"
    write_lines(["a\nb\r\nc", "", "d\u2028e \ud83d"], path)
    assert path.read_text(encoding="utf-8").split("\n") == ["a b  c", "", "d\u2028e ?", ""]
    test = TestSet("x", EN_FR, ["1", "2", "3"], ["1", "2", "3"])
    assert read_outputs(path, test).texts[1] == ""


def test_the_baseline_is_what_was_named() -> None:
    files = (Path("a"), Path("b"))
    assert (Against().place, Against().files) == (None, ())
    assert Against("copy", files).place is None
    assert (Against("base").place, Against("base", files).files) == (1, files)
    assert Against(None, files).place == 1
    assert Against("c", files).files == (Path("c"), *files)


def test_an_unreachable_text_keeps_its_place() -> None:
    server = Server("http://127.0.0.1:1", "a", None, 1)
    assert remote.Remote(server, None, Backoff(tries=1)).name == "a"
    answers: dict[int, Any] = {1: Answer("b", prompt_tokens=3, completion_tokens=2)}
    made = remote._made(answers, 3, 1.0)
    assert made.texts == ["", "b", ""]
    assert made.cost == Cost(3, 2, 1.0)


def test_every_row_gets_a_neural_score(tmp_path: Path) -> None:
    test = TestSet("x", EN_FR, SOURCES[:3], REFERENCES[:3])
    copied = System("copy", SOURCES[:3])
    board = score_systems(test, [System("good", REFERENCES[:3]), copied], baseline="copy")
    tool = tmp_path / "comet-score"
    tool.write_text(COMET, encoding="utf-8")
    tool.chmod(0o755)
    (metric,) = parse_metrics([f"COMET={tool} --model some/model"])
    found = NeuralScores.of(metric, board).to_json()
    assert found["systems"] == {"good": 100.0, "copy": 0.0}
    assert "some/model" in found["signature"]
