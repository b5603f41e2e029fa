"""The blocks of a Markdown page: what stands in each, of what kind it is, and where."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import dropwhile
from typing import Any, Final

import yaml
from markdown_it import MarkdownIt
from markdown_it.token import Token

# Front matter that readers see.
SPOKEN_KEYS: Final = ("title", "linkTitle", "description", "sidebar_label", "short_description")
_FRONT: Final = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_LONGEST_FRONT: Final = 2**16
# An anchor as Hugo writes it {#so}, and as MDX does {/* #so */}.
_ANCHOR: Final = re.compile(r"(?<![ \t])[ \t]*\{(?:#[^{}\s]+|/\*[^{}]*\*/)\}[ \t]*$")
# The ends of comments; in code they are none.
_MARKS: Final = re.compile(r"`[^`\n]*`|<!--|-->")
# Hugo's shortcodes that stand in a sentence; all others are of the layout.
_SPOKEN: Final = {"glossary_tooltip", "skew", "param", "latest-version", "link", "ref", "relref"}
_SHORTCODE_LINE: Final = re.compile(r"\s*+\{\{[<%]\s*+/?([\w-]++)[^{}]*+(?<=[%>])\}\}\s*+$")
# The marks of an admonition, and what MDX imports.
_ADMONITION: Final = re.compile(r"\s*+:{3,}|import\s[^;]*\sfrom\s*['\"][^'\"]+['\"];?\s*+$")
# The text in each block is read as it stands: nothing is parsed in it.
_MARKDOWN: Final = MarkdownIt("commonmark").enable("table").disable("inline")
_SILENT: Final = {"fence": "code", "code_block": "code", "hr": "rule"}
_LEVEL: Final = re.compile(r"\d+$")


@dataclass(frozen=True, slots=True)
class Block:
    """One block as it was written, without the marks of what it stands in.

    `kind` is p, h1 to h6, li, quote, cell, code, html, rule, or front:KEY; depth of lists and
    quotes is in it (li2). `line` is the first, from 1. `within` are the lists and quotes around
    HTML, outermost first.
    """

    kind: str
    text: str
    line: int
    within: tuple[str, ...] = field(default=(), repr=False, compare=False)

    @property
    def is_spoken(self) -> bool:
        """Whether the block has words to translate."""
        return self.kind not in {"code", "html", "rule"} and bool(self.text)

    @property
    def leaf(self) -> str:
        """The kind without its level: h, li."""
        return _LEVEL.sub("", self.kind)


def blocks(page: str) -> list[Block]:
    """Return the blocks of `page` in order, its front matter's spoken values first.

    Soft line breaks are joined (between two wide characters without a space), `{#anchors}`,
    comments in a sentence and the layout's shortcodes are left out, all other markup stays.
    """
    page = page.removeprefix("\ufeff").replace("\r\n", "\n")
    match = _FRONT.match(page)
    front = list(_of_front(match[1])) if match else []
    skipped = page.count("\n", 0, match.end()) if match else 0
    return [*front, *body_blocks(page[match.end() :] if match else page, skipped)]


def body_blocks(text: str, skipped: int = 0, within: Sequence[str] = ()) -> Iterator[Block]:
    """Yield the blocks of Markdown without front matter; `skipped` lines come before it.

    Layout alone makes no block, but for headings and cells, which have a place to keep. `within`
    are the lists and quotes that the text stands in.
    """
    around = list(within)
    for token in _MARKDOWN.parse(text):
        line = skipped + (token.map[0] if token.map else 0) + 1
        if token.nesting:
            _step(token, around)
        elif token.type == "inline":
            block = Block(_kind(around), _spoken(token.content), line)
            if block.text or block.leaf in {"h", "cell"}:
                yield block
        elif token.type == "html_block":
            yield from _of_html(token.content, line, tuple(around))
        elif token.type in _SILENT:
            yield Block(_SILENT[token.type], token.content, line)


def front_values(text: str) -> dict[str, str]:
    """Return the spoken values of front matter; none of what is no YAML."""
    if len(text) > _LONGEST_FRONT:
        return {}
    try:
        # This loader makes texts of all values and follows no `<<`, which can multiply for ever.
        body: Any = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    if not isinstance(body, dict):
        return {}
    found = ((key, body.get(key)) for key in SPOKEN_KEYS)
    return {key: value.strip() for key, value in found if isinstance(value, str) and value.strip()}


def _of_front(text: str) -> Iterator[Block]:
    for key, value in front_values(text).items():
        yield Block(f"front:{key}", value, 1)


def _of_html(content: str, line: int, within: tuple[str, ...]) -> Iterator[Block]:
    """Yield the block; text behind a comment, on its last line, is one of its own."""
    comment, end, rest = content.partition("-->")
    if not (comment.lstrip().startswith("<!--") and rest.strip()):
        yield Block("html", content, line, within)
        return
    yield Block("html", comment + end, line, within)
    yield from body_blocks(_uncommented(rest), line + comment.count("\n") - 1, within)


def _step(token: Token, around: list[str]) -> None:
    if token.nesting < 0:
        around.pop()
        return
    level = token.tag[1:] if token.type == "heading_open" else ""
    around.append(token.type.removesuffix("_open") + level)


def _kind(around: Sequence[str]) -> str:
    leaf = around[-1] if around else "paragraph"
    if leaf.startswith("heading"):
        return f"h{leaf.removeprefix('heading')}"
    if leaf in {"th", "td"}:
        return "cell"
    if depth := sum(name == "list_item" for name in around):
        return f"li{depth}"
    return "quote" if "blockquote" in around else "p"


def _spoken(content: str) -> str:
    lines = list(dropwhile(_is_layout, _uncommented(content).split("\n")))
    while lines and _is_layout(lines[-1]):
        lines.pop()
    return _ANCHOR.sub("", joined(lines)).strip()


def _uncommented(text: str) -> str:
    if "<!--" not in text:
        return text
    parts: list[str] = []
    kept, begin = 0, None
    # Mark by mark: a pattern of whole comments would search all of the text for each beginning.
    for mark in _MARKS.finditer(text):
        if mark[0] == "<!--" and begin is None:
            begin = mark.start()
        elif mark[0] == "-->" and begin is not None:
            parts.append(text[kept:begin])
            kept, begin = mark.end(), None
    return "".join(parts) + text[kept:]


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
