"""The blocks of a Markdown page: what stands in each, of what kind it is, and where."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

# Front matter that readers see.
SPOKEN_KEYS: Final = ("title", "linkTitle", "description", "sidebar_label", "short_description")
_FRONT: Final = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_ANCHOR: Final = re.compile(r"[ \t]*\{#[^{}\s]+\}[ \t]*$")
# Hugo's shortcodes that stand in a sentence; all others are of the layout.
_SPOKEN: Final = {"glossary_tooltip", "skew", "param", "latest-version", "link", "ref", "relref"}
_SHORTCODE_LINE: Final = re.compile(r"\s*\{\{[<%]\s*/?([\w-]+)[^{}]*[%>]\}\}\s*$")
_ADMONITION: Final = re.compile(r"\s*:{3,}")
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table")


@dataclass(frozen=True, slots=True)
class Block:
    """One block as it was written, without the marks of what it stands in.

    `kind` is p, h1 to h6, li, quote, cell, code, html, rule, or front:KEY; depth of lists and
    quotes is in it (li2). `line` is the first, from 1.
    """

    kind: str
    text: str
    line: int

    @property
    def is_spoken(self) -> bool:
        """Whether the block has words to translate."""
        return self.kind not in {"code", "html", "rule"} and bool(self.text)


def blocks(page: str) -> list[Block]:
    """Return the blocks of `page` in order, its front matter's spoken values first.

    Soft line breaks are joined (between two wide characters without a space), `{#anchors}` and
    the layout's shortcodes are left out, all other markup stays.
    """
    page = page.removeprefix("\ufeff").replace("\r\n", "\n")
    match = _FRONT.match(page)
    front = list(_of_front(match[1])) if match else []
    skipped = page.count("\n", 0, match.end()) if match else 0
    return [*front, *body_blocks(page[match.end() :] if match else page, skipped)]


def body_blocks(text: str, skipped: int = 0) -> Iterator[Block]:
    """Yield the blocks of Markdown without front matter; `skipped` lines come before it."""
    within: list[str] = []
    for token in _MARKDOWN.parse(text):
        line = skipped + (token.map[0] if token.map else 0) + 1
        if token.nesting == 1:
            within.append(token.type.removesuffix("_open") + _level(token))
        elif token.nesting == -1:
            within.pop()
        elif token.type == "inline":
            yield Block(_kind(within), _spoken(token.content), line)
        elif token.type in {"fence", "code_block"}:
            yield Block("code", token.content, line)
        elif token.type == "html_block":
            yield Block("html", token.content, line)
        elif token.type == "hr":
            yield Block("rule", "", line)


def front_values(text: str) -> dict[str, str]:
    """Return the spoken values of front matter; none of what is no YAML."""
    try:
        body: Any = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    found = ((key, body.get(key)) for key in SPOKEN_KEYS)
    return {key: value.strip() for key, value in found if isinstance(value, str) and value.strip()}


def _of_front(text: str) -> Iterator[Block]:
    for key, value in front_values(text).items():
        yield Block(f"front:{key}", value, 1)


def _level(token: Token) -> str:
    return token.tag[1:] if token.type == "heading_open" else ""


def _kind(within: Sequence[str]) -> str:
    leaf = within[-1] if within else "paragraph"
    if leaf.startswith("heading"):
        return f"h{leaf.removeprefix('heading')}"
    if leaf in {"th", "td"}:
        return "cell"
    if depth := sum(name == "list_item" for name in within):
        return f"li{depth}"
    return "quote" if "blockquote" in within else "p"


def _spoken(content: str) -> str:
    lines = content.split("\n")
    while lines and _is_layout(lines[0]):
        lines.pop(0)
    while lines and _is_layout(lines[-1]):
        lines.pop()
    return _ANCHOR.sub("", joined(lines)).strip()


def _is_layout(line: str) -> bool:
    match = _SHORTCODE_LINE.match(line)
    return bool(match and match[1] not in _SPOKEN) or bool(_ADMONITION.match(line))


def joined(lines: Sequence[str]) -> str:
    """Return lines of one paragraph as one, hard breaks kept."""
    text, is_broken = "", False
    for line in lines:
        piece = line.strip(" \t")
        if not text or not piece:
            text += piece
        elif is_broken:
            text += f"\n{piece}"
        else:
            text += piece if _are_wide(text[-1], piece[0]) else f" {piece}"
        is_broken = line.endswith(("  ", "\\"))
    return text


def _are_wide(before: str, after: str) -> bool:
    return all(unicodedata.east_asian_width(char) in "WF" for char in (before, after))
