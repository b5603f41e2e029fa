from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.synthesis.masks import masked

_PIECES = st.sampled_from(
    ["a", "word", " ", ". ", "{name}", "{0}", "${x}", "{{ y }}", "<b>", "</b>", "<br/>", "%s", "%d",
     "%(user)s", "%1$s", "`code`", "https://a.org/x", "&nbsp;", "X", "0", "%", "é"]
)  # fmt: skip


@pytest.mark.parametrize(("text", "plain"), [
    ("Save {name}.", "Save X0X."),
    ("<b>Bold</b> text", "X0X Bold X1X text"),
    ("{0}s", "X0X s"),
    ("Run `make` or %(user)s", "Run X0X or X1X"),
    ("[docs](https://a.org/x)", "[docs](X0X)"),
    ("100 % of it", "100 % of it"),
    ("X0X {a}", "X0X {a}"),
])  # fmt: skip
def test_what_must_stay_has_a_name_and_comes_back(text: str, plain: str) -> None:
    made = masked(text)
    assert made.text == plain
    assert made.restore(made.text) == text


@settings(max_examples=50)
@given(st.lists(_PIECES, max_size=12))
def test_any_text_comes_back(pieces: list[str]) -> None:
    text = "".join(pieces)
    made = masked(text)
    assert made.restore(made.text) == text


def test_names_may_change_places_and_be_lost() -> None:
    made = masked("{a} of {b} <i>c</i>")
    assert made.restore("X1X de X0X") == "{b} de {a}"
    assert made.restore("X2X d X3X") == "<i>d</i>"
