"""Each version gives its golden answer before it answers anybody."""

from __future__ import annotations

import shutil

import openai
import pytest

from adapters.ids import AdapterRef
from tests.integration.harness import WORDS, RunningServer
from tests.integration.wounds import Fault, publish_as

pytestmark = pytest.mark.engine


def test_every_sound_version_passes_and_users_metrics_do_not_count_it(
    server: RunningServer,
) -> None:
    source = server.registry.resolve(AdapterRef.parse("beta-en-fr@1")).folder
    publish_as(source, server.registry.root, "sound-en-fr")
    try:
        for name in WORDS:
            assert server.ask(name) == WORDS[name]
        passed = server.metric("dragoman_golden_checks_total", outcome="passed")
        assert server.ask("sound-en-fr") == "beta"
        assert server.ask("sound-en-fr") == "beta"
        assert server.metric("dragoman_golden_checks_total", outcome="passed") == passed + 1
        assert server.metric("dragoman_requests_total", adapter="sound-en-fr") == 2
    finally:
        shutil.rmtree(server.registry.root / "sound-en-fr")


def test_the_tolerance_is_what_the_server_holds_to(server: RunningServer) -> None:
    source = server.registry.resolve(AdapterRef.parse("beta-en-fr@1"))
    golden = source.manifest.golden[0]
    for name, off in {"near-en-fr": 0.5, "far-en-fr": -1.5}.items():
        moved = golden.model_copy(update={"logprob": golden.logprob + off})
        changes = {"golden": [moved.model_dump(mode="json")]}
        publish_as(source.folder, server.registry.root, name, Fault("", 0, "", "", changes=changes))
    try:
        assert server.ask("near-en-fr") == "beta"
        with pytest.raises(openai.ConflictError, match=r"-1\.\d\d ± 1\.0, found -0\.\d\d") as e:
            server.ask("far-en-fr")
        assert e.value.code == "golden_mismatch"
    finally:
        shutil.rmtree(server.registry.root / "near-en-fr")
        shutil.rmtree(server.registry.root / "far-en-fr")


def test_a_version_without_a_golden_answer_is_served_and_counted(
    server: RunningServer,
) -> None:
    source = server.registry.resolve(AdapterRef.parse("beta-en-fr@1")).folder
    none = Fault("none", 200, "", "", changes={"golden": []})
    before = server.metric("dragoman_golden_checks_total", outcome="none")
    publish_as(source, server.registry.root, "none-en-fr", none)
    try:
        assert server.ask("none-en-fr") == "beta"
        assert server.metric("dragoman_golden_checks_total", outcome="none") == before + 1
        assert "not checked by a golden answer" in server.log.read_text(errors="replace")
    finally:
        shutil.rmtree(server.registry.root / "none-en-fr")
