"""Pages whose English original stands in an HTML comment before its translation.

So the website of Kubernetes does it, for example content/zh-cn/docs/concepts/workloads/pods/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from training.corpus.markdown.align import Aligned, align
from training.corpus.markdown.blocks import Block, body_blocks, front_values

_COMMENT: Final = re.compile(r"\s*<!--(.*?)-->\s*", re.DOTALL)
# What a comment of one word or two is: a mark for the site (<!-- body -->), not a text.
_MARK: Final = re.compile(r"\s*[a-z][\w-]*(?: [a-z][\w-]*)?\s*")
_FRONT: Final = re.compile(r"\s*(?:---\n)?(?=\w+:\s)")


@dataclass
class Commented:
    """A comment and the blocks up to the next one: its translation, and maybe more."""

    comment: str
    line: int
    after: list[Block] = field(default_factory=list)

    @cached_property
    def originals(self) -> list[Block]:
        """The blocks of the comment."""
        return list(body_blocks(self.comment, self.line - 1))


def commented(page: Sequence[Block]) -> Iterator[Commented]:
    """Yield the comments among the blocks of a page that hold a text, with what follows each."""
    current: Commented | None = None
    for block in page:
        match = _COMMENT.fullmatch(block.text) if block.kind == "html" else None
        if match is not None and not _MARK.fullmatch(match[1]):
            if current is not None:
                yield current
            current = Commented(match[1], block.line)
        elif current is not None and match is None:
            current.after.append(block)
    if current is not None:
        yield current


def pairs_of(page: Sequence[Block], parts: Sequence[Commented]) -> Iterator[Aligned]:
    """Yield the originals of a page with their translations; `parts` are its comments."""
    front = {block.kind: block for block in page if block.kind.startswith("front:")}
    for place, part in enumerate(parts):
        values = front_values(_FRONT.sub("", part.comment).rpartition("\n---")[0] or part.comment)
        if place == 0 and values:
            yield from _of_front(values, front, part.line)
            continue
        originals = part.originals
        yield from align(originals, _as_many(originals, part.after))


def _of_front(values: dict[str, str], front: dict[str, Block], line: int) -> Iterator[Aligned]:
    for key, text in values.items():
        if (target := front.get(f"front:{key}")) is not None:
            yield Aligned(Block(target.kind, text, line), target, 1.0)


def _as_many(originals: Sequence[Block], after: Sequence[Block]) -> Sequence[Block]:
    """Return the first of `after` if their kinds are those of `originals`, else all of it.

    What follows a translation without a comment of its own, such as a name as a heading, is none.
    """
    first = after[: len(originals)]
    same = [block.kind for block in first] == [block.kind for block in originals]
    return first if same else after
