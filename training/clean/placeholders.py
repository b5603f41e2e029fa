"""What a translation must carry over unchanged: placeholders and tags."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

_PATTERN: Final = re.compile(
    r"""
    (?P<percent>%%)                                        # a literal percent sign: no placeholder
  | (?P<printf>%(?:\((?P<key>[^()\s]+)\))?(?:\d+\$)?[-+0\#]*\d*(?:\.\d+)?
       (?:hh|ll|[hlqjzt])?[diouxXeEfFgGcrsa](?![^\W\d_]))  # %s %d %(name)s %1$s %.2f
  | (?P<numbered>%\d+)                                     # %1 (Qt, Jupyter)
  | (?P<braces>\$?\{\{?[\w.:!\-\[\]]*\}?\})                # {} {0} {name} {{name}} ${name}
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
    for match in _PATTERN.finditer(text):
        if match["tag"]:
            found[f"<{match['close']}{match['tag'].lower()}>"] += 1
        elif not match["percent"]:
            found[match[0]] += 1
    return found
