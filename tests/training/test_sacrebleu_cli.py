"""Our figures against sacreBLEU's own command line, on real text, to the last printed digit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from adapters.ids import LanguagePair
from training.evaluate.bootstrap import RESAMPLES, SEED
from training.evaluate.scoreboard import Scoreboard, System, TestSet, score_systems
from training.evaluation.held_out import Wanted
from training.evaluation.outputs import write_lines

pytestmark = pytest.mark.slow

# Every eleventh of JupyterLab's messages: long ones and single words, markup and placeholders.
STEP = 11
METRICS = ["-m", "bleu", "chrf", "ter", "--chrf-word-order", "2"]
# Such as `60.16 (60.33 ± 8.33) (p = 0.0010)*`; a baseline has no p.
_CELL = re.compile(r"([\d.]+) \([\d.]+ ± ([\d.]+)\)(?: \(p = ([\d.]+)\))?")
OURS = {"BLEU": "BLEU", "chrF2++": "chrF++", "TER": "TER"}


@cache
def board() -> Scoreboard:
    """Two systems, one much worse than the other: both are references with planted mistakes."""
    read = Wanted("jupyterlab-language-pack-fr-FR").read(LanguagePair("en", "fr")).test
    sources = [" ".join(text.split()) for text in read.sources[::STEP]]
    references = [" ".join(text.split()) for text in read.references[::STEP]]
    test = TestSet("jupyter", read.pair, sources, references)
    systems = [
        System("worse", [_spoilt(text, n, every=2) for n, text in enumerate(references)]),
        System("better", [_spoilt(text, n, every=5) for n, text in enumerate(references)]),
        System("alike", [_spoilt(text, n + 1, every=2) for n, text in enumerate(references)]),
    ]
    return score_systems(test, systems, baseline="worse")


def _spoilt(text: str, number: int, *, every: int) -> str:
    words = text.split(" ")
    if number % every:
        return text
    spoilt = [word.upper() if n % 3 == 1 else word for n, word in enumerate(words) if n % 4 != 2]
    return " ".join([*spoilt[::-1], "de"] if number % 7 == 0 else spoilt)


def ask(folder: Path, *arguments: str) -> Any:
    """Return what `python -m sacrebleu` prints about the files of the scoreboard."""
    return json.loads(printed_by(folder, *arguments))


def printed_by(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "sacrebleu", str(folder / "references"), *arguments]
    seeded = {**os.environ, "SACREBLEU_SEED": str(SEED)}
    done = subprocess.run(command, capture_output=True, text=True, env=seeded, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("files")
    write_lines(board().test.references, made / "references")
    for entry in board().entries:
        write_lines(entry.system.texts, made / entry.system.name)
    return made


@pytest.mark.parametrize("digits", [1, 4])
@pytest.mark.parametrize("name", ["worse", "better"])
def test_scores_and_signatures_are_those_of_the_command_line(
    folder: Path, name: str, digits: int
) -> None:
    printed = ask(folder, "-i", str(folder / name), *METRICS, "-w", str(digits))
    assert {score["name"] for score in printed} == OURS.keys()
    for score in printed:
        figure = board().entry(name).figure(OURS[score["name"]])
        assert f"{figure.value:.{digits}f}" == f"{score['score']:.{digits}f}"
        assert figure.signature == score["signature"]


def test_p_values_and_intervals_are_those_of_the_command_line(folder: Path) -> None:
    files = [str(folder / entry.system.name) for entry in board().entries]
    # Its JSON of a paired test cannot be printed with NumPy 2 (float32 is no number of json's).
    asked = ["--paired-bs", "--paired-bs-n", str(RESAMPLES), "-f", "latex", "-w", "6"]
    printed = printed_by(folder, "-i", *files, *METRICS, *asked)
    rows = {
        Path(line.partition(" &")[0]).name: [
            list(found.groups()) for cell in line.split(" & ")[1:] for found in _CELL.finditer(cell)
        ]
        for line in printed.splitlines()
        if "/" in line.partition(" &")[0] and " & " in line
    }  # fmt: skip
    assert rows.keys() == {"worse", "better", "alike"}
    for name, cells in rows.items():
        # The columns are in its own order, whatever -m says.
        for metric, (score, half_width, p_value) in zip(OURS.values(), cells, strict=True):
            figure = board().entry(name).figure(metric)
            assert f"{figure.value:.6f}" == score
            assert figure.ci95 is not None
            # It drops 25 resamples on either side; ours is between two of them.
            half = (figure.ci95[1] - figure.ci95[0]) / 2
            assert half == pytest.approx(float(half_width), rel=0.02)
            ours = figure.versus and f"{figure.versus.p_value:.4f}"
            assert ours == p_value, (name, metric)


def test_the_texts_are_real_and_the_systems_differ() -> None:
    """Otherwise all of the above would hold for anything."""
    found = board()
    assert len(found.test.sources) > 200
    p_values = {
        entry.system.name: figure.versus.p_value
        for entry in found.entries
        if (figure := entry.figure("chrF++")).versus is not None
    }
    assert p_values["better"] < 0.01 < p_values["alike"]
