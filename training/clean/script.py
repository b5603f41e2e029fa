"""Whether a text is written as its language is."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from training.clean.view import Side
from training.clean.writing import BLOCKS, script_of

# One of their characters says as much as a word of an alphabet.
_DENSE: Final = frozenset({"hani", "jpan", "kore"})
_ALPHABETIC_WORD: Final = re.compile(
    "[" + "".join(blocks for script, blocks in BLOCKS.items() if script not in _DENSE) + "]+"
)
# "ServiceAccount (namespaced)" is one in any language.
_A_NAME: Final = 2
_BEYOND_LATIN: Final = re.compile("[\u0370-\u1dff\u2c00-\ua71f\ua7cb-\U0010ffff]")


def share_of_own(side: Side) -> float:
    """Return the share (0 to 1) of words in the script of the side's language; 1 if unknown.

    1 also of one or two words, which are names. In Chinese, Japanese and Korean every character
    counts as a word: "使用 Kubernetes" is two thirds Chinese.
    """
    script = script_of(side.language) if side.language else None
    if script is None or (script == "latn" and not _BEYOND_LATIN.search(side.shown)):
        return 1.0
    own = _runs_of(script).findall(side.plain)
    words = _ALPHABETIC_WORD.findall(side.plain)
    every = len(words) + side.letters - sum(map(len, words))
    if every <= _A_NAME:
        return 1.0
    return (sum(map(len, own)) if script in _DENSE else len(own)) / every


@cache
def _runs_of(script: str) -> re.Pattern[str]:
    # One by one: to compile all of them would take a tenth of the start of `dragoman --help`.
    return re.compile(f"[{BLOCKS[script]}]+")
