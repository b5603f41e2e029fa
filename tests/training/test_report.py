from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from training.candidate import Candidate
from training.evaluate.chart import loss_chart
from training.evaluate.report import render
from training.methods.config import LoraMethod, Method
from training.objective import Dpo

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


@pytest.mark.parametrize(
    ("body", "made", "use"),
    [
        ({"rank": 8}, "a LoRA adapter (rank 8) on tiny", "`dragoman serve` obeys them"),
        ({"kind": "prompt"}, "embeddings of virtual tokens for tiny", "has no virtual tokens"),
        ({"kind": "bottleneck"}, "bottleneck adapters on tiny", "no layers of an adapter's own"),
        ({"kind": "full"}, "a model of its own, fine-tuned from tiny", "`dragoman serve --base`"),
    ],
)
def test_the_model_card_says_what_was_made_and_how_it_is_used(
    make_candidate: MakeCandidate, body: dict[str, Any], made: str, use: str
) -> None:
    candidate = make_candidate()
    method = TypeAdapter(Method).validate_python(body)
    recipe = candidate.recipe.model_copy(update={"method": method})
    card = render(replace(candidate, recipe=recipe), "README.md")
    assert made in card
    assert use in card
    assert f"tags: [{method.kind}, dragoman]" in card


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


def test_a_report_on_preferences_tells_before_and_after(make_candidate: MakeCandidate) -> None:
    made = make_candidate()
    changed = {"objective": Dpo(kind="dpo", nll_weight=0.5)}
    candidate = replace(
        made,
        recipe=made.recipe.model_copy(update=changed),
        fit=replace(made.fit, preferences=((0, 0.25, 0.0), (8, 0.75, 1.5))),
    )
    card, report = (render(candidate, name) for name in ("README.md", "report.html"))
    assert "DPO on preferences, beta 0.1, weight of the chosen side's own loss 0.5" in card
    assert "likelier in 75 % after training, 25 % before; mean reward margin 1.50" in card
    assert "75.0 %" in report
    assert candidate.summary()["dev_preferred"] == [0.25, 0.75]
    assert "Preferences" not in render(made, "report.html")


def test_a_base_held_in_four_bits_is_told_beside_the_scores(make_candidate: MakeCandidate) -> None:
    candidate = make_candidate()
    nf4 = candidate.recipe.model_copy(update={"method": LoraMethod(quantize="nf4")})
    for name in ("README.md", "report.html"):
        assert "nf4" not in render(candidate, name)
        page = render(replace(candidate, recipe=nf4), name)
        assert "1.200" in page  # the last loss on dev, on the base in nf4
        assert "as it is served" in page
