"""Who sent a request, once the door let it in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from typing import Final

from serving.door.key import Key, Priority

# Where the ASGI scope's state carries the caller.
STATE: Final = "dragoman_caller"


@dataclass(frozen=True)
class Caller:
    """The holder of a key, for the span of one request; without keys all are one, with no name."""

    name: str = ""
    key: Key | None = None
    # As the key says, or lower if the request asks for it.
    priority: Priority = "interactive"

    @property
    def weight(self) -> float:
        """Its share under load."""
        return self.key.weight if self.key else 1.0

    @property
    def is_restricted(self) -> bool:
        """Whether some adapters do not exist for it."""
        return self.key is not None and self.key.adapters is not None

    def may_use(self, model: str) -> bool:
        """Return whether a model of that id exists for it; versions and aliases are the id's."""
        if self.key is None or self.key.adapters is None:
            return True
        wanted = model.partition("@")[0]
        return any(_regex(pattern).fullmatch(wanted) for pattern in self.key.adapters)


ANYBODY: Final = Caller()


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))
