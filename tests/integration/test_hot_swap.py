"""Adapters that change places in one running engine."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from adapters.ids import AdapterId, AdapterRef
from tests.integration.harness import USER, WORDS, RunningServer, dragoman

pytestmark = pytest.mark.engine
ALPHA = AdapterId.parse("alpha-en-fr")
# Longer than a server goes without looking at the aliases.
SEEN_S = 0.5


def test_three_adapters_share_two_slots(server: RunningServer) -> None:
    asked = [*WORDS] * 8
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(server.ask, asked))
    assert answers == [WORDS[name] for name in asked]
    # More adapters than slots: they can only have answered by taking turns.
    deadline = time.monotonic() + 10
    while server.metric("dragoman_adapter_evictions_total", tier="engine") == 0:
        assert time.monotonic() < deadline, "no adapter ever left a slot"
        server.ask(asked[int(time.monotonic()) % 3])
    assert server.metric("dragoman_adapter_resident", tier="engine") <= 2


def test_promoted_version_answers_without_a_restart(server: RunningServer) -> None:
    assert server.ask("alpha-en-fr") == "alpha"
    other = server.registry.resolve(AdapterRef.parse("beta-en-fr"))
    ours = {"id": ALPHA, "domain": ALPHA.domain}
    server.registry.publish(other.manifest.model_copy(update=ours), other.folder)
    time.sleep(SEEN_S)
    assert server.ask("alpha-en-fr") == "alpha", "publishing does not move stable"
    assert server.ask("alpha-en-fr@2") == "beta"
    registry = server.registry.root
    dragoman("adapters", "promote", "alpha-en-fr@2", "--registry", registry)
    time.sleep(SEEN_S)
    assert server.ask("alpha-en-fr") == "beta"
    assert server.ask("alpha-en-fr@1") == "alpha", "an exact version answers as before"
    dragoman("adapters", "rollback", "alpha-en-fr", "--registry", registry)
    time.sleep(SEEN_S)
    assert server.ask("alpha-en-fr") == "alpha"
    assert server.process.poll() is None


def test_plain_peft_folder_is_imported_and_served(server: RunningServer, tmp_path: Path) -> None:
    original = server.registry.resolve(AdapterRef.parse("beta-en-fr")).folder
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(original / name, tmp_path / name)
    dragoman(
        "adapters", "import", tmp_path, "--id", "plain-en-fr", "--licence", "Gemma",
        "--user", USER, "--registry", server.registry.root,
    )  # fmt: skip
    assert server.ask("plain-en-fr", "Where am I?") == "beta"
