"""XML files of any size, an element at a time: no entity is expanded, no other file is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from lxml import etree

from adapters.errors import DataInvalid

_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_PIECE_BYTES: Final = 2**18
# An element of so many pieces (4 MiB) is no unit of text; read whole, it would fill the memory.
_MOST_PIECES: Final = 16


def elements(path: Path, root: str, names: tuple[str, ...]) -> Iterator[etree._Element]:
    """Yield the elements of `path` with these local names, whole, in order.

    Of the tree only what a piece of the file holds is in memory: elements are gone soon after the
    next was asked for. Raises DataInvalid with path:line from where on the file is no well-formed
    XML, or where its outermost element is not `root`.
    """
    try:
        with path.open("rb") as file:
            yield from _Tree(file, path, root, names).elements()
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


def child_of(element: etree._Element, name: str) -> etree._Element | None:
    """Return the first child with this local name."""
    # A loop over few children takes a third of the time of element.find("{*}name").
    for child in element:
        if local_name(child) == name:
            return child
    return None


class _Tree:
    """The part of a file's tree that is in memory: the open elements, and what was read last."""

    def __init__(self, file: BinaryIO, path: Path, root: str, names: tuple[str, ...]) -> None:
        self._file, self._path = file, path
        self._root_name, self._names = root, names
        self._root: etree._Element | None = None
        self._broken: etree.XMLSyntaxError | None = None
        self._is_done = False
        self._unit: etree._Element | None = None
        self._pieces = 0  # since a unit was complete
        # Without huge_tree a text of over 10 MB and a depth of over 256 are errors.
        self._parser = etree.XMLPullParser(
            events=("start", "end"), tag=[f"{{*}}{name}" for name in (root, *names)],
            resolve_entities=False, load_dtd=False, no_network=True,
            remove_comments=True, remove_pis=True, huge_tree=False,
        )  # fmt: skip

    def elements(self) -> Iterator[etree._Element]:
        while self._broken is None and not self._is_done:
            self._feed()
            yield from self._complete()
            self._check()
            self._forget()
        if self._broken is not None:
            raise self._broken

    def _feed(self) -> None:
        piece = self._file.read(_PIECE_BYTES)
        self._pieces += 1
        try:
            if piece:
                self._parser.feed(piece)
            else:
                self._is_done = True
                self._parser.close()
        except etree.XMLSyntaxError as error:
            self._broken = error  # raised when what is complete before it was yielded

    def _complete(self) -> Iterator[etree._Element]:
        for event, element in self._parser.read_events():
            if self._root is None:
                self._root = element
            elif event == "start":
                self._unit = element if self._unit is None else self._unit
            elif (unit := self._unit) is not None and element is unit:
                self._unit, self._pieces = None, 0
                yield unit

    def _check(self) -> None:
        """Raise DataInvalid for another root, and for what would fill the memory."""
        is_long = self._pieces > _MOST_PIECES
        if self._root is None:
            is_other = is_long or (self._is_done and self._broken is None)
        else:
            is_other = self._root.getparent() is not None
        if is_other:
            raise DataInvalid(
                f"{self._path}:1: expected <{self._root_name}> as the outermost element, found "
                "another; is it a file of this format?"
            )
        if is_long and self._unit is not None:
            raise DataInvalid(
                f"{self._path}:{self._unit.sourceline}: expected a unit of text, found "
                f"<{local_name(self._unit)}> of over {_MOST_PIECES * _PIECE_BYTES // 2**20} MiB"
            )

    def _forget(self) -> None:
        """Drop what is complete, but the last element of each that is open: libxml2 needs it."""
        node = self._root
        while node is not None and len(node) and local_name(node) not in self._names:
            del node[:-1]
            node = node[-1]


def _unreadable(path: Path, error: etree.XMLSyntaxError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{path}: cannot be read ({error.strerror or error}); check the path in the recipe"
    line = error.lineno or 1
    return f"{path}:{line}: not well-formed XML ({error.msg}); check it with `xmllint --noout`"
