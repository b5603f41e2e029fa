"""Which training pairs the base is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from adapters.prompt import Example
from training.corpus.segment import Segment

# What an example should show: a sentence or a name of some length, nothing that fills the prompt.
_EXAMPLE_CHARS: Final = range(15, 121)


def examples_from(train: Sequence[Segment], shots: int) -> list[Example]:
    """Return the base's examples: the first training pairs of a middling length.

    Where none is, as with articles, the shortest.
    """
    fitting = [s for s in train if len(s.source) in _EXAMPLE_CHARS]
    fitting = fitting or sorted(train, key=lambda s: len(s.source))
    return [Example(source=s.source, target=s.target) for s in fitting[:shots]]
