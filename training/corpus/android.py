"""Android's strings.xml: strings, plurals and arrays of one language."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.errors import DataInvalid
from training.corpus.reading import Reading
from training.corpus.strings import String, unescaped
from training.corpus.xml import elements, local_name, text_of

# A reference to another resource (@string/ok, @android:string/ok, @null) or to an attribute of the
# theme (?attr/title, ?android:textColor). Text that begins like one has a backslash before it:
# developer.android.com/guide/topics/resources/providing-resources#ResourcesFromXml
_REFERENCE: Final = re.compile(
    r"@(?:null|empty|\+?\*?(?:[\w.]+:)?(?:anim|animator|array|attr|bool|color|dimen|drawable|font"
    r"|fraction|id|integer|interpolator|layout|menu|mipmap|plurals|raw|string|style|xml)/[\w.$-]+)"
    r"|\?\*?(?:[\w.]+:)?(?:attr/)?[A-Za-z_][\w.]*"
)
# A space that does not break, as French has it, is none of these.
_SPACE: Final = " \t\r\n\f\v"
_SPACES: Final = re.compile(f"[{_SPACE}]+")
# What stands in quotes, and what does not; a backslash protects what follows it.
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?|((?:[^"\\]|\\.)+)|\\', re.DOTALL)


def read_android(path: Path, how: Reading) -> Iterator[String]:
    """Yield the strings of `path` as the application shows them. Raises DataInvalid.

    References to other resources (`@string/ok`) and what is not translatable are left out.
    """
    for element in elements(path, "resources", ("string", "plurals", "string-array")):
        name, line = element.get("name"), element.sourceline or 0
        if name is None or element.get("translatable") == "false":
            continue
        try:
            for key, child in _items(element, name):
                text = _marked_up(child, path)
                if not _REFERENCE.fullmatch(text.strip(_SPACE)):
                    yield String(key, _shown(text), line)
        except DataInvalid as error:
            how.found_bad(error)


def _items(element: etree._Element, name: str) -> Iterator[tuple[str, etree._Element]]:
    if local_name(element) == "string":
        yield name, element
        return
    items = (child for child in element if local_name(child) == "item")
    for number, item in enumerate(items):
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
            # Attributes of a namespace are for tools (tools:ignore).
            own = (pair for pair in child.attrib.items() if not str(pair[0]).startswith("{"))
            given = "".join(f" {key}={_protected(str(value))}" for key, value in own)
            parts.append(f"<{name}{given}>{inner}</{name}>")
        parts.append(child.tail or "")
    return "".join(parts)


def _protected(value: str) -> str:
    r"""Return an attribute's value in quotes that `_shown` leaves as they are."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return rf"\"{escaped}\""


def _shown(text: str) -> str:
    """Return `text` as Android shows it: escapes resolved, spaces outside quotes collapsed."""
    parts = [
        match[1] if match[1] is not None else _SPACES.sub(" ", match[0])
        for match in _QUOTED.finditer(text.strip(_SPACE))
    ]
    return unescaped("".join(parts))
