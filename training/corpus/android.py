"""Android's strings.xml: strings, plurals and arrays of one language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree

from adapters.errors import DataInvalid
from training.corpus.reading import Reading
from training.corpus.strings import String, unescaped
from training.corpus.xml import elements, local_name, text_of


def read_android(path: Path, how: Reading) -> Iterator[String]:
    """Yield the strings of `path` as the application shows them. Raises DataInvalid.

    References to other resources (`@string/ok`) and what is not translatable are left out.
    """
    for element in elements(path, ("string", "plurals", "string-array")):
        name, line = element.get("name"), element.sourceline or 0
        if name is None or element.get("translatable") == "false":
            continue
        try:
            for key, child in _items(element, name):
                text = _shown(_marked_up(child, path))
                if not text.startswith(("@string/", "@android:", "?")):
                    yield String(key, text, line)
        except DataInvalid as error:
            how.found_bad(error)


def _items(element: etree._Element, name: str) -> Iterator[tuple[str, etree._Element]]:
    if local_name(element) == "string":
        yield name, element
        return
    for number, item in enumerate(element.iterfind("{*}item")):
        yield f"{name}#{item.get('quantity') or number}", item


def _marked_up(element: etree._Element, path: Path) -> str:
    """Return the text with its tags, but for xliff:g, which only marks a placeholder."""
    parts = [element.text or ""]
    for child in element:
        name = local_name(child)
        if not name:
            text_of(element, path)  # refuses the entity
        inner = _marked_up(child, path)
        if name == "g":
            parts.append(inner)
        else:
            given = "".join(f' {key}="{value}"' for key, value in child.attrib.items())
            parts.append(f"<{name}{given}>{inner}</{name}>")
        parts.append(child.tail or "")
    return "".join(parts)


def _shown(text: str) -> str:
    """Return `text` as Android shows it: escapes resolved, spaces outside quotes collapsed."""
    parts = re.split(r'(?<!\\)"', text)
    # Parts at odd places stood in quotes, which keep their spaces.
    kept = [part if place % 2 else re.sub(r"\s+", " ", part) for place, part in enumerate(parts)]
    kept[0], kept[-1] = kept[0].lstrip(), kept[-1].rstrip()
    return unescaped("".join(kept))
