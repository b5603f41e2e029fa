from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.errors import AdapterRejected, GateFailed
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from training.candidate import Candidate
from training.publish import draft_of, publish

MakeCandidate = Callable[..., Candidate]
UI = AdapterId.parse("ui-en-fr")


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    return FileRegistry(tmp_path / "registry")


def test_a_passed_candidate_becomes_stable(
    registry: FileRegistry, make_candidate: MakeCandidate
) -> None:
    publish(make_candidate(), registry)
    second = publish(make_candidate(seed=1), registry)
    assert second.manifest.version == 2
    assert registry.resolve(AdapterRef(UI)).manifest.version == 2


def test_the_contract_says_how_the_adapter_was_made(make_candidate: MakeCandidate) -> None:
    candidate = make_candidate()
    draft = draft_of(candidate)
    assert draft.training is not None
    assert draft.training.recipe["id"] == "ui-en-fr"
    assert draft.training.data == candidate.data.sources
    assert (draft.weights.rank, draft.weights.alpha) == (4, 8)
    assert draft.prompt.stop_token_ids == (4, 1)
    assert draft.scores[0].signature
    assert draft.golden == candidate.measured[0].golden
    assert draft.licence == "CC0-1.0"


def test_a_failed_candidate_is_not_published(
    registry: FileRegistry, make_candidate: MakeCandidate
) -> None:
    candidate = make_candidate(good=False)
    with pytest.raises(GateFailed, match="--force") as caught:
        publish(candidate, registry)
    assert str(candidate.fit.adapter_folder) in str(caught.value)
    assert registry.ids() == []


def test_a_forced_candidate_is_published_as_such_and_does_not_become_stable(
    registry: FileRegistry, make_candidate: MakeCandidate
) -> None:
    publish(make_candidate(), registry)
    failed = make_candidate(good=False, seed=1)
    forced = replace(failed, gate=failed.gate.model_copy(update={"forced": True}))
    published = publish(forced, registry, force=True)
    assert published.manifest.gate is not None
    assert (published.manifest.gate.passed, published.manifest.gate.forced) == (False, True)
    assert registry.aliases(UI) == {"stable": 1}


def test_a_broken_adapter_leaves_nothing_in_the_registry(
    registry: FileRegistry, make_candidate: MakeCandidate
) -> None:
    candidate = make_candidate()
    weights = candidate.fit.adapter_folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(AdapterRejected):
        publish(candidate, registry)
    assert registry.ids() == []
