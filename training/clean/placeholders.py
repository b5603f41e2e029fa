"""What a translation must carry over unchanged: placeholders and tags."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

_PATTERN: Final = re.compile(
    r"""
    (?P<percent>%%                                         # a literal percent sign: no placeholder
       |https?://[^\s<>()\[\]{}%]*(?:%[\dA-Fa-f]{2}[^\s<>()\[\]{}%]*)+)   # nor %20 in a URL
  | (?P<printf>%(?:\((?P<key>[^()\s]+)\))?(?:\d+\$)?[-+0\#]{0,5}\d{0,9}(?:\.\d{1,9})?
       (?:hh|ll|[hlqjzt])?[diouxXeEfFgGcrsa](?![^\W\d_]))  # %s %d %(name)s %1$s %.2f
  | (?P<numbered>%\d+)                                     # %1 (Qt, Jupyter)
  | (?P<braces>\{\{\s*[\w.:!\-\[\]]*\s*\}\}
       |\$?\{\{?[\w.:!\-\[\]]*\}?\})                     # {} {0} {name} {{ name }} ${name}
  | <(?P<close>/?)(?P<tag>[A-Za-z][\w\-]*)(?:\s[^<>]*)?/?> # <b> </a> <br/>, by name
    """,
    re.VERBOSE,
)


def placeholders(text: str) -> Counter[str]:
    """Return each placeholder and tag of `text` with its number of uses; order does not matter.

    Tags count by name, since attributes (a link's title) may be translated. `100 % of` and
    `%%` are percent signs, not placeholders.
    """
    found: Counter[str] = Counter()
    if not ("%" in text or "{" in text or "<" in text):
        return found  # as most texts: the search takes longer than all other rules
    for match in _PATTERN.finditer(text):
        if match["tag"]:
            found[f"<{match['close']}{match['tag'].lower()}>"] += 1
        elif not match["percent"]:
            found["".join(match[0].split())] += 1
    return found
