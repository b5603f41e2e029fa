"""Logs for machines: each line of each process of a server is one JSON object.

vLLM configures logging in every process from the file that VLLM_LOGGING_CONFIG_PATH names, and
gives the same to uvicorn. So what is named there is imported in every process: this module needs
the standard library only.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TextIO

if TYPE_CHECKING:
    from serving.settings import ServingSettings

_VARIABLE: Final = "VLLM_LOGGING_CONFIG_PATH"
_FILE: Final = "logging.json"
_DEEPEST: Final = 6
# Warns with words of the request: `type` of a part of a system message, whatever it is.
_QUOTES: Final = "vllm.entrypoints.openai.chat_completion.protocol"
# What every LogRecord has, what formatters and vLLM add to it, and uvicorn's message in colours.
_KNOWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "asctime", "color_message", "fileinfo", "message", "taskName", "vllm_process_name",
}  # fmt: skip


def log_flags(settings: ServingSettings) -> list[str]:
    """Return vLLM's flags for the log."""
    # uvicorn's access log shows query strings, which may hold a key; `dragoman.access` replaces it.
    flags = ["--disable-uvicorn-access-log"]
    # A progress bar is no line of a log.
    return [*flags, "--no-use-tqdm-on-load"] if settings.log == "json" else flags


def log_environment(
    settings: ServingSettings, folder: Path, environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return what the server's processes need to log as the settings say; writes into `folder`.

    A user's own logging configuration wins. With `log: text` vLLM's format stays.
    """
    environment = os.environ if environment is None else environment
    if settings.log == "text" or environment.get(_VARIABLE):
        return {}
    config = logging_config(
        level=(environment.get("VLLM_LOGGING_LEVEL") or "INFO").upper(),
        stream=environment.get("VLLM_LOGGING_STREAM") or "ext://sys.stdout",
    )
    file = folder / _FILE
    file.write_text(json.dumps(config), encoding="utf-8")
    return {_VARIABLE: str(file)}


def logging_config(*, level: str = "INFO", stream: str = "ext://sys.stdout") -> dict[str, Any]:
    """Return a configuration for logging.config.dictConfig by which everything is JSON.

    level is for vLLM, uvicorn and us; of all others warnings are shown, as without one.
    """
    ours: dict[str, Any] = {"handlers": ["json"], "level": level, "propagate": False}
    # They bring handlers of their own, which this takes away.
    others: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"json": {"()": f"{__name__}.json_handler", "stream": stream}},
        "root": {"handlers": ["json"], "level": "WARNING"},
        "loggers": {
            **dict.fromkeys(("vllm", "uvicorn", "dragoman"), ours),
            **dict.fromkeys(("transformers", "huggingface_hub", "torch"), others),
            _QUOTES: {"level": "ERROR"},
        },
    }


def log_as_vllm() -> None:
    """Let our loggers write as vLLM's do, where no configuration says how: `log: text`."""
    ours, vllm = logging.getLogger("dragoman"), logging.getLogger("vllm")
    if ours.handlers or not vllm.handlers:
        return
    for handler in vllm.handlers:
        ours.addHandler(handler)
    ours.setLevel(vllm.level)
    ours.propagate = False  # some library may have given the root a handler, too
    logging.getLogger(_QUOTES).setLevel(logging.ERROR)


def json_note(message: str) -> None:
    """Print to stderr what the supervisor has to say, as a line of the log."""
    record = logging.LogRecord("dragoman.supervisor", logging.INFO, "", 0, message, None, None)
    record.processName = "Supervisor"
    sys.stderr.write(JsonLines().format(record) + "\n")
    sys.stderr.flush()


def json_handler(stream: TextIO) -> logging.Handler:
    """Return the one handler; warnings and uncaught exceptions of the process go to it, too."""
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = _log_uncaught_in_thread
    handler = WholeLines(stream)
    handler.setFormatter(JsonLines())
    return handler


class WholeLines(logging.StreamHandler[TextIO]):
    """Writes a line at once: the processes of a server share one pipe, and a buffer cuts lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            line = memoryview(f"{self.format(record)}\n".encode())
            self.stream.flush()
            descriptor = self.stream.fileno()
            while line:
                line = line[os.write(descriptor, line) :]
        except Exception:  # noqa: BLE001 - as logging's own handlers: a log never stops its program
            self.handleError(record)


class JsonLines(logging.Formatter):
    """A record as one line of JSON, in ASCII: whatever it holds, the line can be parsed."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, process and message, and the record's extra fields."""
        said: dict[str, Any] = {
            "ts": _rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "process": getattr(record, "vllm_process_name", record.processName),
            "pid": record.process,
            "message": _text(_message(record)),
        }
        if record.exc_info and record.exc_info[0] is not None:
            said["exception"] = _text(self.formatException(record.exc_info))
        for name, value in vars(record).items():
            if name not in _KNOWN and name not in said:
                said[_text(name)] = _plain(value)
        return json.dumps(said)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - a bad format, or an argument that cannot be shown
        return f"{_shown(record.msg)} % {_shown(record.args)}"


def _plain(value: Any, depth: int = 0) -> Any:
    """Return what JSON can hold of a value."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _number(value)
    if isinstance(value, (bytes, bytearray)):
        return value.decode("utf-8", "backslashreplace")
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {_text(_shown(key)): _plain(inner, depth + 1) for key, inner in value.items()}
    if depth < _DEEPEST and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(inner, depth + 1) for inner in value]
    return _text(_shown(value))


def _number(value: float) -> float | str:
    if isinstance(value, int):
        # Python refuses to write very long ones.
        return int(value) if value.bit_length() < 64 else hex(value)
    return float(value) if math.isfinite(value) else str(value)


def _shown(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - anybody's __str__
        return f"<{type(value).__name__} that cannot be shown>"


def _text(text: str) -> str:
    # Half of a surrogate pair is no Unicode, and strict readers refuse it.
    return text.encode("utf-8", "replace").decode()


def _rfc3339(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def _log_uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    logging.getLogger("dragoman.uncaught").critical(
        "uncaught %s", kind.__name__, exc_info=(kind, error, traceback)
    )


def _log_uncaught_in_thread(uncaught: threading.ExceptHookArgs) -> None:
    if uncaught.exc_value is not None:
        _log_uncaught(uncaught.exc_type, uncaught.exc_value, uncaught.exc_traceback)
