"""The pages of `dragoman eval` and `dragoman compare`: what they show, and what they must not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.training.page.bodies import Page, comparison_body, evaluation_body
from training.evaluate.page.comparison_page import comparison_page
from training.evaluate.page.evaluation_page import evaluation_page

PAGES = {
    "evaluation": lambda: evaluation_page(evaluation_body()),
    "comparison": lambda: comparison_page(comparison_body()),
}


@pytest.fixture(scope="module", params=PAGES)
def text(request: pytest.FixtureRequest) -> str:
    return str(PAGES[request.param]())


@pytest.fixture(scope="module")
def evaluation() -> str:
    return evaluation_page(evaluation_body())


@pytest.fixture(scope="module")
def comparison() -> str:
    return comparison_page(comparison_body())


def words(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_all_that_stood_in_a_file_or_came_from_a_model_is_escaped(text: str) -> None:
    page = Page(text)
    assert not page.all("script")
    assert text.count("&lt;script&gt;") >= 10
    assert text.lstrip().startswith("<!doctype html>")


def test_nothing_is_fetched_and_nothing_runs(text: str) -> None:
    names = {name for _, attributes in Page(text).found for name in attributes}
    assert not names & {"src", "href", "srcset", "action", "style"}
    assert not [name for name in names if name.startswith("on")]
    assert "url(" not in text
    assert "@import" not in text
    assert "http" not in Page(text).texts["style"][0]


def test_it_prints_dark_on_white_and_cuts_no_row(text: str) -> None:
    (style,) = Page(text).texts["style"]
    printed = style.partition("@media print {")[2]
    assert "background: #fff" in printed
    assert "color-scheme: light;" in printed
    kept_whole = re.search(r"([^{}]+)\{ break-inside: avoid", printed)
    assert kept_whole is not None
    assert {"tr", "svg", ".segment"} <= {name.strip() for name in kept_whole[1].split(",")}
    assert ".scroll { overflow: visible" in printed


def test_it_fits_a_phone_and_the_dark(text: str) -> None:
    page = Page(text)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    (style,) = page.texts["style"]
    assert "color-scheme: light dark" in style
    assert "@media (max-width: 40rem)" in style
    # Every wide table scrolls by itself, so that the page does not.
    assert text.count("<table") == len(re.findall(r'<div class="scroll"><table', text))


def test_charts_are_told_to_who_does_not_see_them(text: str) -> None:
    charts = Page(text).all("svg")
    assert len(charts) >= 3
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)


def test_every_figure_of_the_scoreboard_is_shown(evaluation: str) -> None:
    board, shown = evaluation_body()["scoreboard"], words(evaluation)
    for row in board["systems"]:
        for score in row["scores"].values():
            assert f"<strong>{score['value']:,.1f}</strong>" in shown
            low, high = score["ci95"]
            assert f"{low:,.1f} to {high:,.1f}" in shown
    for metric in ("chrF++", "BLEU", "TER"):
        assert f"{metric} {board['systems'][0]['scores'][metric]['signature']}" in evaluation
    assert board["significance"] in evaluation
    assert "p = 0." in shown
    assert "TER, less is better" in shown


def test_faults_and_cost_are_shown_by_system(evaluation: str) -> None:
    shown = words(evaluation)
    assert '<td class="n">25.0 %</td>' in shown  # one of four answers of the earlier one is empty
    assert '<td class="n">20.0</td><td class="n">10.0</td><td class="n">2.0</td>' in shown
    assert "the sources as they are" in shown


def test_data_licence_digest_command_and_date_are_shown(evaluation: str) -> None:
    for expected in (
        "sha256:111111111111", "sha256:222222222222", "1,234", "2026-11-22", "sacrebleu",
        "dragoman eval --data", "English to French", "CPU cores",
    ):  # fmt: skip
        assert expected in evaluation


def test_the_worst_segments_are_marked_word_by_word() -> None:
    body = evaluation_body()
    page = Page(evaluation_page({**body, "system": "earlier"}))
    assert "{name}" in "".join(page.texts["ins"])
    assert "Sauver" in page.texts["del"]
    assert "Enregistrer" in page.texts["ins"]
    faults = [attributes for attributes in page.all("span") if attributes.get("class") == "fault"]
    assert faults


def test_texts_say_their_language_and_find_their_direction(evaluation: str) -> None:
    texts = [cell for cell in Page(evaluation).all("dd") if "lang" in cell]
    assert {cell["lang"] for cell in texts} == {"en", "fr"}
    assert all(cell["dir"] == "auto" for cell in texts)


@pytest.mark.parametrize(("key", "chapter"), [("probes", "Probes"), ("neural", "Neural metrics")])
def test_what_was_not_measured_has_no_chapter(key: str, chapter: str, evaluation: str) -> None:
    assert f"<h2>{chapter}" in evaluation
    assert f"<h2>{chapter}" not in evaluation_page(evaluation_body(**{key: []}))


def test_a_body_survives_being_written_and_read() -> None:
    body = evaluation_body()
    assert evaluation_page(json.loads(json.dumps(body))) == evaluation_page(body)


def test_a_failed_system_is_listed_with_its_error(comparison: str) -> None:
    shown = words(comparison)
    assert "Not complete" in shown
    assert '<span class="bad">failed</span><small>error[out_of_memory]:' in shown
    assert "2 of 3" in comparison_page(
        comparison_body(scoreboard=_without_copy(comparison_body()["scoreboard"]))
    )


def _without_copy(board: dict[str, Any]) -> dict[str, Any]:
    return {**board, "systems": [s for s in board["systems"] if s["system"] != "source copied"]}


def test_a_training_is_shown_with_what_it_cost(comparison: str) -> None:
    shown = words(comparison)
    for expected in (
        "rank 4, alpha 8", "153,600", "0.6 MB", "2,872", "90 s", "1,234", "1.021",
        "1,534 pairs kept of 1,600 texts", "copied 66", "12 removed as leaks",
    ):  # fmt: skip
        assert expected in shown


def test_all_systems_stand_side_by_side(comparison: str) -> None:
    found = Page(comparison)
    (first, *_) = re.findall(r'<dl class="segment">.*?</dl>', comparison, re.DOTALL)
    assert first.count("<dt>") == 2 + 3
    assert found.all("polyline")


def test_a_comparison_of_which_nothing_is_done_can_be_shown() -> None:
    nothing: dict[str, Any] = {"sources": [], "references": [], "systems": {}}
    board = {**comparison_body()["scoreboard"], "systems": [], "baseline": None}
    shown = comparison_page(comparison_body(scoreboard=board, texts=nothing, losses={}))
    assert "<h2>Systems" in shown
    assert "<svg" not in shown


def test_the_shares_of_a_comparison_are_counted_where_they_are_not_given(comparison: str) -> None:
    by_segment = {
        name: {"fault": ["loop"] * 4, "chrf": [7.7] * 4}
        for name in comparison_body()["texts"]["systems"]
    }
    assert ">7.7<" not in comparison
    assert ">7.7<" in comparison_page(comparison_body(by_segment=by_segment))
