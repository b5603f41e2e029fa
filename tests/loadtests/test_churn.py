from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.ids import AdapterRef
from adapters.registry import FileRegistry
from loadtests.churn import metric_sum
from loadtests.churn_answers import Answer, agrees, difference, distances, mistaken, tolerance_of
from loadtests.churn_ledger import Ledger
from loadtests.churn_registry import ChurnRegistry, Crowd
from tests import fakes

ALONE = Answer((5, 6, 7), (-1.0, -0.5, -0.70), (-3.0, -2.5, -0.72))


def test_rounding_within_the_tolerance_agrees_and_more_does_not() -> None:
    near = replace(ALONE, best=(-1.01, -0.49, -0.70))
    assert agrees(near, ALONE, 0.02)
    assert not agrees(near, ALONE, 0.005)


def test_another_token_is_allowed_only_in_a_tie() -> None:
    tie = replace(ALONE, token_ids=(5, 6, 8))
    certain = replace(ALONE, token_ids=(5, 9, 9))
    assert agrees(tie, ALONE, 0.03)
    assert not agrees(certain, ALONE, 0.03)
    assert difference(certain, ALONE).place == 1


def test_after_a_tie_nothing_compares() -> None:
    other_way = Answer((5, 6, 8), (-1.0, -0.5, -9.0), (-3.0, -2.5, -9.5))
    assert agrees(other_way, ALONE, 0.03)


def test_a_shorter_answer_is_wrong() -> None:
    short = Answer((5, 6), (-1.0, -0.5), (-3.0, -2.5))
    assert not agrees(short, ALONE, math.nextafter(math.inf, 0))


def test_tolerance_is_twice_what_batching_did() -> None:
    moved = replace(ALONE, best=(-1.0, -0.46, -0.70))
    assert tolerance_of([(ALONE, ALONE), (moved, ALONE)]) == pytest.approx(0.08)


def test_versions_that_answer_alike_are_found_before_the_check_is_trusted() -> None:
    other = replace(ALONE, best=(-2.0, -0.5, -0.7))
    references = {("a", 0): ALONE, ("b", 0): other, ("b", 1): ALONE, ("a", 1): other}
    assert not mistaken(references, 0.1)
    assert len(mistaken(references, 1.5)) == 4
    assert distances(references) == pytest.approx([1.0] * 4)


def test_answer_is_read_from_a_completion() -> None:
    top = [{"token_id:5": -1.0, "token_id:9": -3.0}, {"token_id:6": -0.5, "token_id:2": -2.5}]
    body = {
        "choices": [
            {
                "token_ids": [5, 6],
                "logprobs": {"token_logprobs": [-1.0, -0.5], "top_logprobs": top},
            }
        ]
    }
    assert Answer.parse(body) == Answer((5, 6), (-1.0, -0.5), (-3.0, -2.5))


def test_metric_is_summed_over_its_labels() -> None:
    text = '# HELP a_total x\na_total{x="1"} 2.0\na_total{x="2"} 3.0\na_total_created{x="1"} 9\n'
    assert metric_sum(text, "a_total") == 5


def test_ledger_knows_how_long_a_version_had_been_left() -> None:
    ledger = Ledger()
    ledger.switched("a", "one", (0.0, 0.1))
    ledger.switched("a", "two", (5.0, 5.1))
    assert ledger.lag_s("a", "one", (4.0, 4.5)) == 0
    assert ledger.lag_s("a", "one", (5.05, 5.5)) == 0
    assert ledger.lag_s("a", "one", (5.6, 5.8)) == pytest.approx(0.5)
    assert ledger.lag_s("a", "two", (4.9, 5.05)) == 0
    assert ledger.lag_s("a", "two", (4.0, 4.9)) is None, "nobody may answer before the switch"
    assert ledger.lag_s("a", "three", (6.0, 6.1)) is None


def test_ledger_allows_404_only_where_the_version_went_while_it_was_asked_for() -> None:
    ledger = Ledger(deleted={"one": 5.0})
    assert ledger.may_be_gone("one", (4.9, 5.1))
    assert not ledger.may_be_gone("one", (4.0, 4.9))
    assert not ledger.may_be_gone("one", (5.1, 5.2))
    assert not ledger.may_be_gone("two", (4.9, 5.1))


def test_changes_of_the_registry_come_full_circle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def publish(store: FileRegistry, base: str, name: str, *, seed: int, scale: float) -> object:
        return fakes.publish(store, seed=seed, adapter_id=name)

    monkeypatch.setattr("loadtests.churn_registry.publish_random", publish)
    store = FileRegistry(tmp_path / "registry")
    registry = ChurnRegistry(store, "tiny", Crowd(still=1, moving=1))
    versions = registry.publish_all()
    assert sorted(versions.values()) == [
        "churn000-en-fr@1", "churn001-en-fr@1", "churn001-en-fr@2", "churn001-en-fr@3",
    ]  # fmt: skip
    registry.begin()
    steps = registry.steps()
    seen = []
    for _ in range(8):
        next(steps)()
        stable = store.resolve(AdapterRef.parse("churn001-en-fr")).manifest
        assert registry.ledger.switches["churn001-en-fr"][-1].digest == stable.digest
        seed = int(versions[stable.digest].rpartition("@")[2])
        seen.append((seed, len(registry.exact)))
    assert seen == [(1, 3), (2, 3), (2, 4), (3, 4), (2, 4), (2, 3), (1, 3), (1, 2)]
    assert registry.done == {"publish": 2, "promote": 2, "rollback": 2, "delete": 2}
