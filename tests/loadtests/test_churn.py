from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.ids import AdapterRef
from adapters.registry import FileRegistry
from loadtests.churn import metric_sum
from loadtests.churn_answers import Answer, agrees, distances, drift, mistaken, tolerance_of
from loadtests.churn_ledger import Ledger
from loadtests.churn_registry import ChurnRegistry, Crowd
from tests import fakes

ALONE = Answer((5, 6, 7), ({"5": -1.0, "9": -3.0}, {"6": -0.5, "2": -2.5}, {"7": -0.7, "8": -0.72}))


def moved(place: int, **candidates: float) -> Answer:
    """Return ALONE with other candidates at one place: `t5` stands for the token 5."""
    changed = {token.removeprefix("t"): p for token, p in candidates.items()}
    found = [changed if at == place else c for at, c in enumerate(ALONE.candidates)]
    return replace(ALONE, candidates=tuple(found))


def test_rounding_within_the_tolerance_agrees_and_more_does_not() -> None:
    near = moved(0, t5=-1.01, t9=-3.03)
    assert drift(near, ALONE) == pytest.approx(0.02)
    assert agrees(near, ALONE, 0.021)
    assert not agrees(near, ALONE, 0.019)


def test_the_place_of_the_first_other_token_still_compares_and_no_later_one() -> None:
    early = replace(moved(1, t6=-9.0, t2=-0.1), token_ids=(5, 2, 7))
    late = replace(moved(2, t7=-9.0, t8=-0.1), token_ids=(5, 2, 8))
    assert not agrees(early, ALONE, 0.1)
    assert agrees(late, ALONE, 0.0)


def test_a_candidate_that_is_missing_is_taken_for_less_probable_than_all() -> None:
    assert drift(moved(0, t5=-1.0, t4=-3.0), ALONE) == 0
    assert drift(moved(0, t3=-5.0, t4=-7.0), ALONE) == pytest.approx((6.0 + 4.0) / 2)


def test_a_shorter_answer_is_wrong() -> None:
    short = Answer((5, 6), ALONE.candidates[:2])
    assert not agrees(short, ALONE, math.nextafter(math.inf, 0))


def test_tolerance_is_twice_what_batching_did() -> None:
    assert tolerance_of([(ALONE, ALONE), (moved(1, t6=-0.46, t2=-2.5), ALONE)]) == pytest.approx(
        0.04
    )


def test_versions_that_answer_alike_are_found_before_the_check_is_trusted() -> None:
    other = moved(0, t5=-2.0, t9=-4.0)
    references = {("a", 0): ALONE, ("b", 0): other, ("b", 1): ALONE, ("a", 1): other}
    assert not mistaken(references, 0.1)
    assert len(mistaken(references, 1.5)) == 4
    assert distances(references) == pytest.approx([1.0] * 4)


def test_answer_is_read_from_a_completion() -> None:
    top = [{"token_id:5": -1.0, "token_id:9": -3.0}, {"token_id:6": -0.5, "token_id:2": -2.5}]
    body = {"choices": [{"token_ids": [5, 6], "logprobs": {"top_logprobs": top}}]}
    assert Answer.parse(body) == Answer((5, 6), tuple(top))


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
