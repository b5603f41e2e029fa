from __future__ import annotations

from pathlib import Path

from adapters.reference_page import sections
from training.recipe import Recipe
from training.recipe_reference import page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_keys_is_what_the_code_reads() -> None:
    written = (DOCS / "recipe-keys.md").read_text(encoding="utf-8")
    remedy = "make it anew: python -m training.recipe_reference > docs/recipe-keys.md"
    assert written == page(), remedy


def test_every_section_and_kind_has_its_own_table() -> None:
    titles = [title for title, _ in sections(Recipe, "recipe")]
    assert len(set(titles)) == len(titles)
    assert {"data", "method (kind: lora)", "method (kind: full)", "schedule"} <= set(titles)


def test_keys_say_their_values_and_defaults() -> None:
    rows = page().splitlines()
    assert "| `rank` | number | `16` |  |" in rows
    assert any(row.startswith("| `licence` | text | **needed** |") for row in rows)
