from __future__ import annotations

import json
import logging
import logging.config
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from serving.door.log import (
    JsonLines,
    WholeLines,
    json_note,
    log_as_vllm,
    log_environment,
    log_flags,
    logging_config,
)
from serving.settings import ServingSettings


def said(record: logging.LogRecord) -> dict[str, Any]:
    """Return the fields of a line, which must be one and parse by the strict grammar of JSON."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    line = JsonLines().format(record)
    assert line.isascii()
    assert len(line.splitlines()) == 1
    fields = json.loads(line, parse_constant=refuse)
    json.dumps(fields, ensure_ascii=False).encode()  # no half of a surrogate pair
    return dict(fields)


def record(message: Any = "hello", *args: Any, **extra: Any) -> logging.LogRecord:
    made = logging.getLogger("vllm.x").makeRecord(
        "vllm.x", logging.WARNING, __file__, 1, message, args, None, extra=extra
    )
    made.created = 1_790_000_000.9996
    return made


def test_a_line_says_when_what_where_and_who() -> None:
    made = record("%d tokens", 3)
    assert said(made) == {
        "ts": "2026-09-21T14:13:20.999Z", "level": "WARNING", "logger": "vllm.x",
        "process": "MainProcess", "pid": os.getpid(), "message": "3 tokens",
    }  # fmt: skip
    made.vllm_process_name = "EngineCore"
    assert said(made)["process"] == "EngineCore"


@pytest.mark.parametrize("text", [
    "two\nlines", "\r\n", "\x00\x1b[31m", "\u2028\x85", "你好 😀", '"}', "\\ud800", "",
])  # fmt: skip
def test_any_text_comes_back_from_its_line(text: str) -> None:
    fields = said(record("%s", text, field=text))
    assert fields["message"] == text
    assert fields["field"] == text


def test_half_of_a_surrogate_pair_is_replaced() -> None:
    fields = said(record("a\ud800b", field="\udfff", inner={"\ud800": ["\ud800"]}))
    assert (fields["message"], fields["field"]) == ("a?b", "?")
    assert fields["inner"] == {"?": ["?"]}


class Hostile:
    """Something that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def endless() -> list[Any]:
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(("value", "shown"), [
    (None, None), (True, True), (7, 7), (1.5, 1.5), (float("nan"), "nan"), (-float("inf"), "-inf"),
    (1 << 64, "0x10000000000000000"), (b"a\xff", "a\\xff"), (Path("/x"), "/x"),
    ({1: {2.5: b"x"}}, {"1": {"2.5": "x"}}), ((1, [2]), [1, [2]]), ({3}, [3]),
    (Hostile(), "<Hostile that cannot be shown>"), ({Hostile(): 1},
     {"<Hostile that cannot be shown>": 1}), (ValueError("bad"), "bad"),
])  # fmt: skip
def test_an_extra_field_is_shown_whatever_it_is(value: Any, shown: Any) -> None:
    assert said(record(field=value))["field"] == shown


def test_what_contains_itself_is_shown_to_some_depth() -> None:
    assert "[...]" in json.dumps(said(record(field=endless())))


def test_an_extra_field_cannot_take_the_place_of_one_of_the_line_s_own() -> None:
    fields = said(record(level="DEBUG", ts="never", pid=1, logger="other"))
    assert (fields["level"], fields["logger"], fields["pid"]) == ("WARNING", "vllm.x", os.getpid())
    assert fields["ts"].startswith("2026-")


def test_a_message_that_does_not_fit_its_arguments_is_still_logged() -> None:
    assert said(record("%d tokens", "three"))["message"] == "%d tokens % ('three',)"
    assert said(record("%s", Hostile()))["message"].startswith("%s % ")
    assert said(record(b"bytes"))["message"] == "b'bytes'"


def test_an_exception_is_a_string_of_its_line() -> None:
    made = record("failed")
    try:
        raise ValueError("two\nlines \ud800")
    except ValueError:
        made.exc_info = sys.exc_info()
    fields = said(made)
    assert fields["message"] == "failed"
    assert fields["exception"].startswith("Traceback (most recent call last):\n")
    assert fields["exception"].endswith("ValueError: two\nlines ?")


def test_no_exception_is_said_where_none_is_handled() -> None:
    made = record("fine")
    made.exc_info = (None, None, None)
    assert "exception" not in said(made)


def test_a_note_of_the_supervisor_is_a_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    json_note("ready: http://x\n")
    fields = json.loads(capsys.readouterr().err)
    assert fields["message"] == "ready: http://x\n"
    assert fields["process"] == "Supervisor"
    assert fields["logger"] == "dragoman.supervisor"


def test_lines_go_out_whole_in_one_call_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    write = os.write

    def counted(descriptor: int, data: Any) -> int:
        calls.append(len(data))
        return write(descriptor, data)

    with (tmp_path / "log").open("w") as stream:
        handler = WholeLines(stream)
        monkeypatch.setattr(os, "write", counted)
        for text in ("short", "x" * 100_000):
            handler.emit(record(text))
    assert calls == [6, 100_001]
    assert (tmp_path / "log").read_text() == f"short\n{'x' * 100_000}\n"


