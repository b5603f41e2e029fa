"""The whole way, by the commands of the README: real text, training, registry, engine, answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from adapters.ids import AdapterRef
from adapters.tokenizer import BaseTokenizer
from tests.integration.harness import RunningServer, dragoman

pytestmark = [pytest.mark.engine, pytest.mark.train]

# Enough to learn to answer in French and to stop; too little to be good.
SHORT = (
    "schedule.max_steps=24", "schedule.evaluate_every=24", "schedule.save_every=24",
    "schedule.learning_rate=1.0e-3", "clean.max_chars=80",
    "split.test=16", "split.dev=8", "evaluate.segments=16",
)  # fmt: skip
HOPELESS = (
    "id=hopeless-en-fr", "clean.max_chars=40", "schedule.max_steps=1",
    "split.test=2", "split.dev=1", "evaluate.segments=2",
    "evaluate.probes=false", "gate.min_chrf_gain=99",
)  # fmt: skip


def test_trained_adapter_is_published_served_and_translates(
    server: RunningServer, base: Path, tmp_path: Path
) -> None:
    changes = [part for change in SHORT for part in ("--set", change)]
    done = dragoman(
        "train", "jupyter-en-fr", "--publish", "--force", "--json", "--out", tmp_path / "run",
        "--registry", server.registry.root, *changes,
    )  # fmt: skip
    summary = json.loads(done.stdout)
    assert summary["train_steps"] == 24
    assert summary["signature"].startswith("nrefs:1")

    published = server.registry.resolve(AdapterRef.parse("jupyter-en-fr"))
    manifest = published.manifest
    assert manifest.training is not None
    assert {source.licence for source in manifest.training.data} == {"BSD-3-Clause"}
    assert {score.metric for score in manifest.scores} >= {"BLEU", "chrF++"}

    source = summary["samples"][0]["source"]
    answer = server.client.chat.completions.create(
        model="jupyter-en-fr",
        messages=[{"role": "user", "content": source}],
        extra_body={"return_token_ids": True},
    )
    expected = manifest.prompt.encode(source, manifest.pairs[0], BaseTokenizer.load(base))
    assert answer.to_dict()["prompt_token_ids"] == expected
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop", "it did not learn to stop, or is not let to"


def test_failed_gate_publishes_nothing(server: RunningServer, base: Path, tmp_path: Path) -> None:
    changes = [part for change in HOPELESS for part in ("--set", change)]
    done = dragoman(
        "train", "jupyter-en-fr", "--publish", "--out", tmp_path / "run",
        "--registry", server.registry.root, *changes, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "error[gate_failed]" in done.stderr
    assert "hopeless-en-fr" not in {str(adapter_id) for adapter_id in server.registry.ids()}
