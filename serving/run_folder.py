"""What the supervisor and the API processes of one server tell each other: files in a folder.

There may be several API processes, and a signal or a request of ours would reach one of them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "DRAGOMAN_RUN_FOLDER"
_DRAIN: Final = "drain"
_PRIVATE: Final = 0o600


class RunFolder:
    """One run of a server: which API processes serve, whether they shall drain, who has drained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Looked at once per request: as a string, so that it costs one system call.
        self._drain = str(folder / _DRAIN)

    @classmethod
    def make(cls, last_used: bytes = b"") -> RunFolder:
        """Return one for the next run; its maker removes it.

        last_used is what the run before said of the adapters that it used last.
        """
        run_folder = cls(Path(tempfile.mkdtemp(prefix="dragoman-")))
        if last_used:
            run_folder.last_used_file.write_bytes(last_used)
        return run_folder

    @property
    def last_used_file(self) -> Path:
        """Where the API processes write which adapters were used last."""
        return self.folder / "last_used.json"

    def last_used(self) -> bytes:
        """Return what they wrote, for the next run."""
        with suppress(OSError):
            return self.last_used_file.read_bytes()
        return b""

    @property
    def door_file(self) -> Path:
        """Where serving.door.settings stand."""
        return self.folder / "door.json"

    def write_door(self, text: str) -> None:
        """Replace them at once: a reader sees the old text or this one. Raises OSError."""
        draft = self.folder / "door.json.new"
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(self.door_file)

    def remove(self) -> None:
        """Remove it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def ask_to_drain(self) -> None:
        """Let each API process refuse new requests from now on."""
        Path(self._drain).touch()

    def is_draining(self) -> bool:
        """Return whether new requests shall be refused."""
        return os.path.exists(self._drain)  # noqa: PTH110 - a third of what Path.exists costs

    def has_drained(self) -> bool:
        """Return whether no API process has a request left."""
        serving = {path.stem for path in self.folder.glob("*.serving")}
        return serving <= {path.stem for path in self.folder.glob("*.drained")}

    def note_serving(self) -> None:
        """Say that this process takes requests."""
        (self.folder / f"{os.getpid()}.serving").touch()

    def note_drained(self) -> None:
        """Say that this process has no request left."""
        (self.folder / f"{os.getpid()}.drained").touch()


def handed_run_folder() -> RunFolder | None:
    """Return the folder of this run inside a server that a supervisor started, elsewhere None."""
    folder = os.environ.get(VARIABLE)
    return RunFolder(Path(folder)) if folder else None
