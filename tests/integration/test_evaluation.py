"""`dragoman eval` of one adapter, through the real server and in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.constant_adapters import SOURCES
from tests.integration.harness import WORDS, RunningServer, dragoman

pytestmark = pytest.mark.engine
ALPHA = "alpha-en-fr"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pairs of which the adapter has two in three right, whatever it is asked."""
    rows = [
        {"source": source, "target": WORDS[ALPHA] if n % 3 else f"tout autre chose {n}"}
        for n, source in enumerate(SOURCES)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    return path


def evaluated(*arguments: object) -> dict[str, Any]:
    done = dragoman("eval", "--pair", "en-fr", "--json", *arguments)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_an_adapter_scores_through_the_server_what_it_scores_in_process(
    server: RunningServer, data: Path
) -> None:
    served = evaluated("--url", server.url, "--served", ALPHA, "--data", data)
    here = evaluated("--adapter", ALPHA, "--registry", server.registry.root, "--data", data)
    texts = [body["texts"]["systems"][body["system"]] for body in (served, here)]
    assert texts[0] == texts[1] == [WORDS[ALPHA]] * len(SOURCES)
    scores = [
        next(s["scores"] for s in body["scoreboard"]["systems"] if s["system"] == body["system"])
        for body in (served, here)
    ]
    assert scores[0] == scores[1]
    assert 0 < scores[0]["chrF++"]["value"] < 100
    assert served["scoreboard"]["test_set"] == here["scoreboard"]["test_set"]
