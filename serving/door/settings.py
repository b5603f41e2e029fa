"""What the door goes by, in a file of the run folder: it may change while the server runs."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, ValidationError

from adapters.errors import StartRefused
from adapters.strict.section import Section
from serving.door.key import Key
from serving.door.limits import Limits
from serving.run_folder import handed_run_folder

logger = logging.getLogger("vllm.dragoman")
_LOOK_EVERY_S: Final = 0.2


class DoorSettings(Section):
    """Who may call, with how much. Held apart from the rest: see serving.settings.DOOR_NAMES."""

    keys: tuple[Key, ...] = Field(default=(), strict=False, repr=False)
    limits: Limits = Field(default_factory=Limits)
    usage: str = Field(default="", repr=False)
    metrics_open: bool = False
    log: Literal["text", "json"] = "text"

    def to_json(self) -> str:
        """Return the text of the file."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return what `to_json` gave. Raises ValueError."""
        return cls.model_validate_json(text)


class DoorFile:
    """The settings in a file, read again when it was replaced."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read it. Raises StartRefused: without it, nobody knows who may call."""
        self._path = str(path)
        self._clock = clock
        self._looked = clock()
        try:
            self._mark = _mark(self._path)
            self._settings = _read(self._path)
        except (OSError, ValueError) as error:
            raise StartRefused(
                f"{path}: {_why(error)}; start the server with `dragoman serve`, which writes it"
            ) from error

    @classmethod
    def handed(cls) -> Self:
        """Return that of the run which this process is part of. Raises StartRefused."""
        run_folder = handed_run_folder()
        if run_folder is None:
            raise StartRefused(
                "nothing says who may call; start the server with `dragoman serve` itself, not "
                "with the command that its --dry-run prints"
            )
        return cls(run_folder.door_file)

    def current(self) -> DoorSettings:
        """Return them as of at most 0.2 s ago: the same object until they change.

        Meant for each request: one system call in 0.2 s. A file that cannot be read changes
        nothing.
        """
        now = self._clock()
        if now - self._looked >= _LOOK_EVERY_S:
            self._looked = now
            self._look()
        return self._settings

    def _look(self) -> None:
        try:
            mark = _mark(self._path)
            if mark == self._mark:
                return
            self._mark = mark
            self._settings = _read(self._path)
        except (OSError, ValueError) as error:
            logger.error("%s: %s; keys and limits stay as they were", self._path, _why(error))  # noqa: TRY400


def _read(path: str) -> DoorSettings:
    return DoorSettings.from_json(Path(path).read_bytes())


def _mark(path: str) -> tuple[int, int, int]:
    stat = os.stat(path)  # noqa: PTH116 - half of what Path.stat costs
    return stat.st_mtime_ns, stat.st_ino, stat.st_size


def _why(error: Exception) -> str:
    # What pydantic says would show hashes and passwords.
    if isinstance(error, ValidationError):
        return f"{error.error_count()} of its values cannot be read"
    return f"cannot be read: {error}"
