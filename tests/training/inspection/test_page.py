"""The page of `dragoman data inspect --html`."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.ids import LanguagePair
from training.clean.rules import Cleaner, CleanRules
from training.corpus.segment import Segment
from training.inspection.chart import bar_chart
from training.inspection.marks import WHAT, Piece, marked, plain
from training.inspection.page import page, write_page
from training.inspection.profile import Profile

SCRIPT = "<script>alert(1)</script>"
EN_AR = LanguagePair("en", "ar")


def body_of(**changes: Any) -> dict[str, Any]:
    profile = Profile()
    profile.add("train", Segment(f"Save {SCRIPT}", "احفظ الملف", SCRIPT, f"/a/{SCRIPT}", 3, EN_AR))
    profile.add("test", Segment("Open", "افتح", "doc", "/a/b.tmx", 4, EN_AR))
    rejected = Segment(f"{{name}} {SCRIPT}", "اسم", "doc", "/a/b.tmx", 5, EN_AR)
    return {
        "id": f"ui-en-ar{SCRIPT}",
        "sources": [
            {"name": SCRIPT, "licence": "MIT", "segments": 1234, "digest": f"sha256:{'1' * 64}"}
        ],
        "reading": {
            "bad": 2, "shown": [f"a.tsv:3: {SCRIPT}"],
            "pages": [
                {"name": f"page {SCRIPT}", "blocks": 9, "aligned": 4},
                {"name": "whole.md", "blocks": 9, "aligned": 9},
            ],
        },
        "clean": {
            "read": 1234, "kept": 1000, "dropped": {"placeholders": 200, "empty": 0, "numbers": 34},
            "samples": {"placeholders": [rejected.to_json()], "empty": [], "numbers": []},
            "given": {"test": {"read": 10, "kept": 9, "dropped": {"placeholders": 1}}},
        },
        "split": {"by": "hash", "train": 900, "dev": 40, "test": 50, "removed_as_leak": 10},
        **profile.to_json(),
        **changes,
    }  # fmt: skip


class Tags(HTMLParser):
    """All tags with their attributes, and whether each that must be closed was."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_all_that_stood_in_a_file_is_escaped() -> None:
    text = page(body_of())
    tags = Tags(text)
    assert not tags.open
    assert "script" not in {tag for tag, _ in tags.found}
    assert text.count("&lt;script&gt;") >= 7
    assert text.lstrip().startswith("<!doctype html>")


def test_nothing_is_fetched() -> None:
    tags = Tags(page(body_of()))
    names = {name for _, attributes in tags.found for name in attributes}
    assert not names & {"src", "href", "action", "onclick"}
    assert "url(" not in page(body_of())


def test_texts_say_their_language_and_find_their_direction() -> None:
    cells = [a for tag, a in Tags(page(body_of())).found if a.get("class") == "text"]
    assert all(cell["dir"] == "auto" for cell in cells)
    assert {cell["lang"] for cell in cells} == {"en", "ar"}
    alone = Segment("a", "b", "doc", "f", 1).to_json()
    cells = [
        a for _, a in Tags(page(body_of(samples={"train": [alone]}))).found
        if a.get("class") == "text"
    ]  # fmt: skip
    assert "lang" not in cells[0]


def test_it_counts_what_became_of_the_text() -> None:
    text = re.sub(r"\s+", " ", page(body_of()))
    for expected in (
        "&minus; placeholders", ">1,234<", "81.04 %", "&minus; removed as leak",
        "placeholders or tags differ", "whoever drops the hard rows", "2 were skipped",
        "<mark>{name}</mark>", "b.tmx:5",
    ):  # fmt: skip
        assert expected in text
    assert "&minus; empty" not in text
    assert "whole.md" not in text


def test_domains_are_shown_where_there_are_some() -> None:
    assert "<th>domain</th>" not in page(body_of())
    sizes = [{**size, "domain": f"legal {SCRIPT}"} for size in body_of()["sizes"]]
    assert "legal &lt;script&gt;" in page(body_of(sizes=sizes))


