"""Charts and marked words, piece by piece."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.training.page.bodies import SCRIPT, Page
from training.evaluate.page import environment
from training.evaluate.page.charts import Bar, bar_chart
from training.evaluate.page.curves import loss_curves
from training.evaluate.page.svg import ticks
from training.evaluate.page.words import compared


def rows(svg: str, tag: str, *names: str) -> list[list[float]]:
    found = [attributes for name, attributes in Page(svg).found if name == tag]
    return [[float(one[name] or 0) for name in names] for one in found]


def test_bars_are_as_long_as_their_values() -> None:
    svg = str(bar_chart("chrF++", [Bar("a", 40.0, (30.0, 50.0)), Bar("b", 20.0), Bar("c", 0.0)]))
    (first, second, third) = [width for (width,) in rows(svg, "rect", "width")]
    assert first == pytest.approx(2 * second, rel=0.01)
    assert third == 1.0
    assert "40.0" in svg
    # The interval: one line along the bar and one at each end, then the axis.
    ends = rows(svg, "line", "x1", "x2")
    assert ends[0] == pytest.approx([0.75 * first, 1.25 * first], rel=0.01)
    assert len(ends) == 3 + 1


def test_the_baseline_says_that_it_is_one() -> None:
    svg = str(bar_chart("BLEU", [Bar(SCRIPT, 1.0, None, is_baseline=True), Bar("b", 2.0)]))
    assert "(baseline)" in svg
    assert svg.count("(baseline)") == 1
    assert len({attributes["fill"] for attributes in Page(svg).all("rect")}) == 2
    assert not Page(svg).all("script")


def test_nothing_leaves_the_picture() -> None:
    bars = [Bar("n" * 400, 312.5, (100.0, 431.25)), Bar("b", 5.0, (1.0, 9.0))]
    svg = str(bar_chart("TER", bars))
    (width,) = map(float, re.findall(r'viewBox="0 0 (\d+)', svg))
    assert all(x2 <= width for (x2,) in rows(svg, "line", "x2"))
    assert all(x + 6 * len("312.5") <= width for (x,) in rows(svg, "text", "x"))


def test_each_run_has_a_colour_a_label_and_a_dashed_line_of_dev() -> None:
    losses = {
        "r4": {"train": [[5, 2.0], [60, 1.0]], "dev": [[20, 1.5], [60, 1.2]]},
        f"r16 {SCRIPT}": {"train": [[5, 2.2], [60, 0.8]], "dev": []},
    }
    svg = str(loss_curves(losses))
    curves = Page(svg).all("polyline")
    assert len(curves) == 3
    assert [("stroke-dasharray" in curve) for curve in curves] == [False, True, False]
    assert curves[0]["stroke"] == curves[1]["stroke"] != curves[2]["stroke"]
    assert "optimizer steps" in svg
    assert "nats per target token" in svg
    assert not Page(svg).all("script")


def test_losses_fall_downwards_and_steps_go_right() -> None:
    svg = str(loss_curves({"a": {"train": [[5, 2.0], [30, 1.5], [60, 1.0]], "dev": []}}))
    points = [
        tuple(map(float, p.split(","))) for p in str(Page(svg).all("polyline")[0]["points"]).split()
    ]
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in itertools.pairwise(points))


def test_a_loss_that_is_no_number_is_left_out() -> None:
    astray: Any = {
        "a": {"train": [[5, 2.0], [10, float("nan")], [20, float("inf")]], "dev": [[5, None]]}
    }
    svg = str(loss_curves(astray))
    assert "nan" not in svg
    assert "inf" not in svg
    assert loss_curves({"a": {"train": [[1, float("nan")]], "dev": []}}) is None
    assert loss_curves({}) is None


@given(low=st.floats(-1e6, 1e6), wide=st.floats(1e-3, 1e6))
def test_ticks_are_few_and_hold_everything(low: float, wide: float) -> None:
    found = ticks(low, low + wide)
    assert found[0] <= low + wide * 1e-6
    assert found[-1] >= (low + wide) - wide * 1e-6
    assert 2 <= len(found) <= 8


def test_ticks_of_one_value_are_two() -> None:
    assert len(ticks(1.0, 1.0)) >= 2
    assert len(ticks(0.0, 0.0)) >= 2


@given(answer=st.text(max_size=40), reference=st.text(max_size=40))
def test_pieces_are_the_texts(answer: str, reference: str) -> None:
    left, right = compared(answer, reference)
    assert "".join(piece.text for piece in left) == answer
    assert "".join(piece.text for piece in right) == reference
    same = [[piece.text for piece in side if piece.kind == "same"] for side in (left, right)]
    assert "".join(same[0]) == "".join(same[1])


@pytest.mark.parametrize(("answer", "reference", "expected"), [
    ("Ouvrir le fichier", "Ouvrir un fichier", "Ouvrir [le] fichier | Ouvrir [un] fichier"),
    ("打开文件", "打开文档", "打开文[件] | 打开文[档]"),
    ("a", "a", "a | a"),
    ("", "Annuler", " | [Annuler]"),
])  # fmt: skip
def test_differences_are_words_or_signs_of_their_script(
    answer: str, reference: str, expected: str
) -> None:
    sides = [
        "".join(piece.text if piece.kind == "same" else f"[{piece.text}]" for piece in side)
        for side in compared(answer, reference)
    ]
    assert " | ".join(sides) == expected


def test_very_long_texts_are_cut() -> None:
    left, right = compared("a b " * 100_000, "x" * 100_000)
    assert sum(len(piece.text) for piece in (*left, *right)) < 1300


def test_numbers_are_written_for_people() -> None:
    assert environment.number(1234.56) == "1,234.6"
    assert environment.number(None) == "\N{EN DASH}"
    assert [environment.signed(n) for n in (1.26, -0.04, 0.0)] == ["+1.3", "0.0", "0.0"]
    assert environment.signed(-1.25, 2) == "\N{MINUS SIGN}1.25"
    assert [environment.span(s) for s in (4.1, 95.0, 720.0, 5400.0)] == [
        "4.1 s", "95 s", "12 min", "1.5 h",
    ]  # fmt: skip
