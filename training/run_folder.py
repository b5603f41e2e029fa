"""The folder of one run: what is done, so that a resumed run does not do it again."""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adapters.errors import TrainingFailed

STATE_FILE: Final = "run.json"
SUMMARY_FILE: Final = "summary.json"
_LOCK_FILE: Final = ".lock"
_PHASES: Final = ("fit", "outputs", "summary")
_FOLDERS: Final = ("data", "adapter", "trained", "checkpoints", "tensorboard")
_FILES: Final = ("train.log", "metrics.jsonl", "loss.svg", "recipe.yaml", "environment.json")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run and the results of its phases, each written whole when the phase ends."""

    root: Path

    @property
    def data(self) -> Path:
        """train.jsonl, dev.jsonl, test.jsonl and data.json."""
        return self.root / "data"

    @property
    def adapter(self) -> Path:
        """The trained adapter; README.md and report.html are written beside its weights."""
        return self.root / "adapter"

    @property
    def trained(self) -> Path:
        """What was trained, where the adapter is a LoRA that stands for it."""
        return self.root / "trained"

    def result(self, phase: str) -> dict[str, Any] | None:
        """Return what `finish` kept, or None where the phase is not done."""
        try:
            return dict(json.loads(self._file(phase).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def finish(self, phase: str, body: dict[str, Any]) -> None:
        """Keep the result of a phase; from now on it is done."""
        file = self._file(phase)
        draft = file.with_name(f".{file.name}.draft")
        text = json.dumps(body, indent=2, ensure_ascii=False)
        draft.write_text(text + "\n", encoding="utf-8")
        draft.replace(file)

    def _file(self, phase: str) -> Path:
        return self.root / f"{phase}.json"


@contextmanager
def open_run(root: Path, identity: dict[str, str], *, resume: bool) -> Iterator[RunFolder]:
    """Yield the run's folder, held against other processes.

    `identity` is what must be equal for a run to be resumed (recipe, base). Without `resume`, an
    earlier run in the folder is removed. Raises TrainingFailed.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / _LOCK_FILE).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise TrainingFailed(
                f"{root}: another process is at work in this run; wait for it, or use --out DIR"
            ) from error
        folder = RunFolder(root)
        known = _state(root)
        if known is None or not resume:
            _clear(folder, known)
            (root / STATE_FILE).write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
        elif known != identity:
            changed = ", ".join(key for key in identity if known.get(key) != identity[key])
            raise TrainingFailed(
                f"{root}: cannot go on with this run, since another {changed} began it; "
                "leave out --resume to start anew, or use another --out"
            )
        yield folder


def _state(root: Path) -> dict[str, str] | None:
    try:
        return dict(json.loads((root / STATE_FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}  # cut short by a crash: a run folder, of no known recipe


def _clear(folder: RunFolder, known: dict[str, str] | None) -> None:
    others = [f.name for f in folder.root.iterdir() if f.name != _LOCK_FILE]
    if known is None and others:
        raise TrainingFailed(
            f"{folder.root}: holds {others[0]} and is no run folder; use an empty or new --out DIR"
        )
    for name in _FOLDERS:
        shutil.rmtree(folder.root / name, ignore_errors=True)
    for name in (*_FILES, *(f"{phase}.json" for phase in _PHASES)):
        (folder.root / name).unlink(missing_ok=True)