def test_lines_and_what_others_print_to_the_stream_stay_in_order(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stream:
        stream.write("printed\n")
        WholeLines(stream).emit(record("logged"))
    assert (tmp_path / "log").read_text() == "printed\nlogged\n"


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Our configuration, in force for one test: what was logged so far."""
    root = logging.getLogger()
    names = ("vllm", "uvicorn", "dragoman", "transformers", "huggingface_hub", "torch")
    touched = [root, *map(logging.getLogger, names)]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in touched]
    hooks, threads = sys.excepthook, threading.excepthook
    out = tmp_path / "out"
    with out.open("w") as stream, warnings.catch_warnings():
        config = logging_config()
        config["handlers"]["json"]["stream"] = stream
        logging.getLogger("transformers").addHandler(logging.StreamHandler(stream))
        try:
            logging.config.dictConfig(config)
            yield lambda: [json.loads(line) for line in out.read_text().splitlines()]
        finally:
            for log, handlers, level, propagate in before:
                log.handlers[:], log.propagate = handlers, propagate
                log.setLevel(level)
            logging.captureWarnings(capture=False)
            sys.excepthook, threading.excepthook = hooks, threads


def test_every_logger_writes_each_line_once(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    names = ["vllm.engine", "uvicorn.error", "dragoman.access", "asyncio", "transformers.x"]
    for name in names:
        logging.getLogger(name).warning("w")
    assert [line["logger"] for line in logged()] == names


def test_what_others_say_below_a_warning_is_left_out(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    logging.getLogger("httpx").info("GET http://x?api_key=secret")
    quoting = logging.getLogger("vllm.entrypoints.openai.chat_completion.protocol")
    quoting.warning("Found content type: '%s'.", "what somebody wrote")
    logging.getLogger("vllm.x").info("shown")
    assert [line["message"] for line in logged()] == ["shown"]


def test_warnings_and_uncaught_exceptions_are_lines(
    logged: Callable[[], list[dict[str, Any]]],
) -> None:
    warnings.simplefilter("always")
    warnings.warn("old", FutureWarning, stacklevel=1)

    def fail() -> None:
        raise ValueError("in a thread")

    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    with suppress(ValueError):
        fail()
    sys.excepthook(ValueError, ValueError("at the end"), None)
    warned, in_thread, at_end = logged()
    assert (warned["logger"], warned["level"]) == ("py.warnings", "WARNING")
    assert "FutureWarning: old" in warned["message"]
    assert "ValueError: in a thread" in in_thread["exception"]
    assert at_end["level"] == "CRITICAL"
    assert at_end["exception"] == "ValueError: at the end"


def settings(log: str) -> ServingSettings:
    return ServingSettings.model_validate({"base": "tiny", "log": log})


def test_with_json_the_processes_are_told_of_a_file_in_the_run_folder(tmp_path: Path) -> None:
    told = log_environment(settings("json"), tmp_path, {"VLLM_LOGGING_LEVEL": "debug"})
    [file] = tmp_path.iterdir()
    assert told == {"VLLM_LOGGING_CONFIG_PATH": str(file)}
    config = json.loads(file.read_text())
    assert config == logging_config(level="DEBUG")
    assert config["loggers"]["vllm"]["level"] == "DEBUG"
    assert config["handlers"]["json"]["stream"] == "ext://sys.stdout"


def test_the_stream_is_the_one_that_vllm_was_told(tmp_path: Path) -> None:
    stream = "ext://sys.stderr"
    log_environment(settings("json"), tmp_path, {"VLLM_LOGGING_STREAM": stream})
    assert stream in (tmp_path / "logging.json").read_text()


@pytest.mark.parametrize(("log", "environment"), [
    ("text", {}), ("json", {"VLLM_LOGGING_CONFIG_PATH": "/theirs.json"}),
])  # fmt: skip
def test_vllm_s_own_format_and_a_user_s_configuration_are_left_alone(
    log: str, environment: dict[str, str], tmp_path: Path
) -> None:
    assert log_environment(settings(log), tmp_path, environment) == {}
    assert not list(tmp_path.iterdir())


def test_uvicorn_s_access_log_is_off_and_progress_bars_are_where_all_is_json() -> None:
    assert log_flags(settings("text")) == ["--disable-uvicorn-access-log"]
    assert log_flags(settings("json"))[1:] == ["--no-use-tqdm-on-load"]


def test_with_text_our_lines_look_as_vllm_s(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, vllm = logging.getLogger("dragoman"), logging.getLogger("vllm")
    monkeypatch.setattr(ours, "handlers", [])
    monkeypatch.setattr(ours, "propagate", False)  # pytest listens at the root
    monkeypatch.setattr(vllm, "handlers", [logging.NullHandler()])
    monkeypatch.setattr(vllm, "level", logging.DEBUG)
    quoting = logging.getLogger("vllm.entrypoints.openai.chat_completion.protocol")
    before = ours.level, quoting.level
    try:
        log_as_vllm()
        log_as_vllm()
        assert ours.handlers == vllm.handlers
        assert ours.level == logging.DEBUG
        assert not quoting.isEnabledFor(logging.WARNING)
    finally:
        ours.setLevel(before[0])
        quoting.setLevel(before[1])


def test_a_configuration_of_our_loggers_is_not_overridden(
    logged: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vllm"), "handlers", [logging.NullHandler()])
    before = logging.getLogger("dragoman").handlers[:]
    log_as_vllm()
    assert logging.getLogger("dragoman").handlers == before


def test_a_configuration_imports_nothing_heavy_into_the_engine_s_processes() -> None:
    source = Path(sys.modules[JsonLines.__module__].__file__ or "").read_text()
    imported = set(re.findall(r"^(?:from|import) (\w+)", source, re.MULTILINE))
    assert imported - {"__future__"} <= sys.stdlib_module_names
