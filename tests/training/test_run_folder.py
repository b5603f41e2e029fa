from __future__ import annotations

from pathlib import Path

import pytest

from adapters.errors import TrainingFailed
from training.run_folder import open_run

IDENTITY = {"recipe": "a", "base": "b"}


def test_a_finished_phase_is_known_to_a_resumed_run(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", IDENTITY, resume=False) as run:
        assert run.result("fit") is None
        run.finish("fit", {"steps": 3})
    with open_run(tmp_path / "run", IDENTITY, resume=True) as run:
        assert run.result("fit") == {"steps": 3}


def test_a_new_run_removes_what_an_earlier_one_left(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", IDENTITY, resume=False) as run:
        run.finish("fit", {"steps": 3})
        run.data.mkdir()
    with open_run(tmp_path / "run", IDENTITY, resume=False) as run:
        assert run.result("fit") is None
        assert not run.data.exists()


def test_a_run_of_another_recipe_is_not_resumed(tmp_path: Path) -> None:
    with open_run(tmp_path / "run", IDENTITY, resume=False):
        pass
    with (
        pytest.raises(TrainingFailed, match="another recipe began it"),
        open_run(tmp_path / "run", {**IDENTITY, "recipe": "z"}, resume=True),
    ):
        pass


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with (
        pytest.raises(TrainingFailed, match=r"thesis\.tex"),
        open_run(tmp_path, IDENTITY, resume=False),
    ):
        pass
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    with (
        open_run(tmp_path / "run", IDENTITY, resume=False),
        pytest.raises(TrainingFailed, match="another process"),
        open_run(tmp_path / "run", IDENTITY, resume=True),
    ):
        pass


def test_a_phase_that_was_cut_short_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(tmp_path / "run", IDENTITY, resume=False) as run:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            run.finish("fit", {"steps": 3})
        assert run.result("fit") is None


def test_a_run_that_died_while_it_began_can_begin_again(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{")
    with open_run(tmp_path / "run", IDENTITY, resume=False) as run:
        assert (run.root / "run.json").read_text() != "{"
