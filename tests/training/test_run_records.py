"""What a run leaves in its folder beside the adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.base_model import BaseModelRef
from training.evaluate.chart import loss_chart
from training.fit.result import FitProgress
from training.progress import fit_progress, line_of, time_left
from training.recipe import Recipe
from training.run_log import RunLog
from training.run_records import write_records

BASE = BaseModelRef(name="tiny", fingerprint=f"sha256:{'0' * 64}", vocab_size=9)


def test_the_recipe_of_a_run_is_the_whole_recipe(recipe_file: Path, tmp_path: Path) -> None:
    recipe = Recipe.load(str(recipe_file), overrides=["schedule.early_stopping.patience=7"])
    (tmp_path / "run").mkdir()
    write_records(recipe, BASE, tmp_path / "run")
    again = Recipe.load(str(tmp_path / "run" / "recipe.yaml"))
    assert again.digest == recipe.digest
    assert "batch_size: 16" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_each_session_of_a_run_is_written_down_without_secrets(
    recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    for _ in range(2):
        write_records(Recipe.load(str(recipe_file)), BASE, tmp_path)
    text = (tmp_path / "environment.json").read_text()
    sessions = json.loads(text)
    assert [s["environment"]["OMP_NUM_THREADS"] for s in sessions] == ["3", "3"]
    assert sessions[0]["packages"]["numpy"].count(".") == 2
    assert "hf_secret" not in text


def test_a_resumed_run_writes_its_figures_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path)
    for step in (5, 10, 15):
        log.measure(step, {"loss": 1.0 / step, "grad_norm": float("nan")})
    with (tmp_path / "metrics.jsonl").open("a") as stream:
        stream.write('{"step": 20, "lo')  # killed while it wrote
    log.forget_after(10)
    log.measure(15, {"loss": 0.5})
    assert [row["step"] for row in log.figures()] == [5, 10, 15]
    assert log.figures()[0] == {"step": 5, "loss": 0.2, "grad_norm": None}


def test_notes_are_told_and_written_down_and_never_go_to_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    RunLog(tmp_path).note("data: 3 segments")
    RunLog(None).note("from another process")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "data: 3 segments\n")
    assert (tmp_path / "train.log").read_text().endswith("Z data: 3 segments\n")


def where(step: int, **more: float) -> FitProgress:
    return FitProgress(step, 96, 1.25, more.get("dev_loss"), 100, 350.0, more.get("dev_chrf"))


def test_a_line_of_progress_has_what_is_known() -> None:
    assert line_of(where(3), "") == "fit: 3/96, loss 1.250, 350 tok/s"
    assert line_of(where(6, dev_loss=1.5, dev_chrf=31.25), "4:10") == (
        "fit: 6/96, loss 1.250, dev loss 1.500, dev chrF++ 31.2, 350 tok/s, 4:10 left"
    )


@pytest.mark.parametrize(("seconds", "left"), [(10.0, "1:10"), (1000.0, "1:56:40")])
def test_the_time_left_follows_this_sessions_speed(seconds: float, left: str) -> None:
    assert time_left(where(26), where(16), seconds) == left
    assert time_left(where(16), where(16), seconds) == ""


class Terminal:
    """A stderr that says it is one."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_table_and_others_lines_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.progress._LINE_EVERY_S", 0.0)
    with fit_progress() as show:
        show(where(4))
    assert capsys.readouterr() == ("", "fit: 4/96, loss 1.250, 350 tok/s\n")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with fit_progress() as show:
        show(where(5, dev_loss=1.5, dev_chrf=31.25))
    assert all(part in terminal.text for part in ("5/96", "dev chrF++", "31.2", "tok/s"))
    assert capsys.readouterr().out == ""


def test_the_chart_has_chrf_where_it_was_measured() -> None:
    losses = ((5, 2.0), (10, 1.0))
    plain = loss_chart(losses, ((10, 1.5),))
    scored = loss_chart(losses, ((10, 1.5),), ((5, 20.0), (10, 40.0)))
    assert plain is not None
    assert scored is not None
    assert "chrF++" not in plain
    assert "chrF++ on dev (dotted, highest 40.0)" in scored
    assert 'points="470.0,90.0 900.0,0.0"' in scored
