"""Pages whose English original stands in an HTML comment before its translation.

So the website of Kubernetes does it, for example content/zh-cn/docs/concepts/workloads/pods/.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from training.corpus.markdown.align import Aligned, align_after, length_ratio
from training.corpus.markdown.blocks import Block, body_blocks, front_values

_COMMENT: Final = re.compile(r"\s*+<!---*(.*?)-->\s*", re.DOTALL)
# What a comment of one word or two is: a mark for the site (<!-- body -->), not a text.
_MARK: Final = re.compile(r"\s*+[a-z][\w-]*+(?: [a-z][\w-]*+)?\s*+")


@dataclass
class Commented:
    """The blocks of a comment and those up to the next one: its translation, and maybe more."""

    originals: list[Block]
    after: list[Block] = field(default_factory=list)

    @property
    def is_front(self) -> bool:
        """Whether the comment is the original of the front matter."""
        return bool(self.originals) and self.originals[0].kind.startswith("front:")

    @property
    def is_alike(self) -> bool:
        """Whether the first blocks after the comment are of the kinds of its own."""
        first = self.after[: len(self.originals)]
        return [block.leaf for block in self.originals] == [block.leaf for block in first]


def commented(page: Sequence[Block]) -> Iterator[Commented]:
    """Yield the comments among the blocks of a page that hold a text, with what follows each."""
    front = [block for block in page if block.kind.startswith("front:")]
    current: Commented | None = None
    for block in page:
        text = _comment(block)
        if text is None and current is not None:
            current.after.append(block)
        if not text:
            continue
        if current is not None:
            yield current
        original = _of_front(text, block.line) if current is None and front else []
        current = Commented(
            original or list(body_blocks(text, block.line - 1, block.within)),
            list(front) if original else [],
        )
    if current is not None:
        yield current


def pairs_of(parts: Sequence[Commented]) -> Iterator[Aligned]:
    """Yield the originals of a page with their translations; `parts` are its comments."""
    sure = [part for part in parts if part.is_alike] or parts
    ratio = length_ratio(
        [block for part in sure for block in part.originals],
        [block for part in sure for block in part.after[: len(part.originals)]],
    )
    for part in parts:
        if part.is_front:
            targets = {block.kind: block for block in part.after}
            pairs = ((block, targets.get(block.kind)) for block in part.originals)
            yield from (Aligned(block, said, 1.0) for block, said in pairs if said is not None)
        else:
            yield from align_after(part.originals, part.after, ratio)


def _comment(block: Block) -> str | None:
    """Return the text of a comment, empty for a mark; None for what is no comment."""
    match = _COMMENT.fullmatch(block.text) if block.kind == "html" else None
    if match is None:
        return None
    return "" if _MARK.fullmatch(match[1]) else match[1]


def _of_front(comment: str, line: int) -> list[Block]:
    """Return the spoken values of a comment that is front matter, as its blocks."""
    text = comment.strip().lstrip("-").partition("\n---")[0]
    return [Block(f"front:{key}", value, line) for key, value in front_values(text).items()]