def test_half_a_character_can_be_written(tmp_path: Path) -> None:
    sample = Segment("a \ud83d", "b", "doc", "f", 1, EN_AR).to_json()
    write_page(body_of(samples={"train": [sample]}), tmp_path / "page.html")
    assert "a ?" in (tmp_path / "page.html").read_text(encoding="utf-8")


def pieces(found: list[Piece]) -> str:
    return "".join(f"[{text}]" if is_marked else text for text, is_marked in found)


@pytest.mark.parametrize(("rule", "source", "target", "expected"), [
    ("placeholders", "%s of %d", "%s de", "%s of [%d] | %s de"),
    ("placeholders", 'a <b class="x">c</b>', "a c", 'a [<b class="x">]c[</b>] | a c'),
    ("placeholders", "a", "{x}", "a | [{x}]"),
    ("numbers", "10 of 1,000", "10 sur 100", "10 of [1,000] | 10 sur [100]"),
    ("addresses", "see https://a.org/x", "voir https://b.org/x",
     "see [https://a.org/x] | voir [https://b.org/x]"),
    ("loops", "go", "va va va va va", "go | [va va va va va]"),
    ("loops", "la serve sur sur sur sur un", "去去吧去吧去吧去吧",
     "la serve [sur sur sur sur] un | 去[去吧去吧去吧去吧]"),
    ("sentences", "a. b. c.", "a", "a[.] b[.] c[.] | a"),
    ("garbled", "a\x07b", "Ã©tÃ©", "a[\\x07]b | [Ã©]t[Ã©]"),
    ("long_word", "a " + "x" * 44, "b", f"a [{'x' * 44}] | b"),
    ("identical", "a", "a", "a | a"),
    ("no_such_rule", "a", "b", "a | b"),
])  # fmt: skip
def test_the_reason_is_marked_where_it_stands(
    rule: str, source: str, target: str, expected: str
) -> None:
    assert " | ".join(map(pieces, marked(rule, source, target))) == expected


def test_long_texts_are_cut() -> None:
    ((text, _),) = plain("x" * 100_000)
    assert len(text) == 601
    assert text.endswith("…")
    assert all(sum(len(t) for t, _ in side) < 700 for side in marked("loops", "ab" * 9000, "b"))


def test_every_rule_of_cleaning_is_explained() -> None:
    every = CleanRules(blocked_words=("x",), near_duplicates=0.9)
    assert {*Cleaner(every).names} <= WHAT.keys()


def test_a_chart_has_a_bar_for_every_count_and_few_labels() -> None:
    edges = [float(n) for n in range(1, 51)]
    svg = str(bar_chart(edges, {"source": [1] * 49, "target": [2] * 49}, "segments"))
    assert svg.count("<rect") == 2 * 49 + 2
    assert svg.count("<text") < 35
    assert not Tags(svg).open
    assert "source, 1 to 2: 1" in svg
    assert "<svg" in bar_chart([1.0, 2.0], {"segments": [0]}, "nothing")


def test_inspect_writes_the_page_and_its_json_has_the_same_numbers(tmp_path: Path) -> None:
    rows = [f"Open {n}\tOuvrir {n}" for n in range(30)]
    (tmp_path / "pairs.tsv").write_text("\n".join([*rows, rows[0]]), encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "id: ui-en-fr\nlicence: MIT\ndata: [{tsv: pairs.tsv, licence: MIT}]\n"
        "split: {dev: 3, test: 5}\n"
    )
    out = tmp_path / "page.html"
    arguments = ["data", "inspect", str(tmp_path / "recipe.yaml"), "--json", "--html", str(out)]
    done = CliRunner().invoke(dragoman.build_app(), arguments)
    assert done.exit_code == 0, done.output
    body = json.loads(done.stdout)
    assert out.read_text(encoding="utf-8") == page(body)
    assert sum(body["histograms"]["chars"]["source"]) == sum(
        body["split"][part] for part in ("train", "dev", "test")
    )
    assert {s["part"]: s["segments"] for s in body["sizes"]}["train"] == body["split"]["train"]
