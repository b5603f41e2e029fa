"""XML files of any size, an element at a time: no entity is expanded, no other file is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from lxml import etree

from adapters.errors import DataInvalid

_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"


def elements(path: Path, names: tuple[str, ...]) -> Iterator[etree._Element]:
    """Yield the elements of `path` with these local names, whole, in order; each is gone after it.

    Memory stays that of the largest one. Raises DataInvalid with path:line from where on the file
    is no well-formed XML.
    """
    tags = [f"{{*}}{name}" for name in names]
    try:
        with path.open("rb") as file:
            # Without huge_tree a text of over 10 MB and a depth of over 256 are errors.
            events = etree.iterparse(
                file, events=("end",), tag=tags, resolve_entities=False, load_dtd=False,
                no_network=True, remove_comments=True, remove_pis=True, huge_tree=False,
            )  # fmt: skip
            for _, element in events:
                yield element
                _forget(element)
    except (etree.XMLSyntaxError, OSError) as error:
        raise DataInvalid(_unreadable(path, error)) from error


def text_of(element: etree._Element, path: Path) -> str:
    """Return the text of `element` without the markup in it. Raises DataInvalid for an entity."""
    for child in element.iter(etree.Entity):
        raise DataInvalid(
            f"{path}:{child.sourceline}: the entity {child.text} is not expanded, since what it "
            "stands for may be anything; write its text in place of it"
        )
    return "".join(element.itertext())


def language_of(element: etree._Element) -> str | None:
    """Return xml:lang of `element`, or what older formats call it."""
    return element.get(_LANGUAGE) or element.get("lang")


def local_name(element: etree._Element) -> str:
    """Return the name of `element` without its namespace; comments and entities have none."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _forget(element: etree._Element) -> None:
    element.clear(keep_tail=False)
    parent = element.getparent()
    while parent is not None and (before := element.getprevious()) is not None:
        parent.remove(before)


def _unreadable(path: Path, error: etree.XMLSyntaxError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{path}: cannot be read ({error.strerror or error}); check the path in the recipe"
    line = error.lineno or 1
    return f"{path}:{line}: not well-formed XML ({error.msg}); check it with `xmllint --noout`"
