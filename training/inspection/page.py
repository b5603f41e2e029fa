"""The page of `dragoman data inspect --html`: one file that opens offline."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import jinja2

from training.inspection import marks
from training.inspection.chart import bar_chart

_TEMPLATES: Final = Path(__file__).parent / "templates"
_MOST_PAGES: Final = 40
_PARTS: Final = ("train", "dev", "test")


def page(body: Mapping[str, Any]) -> str:
    """Return the page on `body`, which is what `dragoman data inspect --json` prints.

    All that stood in a file is escaped.
    """
    histograms = body["histograms"]
    lengths, ratio = histograms["chars"], histograms["ratio"]
    return (
        _environment()
        .get_template("inspect.html.j2")
        .render(
            body=body,
            parts=_PARTS,
            flow=_flow(body),
            has_domains=any(size["domain"] for size in body["sizes"]),
            lengths=bar_chart(
                lengths["edges"],
                {side: lengths[side] for side in ("source", "target")},
                "segments by characters",
            ),
            ratio=bar_chart(
                ratio["edges"],
                {"segments": ratio["segments"]},
                "segments by characters of the target to one of the source",
            ),
            pages=_least_aligned(body["reading"]["pages"]),
            what=marks.WHAT,
            marked=marks.marked,
            plain=marks.plain,
            measures=marks.measures,
            languages=_languages,
        )
    )


def write_page(body: Mapping[str, Any], path: Path) -> None:
    """Write the page; half a character is written as a question mark."""
    path.write_text(page(body), encoding="utf-8", errors="replace")


def _flow(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the steps from what was read to the parts: name, count, and the share of all read."""
    clean, split = body["clean"], body["split"]
    steps = [
        ("read", clean["read"], "read"),
        *((rule, count, "dropped") for rule, count in clean["dropped"].items() if count),
        ("kept", clean["kept"], "kept"),
        ("removed as leak", split["removed_as_leak"], "dropped"),
        *((part, split[part], "part") for part in _PARTS),
    ]
    total = max(1, clean["read"])
    return [
        {"name": name, "count": count, "kind": kind, "percent": 100 * count / total}
        for name, count, kind in steps
        if count or kind != "dropped"
    ]


def _least_aligned(pages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    order = sorted(pages, key=lambda one: one["aligned"] - one["blocks"])
    return [one for one in order if one["aligned"] < one["blocks"]][:_MOST_PAGES]


def _languages(sample: Mapping[str, Any]) -> list[str]:
    """Return the language tags of both sides, empty where nobody said them."""
    codes = str(sample.get("pair", "-")).split("-")
    return [code.replace("_", "-") for code in codes]


@cache  # compiling a template takes longer than rendering it
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
