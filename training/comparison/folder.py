"""The folder of one comparison: what is done, so that the same command does not do it again."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.errors import TrainingFailed

STATE_FILE: Final = "compare.json"
RESULT_FILE: Final = "comparison.json"
PAGE_FILE: Final = "comparison.html"
_LOCK_FILE: Final = ".lock"
_FOLDERS: Final = ("data", "runs", "systems", "synthesized")


@dataclass(frozen=True)
class ComparisonFolder:
    """Paths of a comparison; every file in it appears whole or not at all."""

    root: Path

    @property
    def data(self) -> Path:
        """train.jsonl, dev.jsonl, test.jsonl and data.json of the comparison's recipe."""
        return self.root / "data"

    def run(self, name: str) -> Path:
        """Return the run folder of a training."""
        return self.root / "runs" / name

    def system(self, name: str) -> Path:
        """Return where a system's answers are kept."""
        return self.root / "systems" / f"{name}.json"

    def journal(self, name: str) -> Path:
        """Return where an engine's answers are kept as they come."""
        return self.root / "systems" / f"{name}.journal"

    def synthesized(self, name: str) -> Path:
        """Return the file of pairs that an engine made."""
        return self.root / "synthesized" / f"{name}.jsonl"


@contextmanager
def open_comparison(
    root: Path, identity: Mapping[str, Any], *, fresh: bool
) -> Iterator[ComparisonFolder]:
    """Yield the comparison's folder, held against other processes.

    What is in it is gone on with where `identity` is the same, and removed with `fresh`.
    Raises TrainingFailed.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingFailed(
                f"{root}: another process is at work in this comparison; wait for it, or use "
                "--out DIR"
            ) from error
        known = read_json(root / STATE_FILE)
        _check_ours(root, known)
        if known is not None and fresh:
            _clear(root)
        elif known is not None and known != identity:
            changed = ", ".join(key for key in identity if known.get(key) != identity[key])
            raise TrainingFailed(
                f"{root}: holds another comparison ({changed} differs); use another --out DIR, or "
                "--fresh to remove what is there"
            )
        for name in _FOLDERS[1:]:
            (root / name).mkdir(exist_ok=True)
        write_json(root / STATE_FILE, dict(identity))
        yield ComparisonFolder(root)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a file; None where there is no such file, {} where it is broken."""
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def write_json(path: Path, body: Mapping[str, Any]) -> None:
    """Write one JSON object, whole or not at all."""
    write_text(path, json.dumps(body, indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all; half a character becomes a question mark."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8", errors="replace")
    draft.replace(path)


def _check_ours(root: Path, known: dict[str, Any] | None) -> None:
    others = [file.name for file in root.iterdir() if file.name != _LOCK_FILE]
    if known is None and others:
        raise TrainingFailed(
            f"{root}: holds {others[0]} and is no folder of a comparison; use an empty or new "
            "--out DIR"
        )


def _clear(root: Path) -> None:
    for name in _FOLDERS:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in (RESULT_FILE, PAGE_FILE):
        (root / name).unlink(missing_ok=True)
