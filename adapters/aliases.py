"""aliases.json of one adapter: which version each name points to, and what it pointed to before.

    {"stable": [1, 2], "canary": [3]}      newest last

Every change is one atomic rename, so readers need no lock; writers hold the adapter's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from adapters.bounded_read import read_small
from adapters.errors import RegistryError

ALIASES_FILE: Final = "aliases.json"
_DRAFT_FILE: Final = f".{ALIASES_FILE}.draft"

History = dict[str, list[int]]


def read_aliases(folder: Path) -> History:
    """Return every alias of the adapter in `folder` with its versions. Raises RegistryError."""
    path = folder / ALIASES_FILE
    try:
        body = json.loads(read_small(path))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    if not isinstance(body, dict) or not all(map(_is_history, body.values())):
        raise _unreadable(path, "another content")
    return body


def write_aliases(folder: Path, histories: History) -> None:
    """Replace every alias of the adapter in `folder`, all or nothing. Needs the adapter's lock."""
    # One name for all writers: only one has the lock, and what a killed one left is overwritten.
    draft = folder / _DRAFT_FILE
    with draft.open("w", encoding="utf-8") as file:
        json.dump(histories, file, indent=2, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / ALIASES_FILE)
    fsync(folder)


def pointed(histories: History, alias: str, version: int) -> History:
    """Return `histories` after `alias` moved to `version`."""
    history = histories.get(alias, [])
    return histories if history[-1:] == [version] else {**histories, alias: [*history, version]}


def fsync(path: Path) -> None:
    """Wait until the file or folder at `path` is on disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_history(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in value)
    )


def _unreadable(path: Path, found: str) -> RegistryError:
    return RegistryError(
        f"{path}: expected {{alias: [versions, newest last]}}, found {found}; restore the file, or "
        "remove it and promote a version"
    )
