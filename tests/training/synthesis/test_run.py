"""A whole synthesis with a fake engine."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import SynthesisFailed
from adapters.ids import LanguagePair
from training.corpus.segment import Segment, load_jsonl
from training.synthesis.cost import Price
from training.synthesis.direction import Direction
from training.synthesis.journal import journal_of
from training.synthesis.judge import Judge
from training.synthesis.run import Outcome, Plan, synthesize
from training.synthesis.translator import Answer, Fault, Job, Patience, core_of

EN_FR = LanguagePair("en", "fr")
TEXTS = [Segment(f"Open {n}", f"Ouvrir {n}", f"doc{n}", "a.tmx", n, EN_FR) for n in range(10)]


class Capitals:
    """Answers in capitals and backwards in order; stops or fails where the test says."""

    def __init__(self, *, stop_after: int | None = None, model: str = "one") -> None:
        self.stop_after = stop_after
        self.model = model
        self.asked: list[Job] = []
        self.special: dict[str, Answer] = {}

    @property
    def identity(self) -> dict[str, Any]:
        return {"engine": "capitals", "model": self.model}

    def translate(self, jobs: Iterable[Job]) -> Generator[tuple[Job, Answer], None, None]:
        for job in reversed(list(jobs)):
            if len(self.asked) == self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(job)
            answer = Answer(f"{job.text.upper()}{'!' * job.sample}", -0.5, 100, 10)
            yield job, self.special.get(job.text, answer)


def run(
    out: Path,
    engine: Capitals,
    *,
    back: bool = False,
    samples: int = 1,
    min_logprob: float | None = None,
    said: list[str] | None = None,
) -> Outcome:
    plan = Plan(TEXTS, Direction(EN_FR, back), out, samples)
    judge = Judge(lambda s: "seven" if "7" in s.source else None, min_logprob)
    return synthesize(plan, engine, judge, say=(said if said is not None else []).append)


def test_a_teacher_makes_targets_and_the_place_of_the_text_stays(tmp_path: Path) -> None:
    out = tmp_path / "synthetic.jsonl"
    outcome = run(out, Capitals())
    written = load_jsonl(out)
    assert [s.source for s in written] == [f"Open {n}" for n in range(10) if n != 7]
    assert written[3] == Segment("Open 3", "OPEN 3", "doc3", "a.tmx", 3, EN_FR)
    assert outcome.to_json()["clean"]["dropped"] == {"seven": 1}
    assert outcome.to_json()["clean"]["samples"]["seven"][0]["source"] == "Open 7"


def test_back_translation_keeps_the_real_target(tmp_path: Path) -> None:
    out = tmp_path / "synthetic.jsonl"
    run(out, Capitals(), back=True)
    assert load_jsonl(out)[3] == Segment("OUVRIR 3", "Ouvrir 3", "doc3", "a.tmx", 3, EN_FR)


def test_several_samples_of_a_text_stand_beside_each_other(tmp_path: Path) -> None:
    run(tmp_path / "o.jsonl", Capitals(), back=True, samples=2)
    assert [s.source for s in load_jsonl(tmp_path / "o.jsonl")][:4] == [
        "OUVRIR 0", "OUVRIR 0!", "OUVRIR 1", "OUVRIR 1!",
    ]  # fmt: skip


def test_stopped_in_the_midst_it_goes_on_and_gives_the_same(tmp_path: Path) -> None:
    run(tmp_path / "whole.jsonl", Capitals())
    out, said = tmp_path / "stopped.jsonl", list[str]()
    with pytest.raises(KeyboardInterrupt):
        run(out, Capitals(stop_after=4))
    assert not out.exists()
    second = Capitals()
    outcome = run(out, second, said=said)
    assert len(second.asked) == 6
    assert "4 answers already" in said[0]
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (outcome.cost.requests, outcome.cost_before.requests) == (6, 4)


def test_a_second_run_asks_nothing(tmp_path: Path) -> None:
    run(tmp_path / "o.jsonl", Capitals())
    again = Capitals(stop_after=0)
    assert run(tmp_path / "o.jsonl", again).cost.to_json()["requests"] == 0


def test_another_model_asks_anew_and_says_so(tmp_path: Path) -> None:
    run(tmp_path / "o.jsonl", Capitals())
    other, said = Capitals(model="two"), list[str]()
    run(tmp_path / "o.jsonl", other, said=said)
    assert len(other.asked) == 10
    assert "10 answers of another engine, model or prompt" in said[0]


def test_what_the_engine_finds_improbable_is_dropped(tmp_path: Path) -> None:
    engine = Capitals()
    engine.special = {"Open 2": Answer("x", -4.0), "Open 3": Answer("y", None)}
    body = run(tmp_path / "o.jsonl", engine, min_logprob=-3.0).to_json()
    assert body["clean"]["dropped"] == {"improbable": 1, "seven": 1}
    assert body["without_logprob"] == 1


def test_what_has_no_answer_is_counted_and_asked_again(tmp_path: Path) -> None:
    engine = Capitals()
    engine.special = {
        "Open 1": Answer("", fault=Fault.REFUSED),
        "Open 2": Answer("", requests=6, fault=Fault.UNANSWERED),
        "Open 3": Answer("bla bla", fault=Fault.CUT),
    }
    outcome = run(tmp_path / "o.jsonl", engine)
    assert outcome.to_json()["clean"]["dropped"] == {
        "refused": 1, "unanswered": 1, "cut": 1, "seven": 1,
    }  # fmt: skip
    assert outcome.cost.requests == 10 + 5
    again = Capitals()
    run(tmp_path / "o.jsonl", again)
    assert sorted(job.text for job in again.asked) == ["Open 1", "Open 2"]


def test_cost_is_counted_and_priced(tmp_path: Path) -> None:
    outcome = run(tmp_path / "o.jsonl", Capitals())
    cost = outcome.to_json(Price(prompt=2.0, completion=10.0))["cost"]
    assert cost["prompt_tokens"] == 1000
    assert cost["completion_tokens"] == 100
    assert cost["characters"] == 60
    assert cost["money"] == pytest.approx(0.003)
    assert "money" not in outcome.to_json()["cost"]


def test_nothing_that_can_be_kept_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    out.write_text("old")
    engine = Capitals()
    engine.special = {s.source: Answer("", fault=Fault.CUT) for s in TEXTS}
    with pytest.raises(SynthesisFailed, match="'cut': 10"):
        run(out, engine)
    assert out.read_text() == "old"
    assert journal_of(out).is_file()


def test_texts_of_the_pair_and_of_its_language_are_taken_once() -> None:
    alone = LanguagePair("fr", "fr")
    segments = [
        Segment("Save", "Enregistrer", "d", "f", 1, EN_FR),
        Segment("Store", "Enregistrer", "d", "f", 2, EN_FR),
        Segment("Ouvrir", "Ouvrir", "d", "f", 3, alone),
        Segment("Sichern", "Save", "d", "f", 4, LanguagePair("de", "en")),
        Segment("x", "  ", "d", "f", 5, EN_FR),
    ]
    assert [s.line for s in Direction(EN_FR, back=True).originals(segments)] == [1, 3]
    assert [s.line for s in Direction(EN_FR).originals(segments)] == [1, 2, 5]


@pytest.mark.parametrize("text", ["a", " a", "a\n", "\t a b \n\n", "a a"])
def test_the_core_of_a_text_has_its_whitespace_beside(text: str) -> None:
    before, core, after = core_of(text)
    assert before + core + after == text
    assert core == text.strip()


def test_an_engine_that_has_answered_may_refuse_any_number() -> None:
    patience = Patience("engine")
    patience.heard()
    for _ in range(100):
        patience.failed("too long", is_refusal=True)
    for _ in range(7):
        patience.failed("gone")
    with pytest.raises(SynthesisFailed, match="engine: 8 texts in a row"):
        patience.failed("gone")
