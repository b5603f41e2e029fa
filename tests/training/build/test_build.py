"""A recipe's files to its parts: duplicates, processes, interruptions, memory."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.errors import DataInvalid
from training.build.build import build_data
from training.corpus.segment import load_jsonl
from training.recipe import Recipe

WORDS = ("delta", "river", "stone", "bright", "cloud", "seven", "paper", "orange", "winter")


def recipe_of(folder: Path, rows: list[tuple[str, str]], *overrides: str) -> Recipe:
    lines = [json.dumps({"source": source, "target": target}) for source, target in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        "id: ui-en-fr\nlicence: CC0-1.0\ndata: [{jsonl: pairs.jsonl, licence: CC0-1.0}]\n"
        "split: {dev: 2, test: 3}\n"
    )
    return Recipe.load(str(folder / "recipe.yaml"), overrides=overrides)


def sentences(count: int) -> list[tuple[str, str]]:
    made = random.Random(7)
    sources = (" ".join(made.choices(WORDS, k=9)) for _ in range(count))
    return [(source, f"le {source} du jour") for source in sources]


def built(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_of_duplicates_the_first_is_kept_and_both_kinds_are_counted(tmp_path: Path) -> None:
    rows = [*sentences(20), ("Save", "Garder"), ("Save", "Garder"), ("Save", "Sauver")]
    report = build_data(recipe_of(tmp_path, rows), tmp_path / "out")
    assert report.clean["dropped"]["duplicate"] == 1
    assert report.clean["dropped"]["other_translation"] == 1
    assert report.clean["samples"]["other_translation"][0]["target"] == "Sauver"
    assert (report.clean["read"], report.clean["kept"]) == (23, 21)
    kept = [
        s for part in ("train", "dev", "test") for s in load_jsonl(tmp_path / f"out/{part}.jsonl")
    ]
    assert [s.target for s in kept if s.source == "Save"] == ["Garder"]


def test_duplicates_are_kept_when_asked(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [*sentences(20), *sentences(20)], "clean.drop_duplicates=false")
    report = build_data(recipe, tmp_path / "out")
    assert report.clean["kept"] == 40
    assert "duplicate" not in report.clean["dropped"]


def test_near_duplicates_go_when_asked(tmp_path: Path) -> None:
    pair = ("Step {}: restart the node and wait for it", "Étape {} : redémarrez le nœud, attendez")
    steps = [(pair[0].format(n), pair[1].format(n)) for n in (1, 2)]
    rows = [*sentences(20), *steps]
    kept = build_data(recipe_of(tmp_path, rows), tmp_path / "out").clean
    assert kept["kept"] == 22
    dropped = build_data(
        recipe_of(tmp_path, rows, "clean.near_duplicates=0.9"), tmp_path / "out"
    ).clean
    assert dropped["dropped"]["near_duplicate"] == 1
    assert dropped["samples"]["near_duplicate"][0]["source"] == pair[0].format(2)


def test_a_second_build_writes_the_same_bytes(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, sentences(60))
    build_data(recipe, tmp_path / "one")
    build_data(recipe, tmp_path / "other")
    assert built(tmp_path / "one") == built(tmp_path / "other")


def test_a_build_that_fails_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    build_data(recipe_of(tmp_path, sentences(60)), tmp_path / "out")
    before = built(tmp_path / "out")
    with pytest.raises(DataInvalid, match="lower split"):
        build_data(recipe_of(tmp_path, sentences(60), "split.test=90"), tmp_path / "out")
    assert built(tmp_path / "out") == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "pairs.jsonl", "recipe.yaml"]


def test_training_text_that_is_all_held_out_is_told(tmp_path: Path) -> None:
    rows = [(f"The same sentence with its number {n}", f"La phrase {n}") for n in range(20)]
    with pytest.raises(DataInvalid, match="all 15 pairs for training are in the dev or test text"):
        build_data(recipe_of(tmp_path, rows), tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, sentences(20))
    with pytest.raises(DataInvalid, match=r"pairs\.jsonl/out: cannot be written"):
        build_data(recipe, tmp_path / "pairs.jsonl" / "out")


@pytest.mark.slow
def test_the_files_do_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, [*sentences(10_000), *sentences(2_000)])
    for processes in (1, 2, 3):
        build_data(recipe, tmp_path / str(processes), processes=processes)
    assert built(tmp_path / "1") == built(tmp_path / "2") == built(tmp_path / "3")


@pytest.mark.slow
def test_ctrl_c_leaves_neither_files_nor_processes(tmp_path: Path) -> None:
    recipe_of(tmp_path, sentences(100_000))
    command = [sys.executable, "-m", "dragoman", "data", "build", str(tmp_path / "recipe.yaml")]
    with subprocess.Popen(
        [*command, "--out", str(tmp_path / "out")],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".out-*/lines.jsonl")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(2)
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in errors
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pairs.jsonl", "recipe.yaml"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_text(tmp_path: Path) -> None:
    peaks = []
    for count in (10_000, 80_000):
        recipe_of(tmp_path, sentences(count))
        command = [sys.executable, "-m", "training.build.speed", str(tmp_path / "recipe.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        assert figures["units"] == count
        peaks.append(figures["peak_rss_mb"])
    assert peaks[1] < peaks[0] + 40
