"""Inline codes of TMX and XLIFF as text: tags that a translation has to carry over.

Native code that is a tag or a placeholder itself (`<b>`, `%s`, `{{ name }}`) stands as it is, as
users send it. Any other (RTF, editors' own) becomes a numbered tag: `<g1>…</g1>` or `<x1/>`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.errors import DataInvalid
from training.corpus.xml import local_name, text_of

_PAIRED: Final = {"g", "pc"}
_OPENING: Final = {"bpt", "bx", "sc"}
_CLOSING: Final = {"ept", "ex", "ec"}
_ALONE: Final = {"ph", "x", "it", "ut"}
_HAS_TEXT: Final = {"bpt", "ept", "ph", "it", "ut"}
# One tag or placeholder and nothing else.
_NATIVE: Final = re.compile(
    r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>"
    r"|%(?:\(\w+\)|\d+\$)?[-+0 #]*\d*(?:\.\d+)?[diouxXeEfFgGcsa@]"
    r"|\$?\{\{?[^{}\\]*\}?\}|%\d+"
)


# Deeper than any editor nests them, and far from what Python can call.
_DEEPEST: Final = 32


class InlineCodes:
    """The codes of one unit; source and target give the same number to the same code."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers: dict[str, int] = {}
        self._depth = 0

    def text(self, element: etree._Element) -> str:
        """Return the text of a segment with its codes.

        Raises DataInvalid for an entity, a character that is none, and codes nested too deep.
        """
        if not len(element):
            return element.text or ""
        if self._depth == _DEEPEST:
            raise DataInvalid(
                f"{self._path}:{element.sourceline}: inline codes are nested over {_DEEPEST} deep; "
                "no editor writes such a unit"
            )
        self._depth += 1
        parts = [element.text or ""]
        for child in element:
            parts += [self._code(child), child.tail or ""]
        self._depth -= 1
        return "".join(parts)

    def _code(self, element: etree._Element) -> str:
        name = local_name(element)
        if name == "cp":  # XLIFF 2: a character that XML cannot hold
            return self._character(element)
        if name in _PAIRED:
            return self._paired(element)
        if name not in _OPENING | _CLOSING | _ALONE:
            # mrk, hi, sm and what else marks text without being markup; an entity is refused.
            return self.text(element) if name else text_of(element, self._path)
        native = self._native(element, name)
        if native is not None:
            return native
        number = self._number(element, name)
        if name in _OPENING:
            return f"<g{number}>"
        return f"</g{number}>" if name in _CLOSING else f"<x{number}/>"

    def _character(self, element: etree._Element) -> str:
        try:
            return chr(int(element.get("hex", "FFFD"), 16))
        except (ValueError, OverflowError) as error:
            raise DataInvalid(
                f"{self._path}:{element.sourceline}: expected the number of a character, such as "
                f'hex="0007", found {element.get("hex")!r:.40}'
            ) from error

    def _paired(self, element: etree._Element) -> str:
        start, end = element.get("equiv-text") or element.get("equivStart"), element.get("equivEnd")
        if start and end and _NATIVE.fullmatch(start) and _NATIVE.fullmatch(end):
            return f"{start}{self.text(element)}{end}"
        number = self._number(element, local_name(element))
        return f"<g{number}>{self.text(element)}</g{number}>"

    def _native(self, element: etree._Element, name: str) -> str | None:
        shown = text_of(element, self._path) if name in _HAS_TEXT else ""
        for text in (shown, element.get("equiv-text"), element.get("equiv"), element.get("disp")):
            if text and _NATIVE.fullmatch(text.strip()):
                return text.strip()
        return None

    def _number(self, element: etree._Element, name: str) -> int:
        # `rid` (1.2) and `startRef` (2.x) tie an end to its start; TMX has `i` for that.
        key = next(
            (key for at in ("rid", "startRef", "i", "id", "x") if (key := element.get(at))), None
        )
        kind = "x" if name in _ALONE else "g"
        if key is None:
            key = f"#{len(self._numbers)}"
        return self._numbers.setdefault(f"{kind}{key}", len(self._numbers) + 1)
