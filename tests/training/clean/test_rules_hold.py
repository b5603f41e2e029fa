"""What holds of every text: no crash, no hang, no memory, and whitespace decides nothing."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.ids import LanguagePair
from training.clean.rules import Cleaner, CleanRules
from training.corpus.segment import Segment

PAIRS = [None, *map(LanguagePair.parse, ("en-fr", "en-zh", "ja-en", "en-th", "ru-ar", "en-tlh"))]
CLEANER = Cleaner(CleanRules(blocked_words=("x", "可恶")))
# Words, markup and odd characters, so that rules have something to get wrong.
PIECES = st.sampled_from(
    [
        "word", "mot", "的", "ノード", "под", "ไทย", "عقد", "é", "Ã©", "`", "``", "<b>", "</b>",
        "<!--", "-->", "{", "}}", "{{", "%s", "%(", "%1", "https://", "a.b", "@", "](", "&", ";",
        "12", "1,000", "٢٠", ".", "。", "!", "—", "\x1b", "\ufffd", "x",
    ]
)  # fmt: skip
SPACES = st.sampled_from([" ", "\n", "\t", "  ", "\r\n", "\n\n"])
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.tuples(PIECES, st.sampled_from(["", " ", "\n"])), max_size=20).map(
        lambda parts: "".join(piece + space for piece, space in parts)
    ),
)


@given(source=TEXTS, target=TEXTS, pair=st.sampled_from(PAIRS))
@settings(max_examples=50, deadline=None)
def test_no_text_is_too_odd_to_judge(source: str, target: str, pair: LanguagePair | None) -> None:
    rule = CLEANER.broken(Segment(source, target, "d", "p", 1, pair))
    assert rule is None or rule in CLEANER.names


@given(st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from(PAIRS)), max_size=5))
@settings(max_examples=30, deadline=None)
def test_a_verdict_does_not_depend_on_what_came_before(
    texts: list[tuple[str, str, LanguagePair | None]],
) -> None:
    segments = [Segment(source, target, "d", "p", 1, pair) for source, target, pair in texts]
    forwards = [CLEANER.broken(segment) for segment in segments]
    backwards = [CLEANER.broken(segment) for segment in reversed(segments)]
    assert forwards == backwards[::-1]


@given(
    words=st.lists(PIECES, min_size=1, max_size=12),
    others=st.lists(PIECES, min_size=1, max_size=12),
    spaces=st.lists(SPACES, min_size=26, max_size=26),
    pair=st.sampled_from(PAIRS),
)
@settings(max_examples=50, deadline=None)
def test_whitespace_alone_never_decides(
    words: list[str], others: list[str], spaces: list[str], pair: LanguagePair | None
) -> None:
    # Rules that count characters of whatever kind are switched off.
    cleaner = Cleaner(CleanRules(max_chars=None, max_length_ratio=None))
    plain = Segment(" ".join(words), " ".join(others), "d", "p", 1, pair)
    source = "".join(space + word for space, word in zip(spaces, words, strict=False)) + spaces[12]
    target = "".join(s + w for s, w in zip(spaces[13:], others, strict=False)) + spaces[25]
    spaced = Segment(source, target, "d", "p", 1, pair)
    assert cleaner.broken(plain) == cleaner.broken(spaced)


@pytest.mark.parametrize(
    "unit",
    ["`", "<a ", "<!--", "{", "{{", "%0", "${", "a", "a@", "@a.", "1,000", "](", "的", "é…", "&a",
     "https://", "a b ", "Ã©", ". ", "#\n"],
)  # fmt: skip
def test_a_long_text_takes_no_long_time(unit: str) -> None:
    text = unit * 20_000
    cleaner = Cleaner(CleanRules(max_chars=None, max_words=None))
    started = time.process_time()
    cleaner.broken(Segment(text, text + "b", "d", "p", 1, LanguagePair("en", "fr")))
    assert time.process_time() - started < 2
