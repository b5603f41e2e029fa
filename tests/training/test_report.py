from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser

import pytest
import yaml

from training.candidate import Candidate
from training.evaluate.chart import loss_chart
from training.evaluate.report import render

MakeCandidate = Callable[..., Candidate]


class Balance(HTMLParser):
    """Counts tags that must be closed, and keeps the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.add(tag)
        if tag in {"table", "div", "svg", "strong", "code", "h1", "h2", "style", "title"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag


def test_the_model_card_has_scores_signatures_data_licence_and_limits(
    make_candidate: MakeCandidate,
) -> None:
    card = render(make_candidate(), "README.md")
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "CC0-1.0"
    assert yaml.safe_load(front)["language"] == ["en", "fr"]
    for expected in (
        "nw:2",
        "tok:13a",
        "| **100.0** |",
        "sha256:111",
        "MIT",
        "Limitations",
        "Gemma",
    ):
        assert expected in body
    assert "3 examples in turns" in body


def test_the_report_is_one_file_of_balanced_html_without_requests(
    make_candidate: MakeCandidate,
) -> None:
    page = render(make_candidate(), "report.html")
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "svg" in parser.seen
    assert not {"script", "link", "img", "i"} & parser.seen
    assert "http" not in page


def test_segments_are_text_in_the_report_and_stay_whole(make_candidate: MakeCandidate) -> None:
    page = render(make_candidate(), "report.html")
    assert "Ouvrir le fichier &lt;3&gt;" in page
    assert "&lt;i&gt;a&lt;/i&gt;" in page
    assert "fichier &lt;4&gt;" not in page  # the recipe asks for four samples


def test_a_failed_gate_is_told_in_both(make_candidate: MakeCandidate) -> None:
    candidate = make_candidate(good=False)
    assert "Gate: not passed; chrF++" in render(candidate, "README.md")
    assert "Gate not passed" in render(candidate, "report.html")


@pytest.mark.parametrize("losses", [(), ((1, 2.0),)])
def test_a_short_run_has_no_curve(losses: tuple[tuple[int, float], ...]) -> None:
    assert loss_chart(losses, ()) is None


def test_the_summary_has_what_the_demo_prints(make_candidate: MakeCandidate) -> None:
    summary = make_candidate().summary()
    wanted = {
        "id", "base_bleu", "bleu", "base_chrf", "chrf", "copy_chrf", "p_value", "signature",
        "train_s", "train_tok_s", "samples", "dropped",
    }  # fmt: skip
    assert wanted <= summary.keys()
    assert set(summary["samples"][0]) == {"source", "translation", "reference"}
    assert summary["chrf"] == 100.0
