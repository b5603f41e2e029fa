from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from training.augment.pieces import marks, pieces, words_of


@given(st.text())
@example("``` `a {b <c> %(x)s {{{{")
@settings(max_examples=50)
def test_pieces_joined_are_the_text(text: str) -> None:
    found = pieces(text)
    assert "".join(piece.text for piece in found) == text
    kinds = [piece.kind for piece in found]
    assert ("gap", "gap") not in pairwise(kinds)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Open the file, don't wait!", ["Open", "the", "file", "don't", "wait"]),
        ("l'état de l\u2019art est-il là ?", ["l'état", "de", "l\u2019art", "est-il", "là"]),
        ("Run `kubectl get pods` on <b class='a b'>every</b> node", ["Run", "on", "every", "node"]),
        ("See [the docs](https://a.b/c d) at https://x.y/z", ["See", "docs", "at"]),
        ("{count, plural, one {# item} other {# items}} left", ["left"]),
        ("Hello %(name)s, %s of {0} in ${HOME} and {{< param x >}}", ["Hello", "of", "in", "and"]),
        ("use --force or /etc/hosts, file.txt, my_name and v1.2", ["use", "or", "and"]),
        ("```\nraw code\n```\nthen text", ["then", "text"]),
        ("x is $a + b$ here", ["x", "is", "here"]),
        ("हिन्दी में लिखें", ["हिन्दी", "में", "लिखें"]),
        ("保存3个文件。", ["保", "存", "个", "文", "件"]),
        ("打开 <b>文件</b>", ["打", "开", "文", "件"]),
    ],
)
def test_words_are_what_a_translator_translates(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_marks_are_markup_and_line_breaks_and_nothing_else() -> None:
    assert marks("Open the file") == {}
    assert marks("Open\n`x` {0} <b>it</b>").keys() == {"\n", "`x`", "{0}", "<b>", "</b>"}


@pytest.mark.parametrize("text", ["`" * 20_000, "{" * 20_000, "<a" * 20_000, "a!" * 20_000])
def test_markup_that_never_ends_takes_no_time(text: str) -> None:
    assert "".join(piece.text for piece in pieces(text)) == text
