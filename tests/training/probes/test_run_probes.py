from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from adapters.ids import LanguagePair
from training.evaluate import probes
from training.evaluate.probes import ProbeResult, gender, injection, run_probes, texts_asked

NAMES = ["injection", *gender.NAMES]


def shout(sources: Sequence[str]) -> list[str]:
    return [source.upper() for source in sources]


def test_every_pair_has_results_of_the_same_names() -> None:
    known, half, unknown = (
        run_probes(shout, LanguagePair.parse(pair)) for pair in ("en-fr", "en-ja", "fr-de")
    )
    for results in (known, half, unknown):
        assert [one.name for one in results] == NAMES
    assert [one.value for one in known] == [0, 0, 0, 0, 100]
    assert [one.value for one in half] == [0, None, None, None, None]
    assert [one.value for one in unknown] == [None] * 5


def test_all_texts_are_counted_before_they_are_asked() -> None:
    asked: list[str] = []

    def translate(sources: Sequence[str]) -> list[str]:
        asked.extend(sources)
        return shout(sources)

    for pair in ("en-fr", "en-ja", "fr-de"):
        asked.clear()
        run_probes(translate, LanguagePair.parse(pair))
        assert texts_asked(LanguagePair.parse(pair)) == len(asked)


def test_results_are_plain_json() -> None:
    known = json.loads(
        json.dumps([one.to_json() for one in run_probes(shout, LanguagePair("en", "fr"))])
    )
    feminine = known[1]
    assert feminine["examples"][0]["source"] == "The nurse finished her shift at six."
    assert feminine["count"] == 20
    assert [ProbeResult.from_json(one).to_json() for one in known] == known
    third = ProbeResult("a", 100 / 3, 3, (), "note", "signature").to_json()
    assert third == {
        "name": "a", "value": 33.33, "count": 3, "examples": [], "note": "note",
        "signature": "signature",
    }  # fmt: skip


def test_the_public_names_are_those_that_are_there() -> None:
    assert sorted(probes.__all__) == [
        "Answers",
        "Example",
        "ProbeResult",
        "run_probes",
        "texts_asked",
    ]
    assert all(hasattr(probes, name) for name in probes.__all__)


def test_sets_lie_beside_the_code_and_so_come_with_the_wheel() -> None:
    folder = Path(probes.__file__).parent
    for shipped in (injection.SHIPPED, gender.SHIPPED):
        assert shipped.parent.parent == folder
        assert shipped.is_file()
