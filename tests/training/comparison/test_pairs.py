"""A comparison on a sequence-to-sequence base: its own row, and that of what was trained on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

import dragoman
from tests.training import tiny_pairs

pytestmark = [pytest.mark.train, pytest.mark.usefixtures("one_thread")]

SPEC = """\
title: Pairs
recipe: opus-mt-en-zh-k8s
baseline: base
systems:
  - {name: base, base: {shots: 0}}
  - {name: trained}
  - {name: shown, base: {shots: 2}}
"""
CHANGES = (
    "split={dev: 10, test: 10}", "evaluate.segments=10", "schedule.epochs=6",
    "schedule.learning_rate=8e-3", "schedule.batch_size=8", "schedule.tokens_per_pass=512",
    "clean.min_script=null", "clean.other_language=null", "method={kind: lora, rank: 8, alpha: 16}",
)  # fmt: skip


def call(*words: object) -> None:
    done = CliRunner().invoke(dragoman.build_app(), [str(word) for word in words])
    assert done.exit_code == 0, done.output


def test_a_base_that_reads_one_text_is_a_row_and_refuses_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(command: Sequence[str], _: str) -> None:
        call(*command[3:])

    monkeypatch.setattr("training.comparison.trained.run_to_end", here)
    base = tiny_pairs.write_base(tmp_path / "base", "marian")
    pairs = tiny_pairs.write_jsonl(tmp_path / "pairs.jsonl", "en", "zh")
    (tmp_path / "c.yaml").write_text(SPEC, encoding="utf-8")
    changes = [f"base={base}", f"data.0.jsonl={pairs}", *CHANGES]
    options = [word for change in changes for word in ("--set", change)]
    typed = ["compare", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out"), *options]
    done = CliRunner().invoke(dragoman.build_app(), [*typed, "--json"])
    assert done.exit_code == 1, done.output
    body = json.loads(done.stdout)
    plain, trained, shown = body["systems"]
    assert (plain["status"], trained["status"]) == ("done", "done")
    assert shown["error"].startswith("error[recipe_invalid]")
    assert "without examples" in shown["error"]
    assert plain["per_segment"]["prompt_tokens"] == trained["per_segment"]["prompt_tokens"] > 0
    gain = body["scoreboard"]["systems"][1]["scores"]["chrF++"]["gain"]
    assert gain > 0
