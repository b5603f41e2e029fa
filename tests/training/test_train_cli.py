from __future__ import annotations

import sys
from typing import NoReturn

import pytest

from training import train_cli


class Replaced(Exception):
    """The process would be another one now."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict[str, str]]]:
    calls: list[tuple[list[str], dict[str, str]]] = []

    def execve(path: str, arguments: list[str], environ: dict[str, str]) -> NoReturn:
        calls.append((arguments, environ))
        raise Replaced

    monkeypatch.setattr("os.execve", execve)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return calls


def preload(monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], command: str) -> None:
    monkeypatch.setattr("adapters.preload.preload_env", lambda: environ)
    monkeypatch.setattr(sys, "argv", [command, "train", "r.yaml"])
    monkeypatch.setattr(sys, "orig_argv", ["python", command, "train", "r.yaml"])


@pytest.mark.parametrize("command", ["/venv/bin/dragoman", "/checkout/dragoman.py"])
def test_the_command_starts_again_with_the_fast_libraries(
    monkeypatch: pytest.MonkeyPatch, started: list[tuple[list[str], dict[str, str]]], command: str
) -> None:
    preload(monkeypatch, {"LD_PRELOAD": "libfast.so"}, command)
    with pytest.raises(Replaced):
        train_cli.restart_with_fast_libraries()
    ((arguments, environ),) = started
    assert arguments == [sys.executable, command, "train", "r.yaml"]
    assert environ["LD_PRELOAD"] == "libfast.so"
    assert environ["OMP_NUM_THREADS"] == "1"  # set by the user, so it stays


def test_it_does_not_start_again_when_they_are_loaded_or_absent(
    monkeypatch: pytest.MonkeyPatch, started: list[tuple[list[str], dict[str, str]]]
) -> None:
    preload(monkeypatch, {}, "/venv/bin/dragoman")
    train_cli.restart_with_fast_libraries()
    assert started == []


def test_a_caller_in_another_program_is_not_replaced(
    monkeypatch: pytest.MonkeyPatch, started: list[tuple[list[str], dict[str, str]]]
) -> None:
    preload(monkeypatch, {"LD_PRELOAD": "libfast.so"}, "/venv/bin/pytest")
    train_cli.restart_with_fast_libraries()
    assert started == []


def test_the_way_to_go_on_quotes_and_says_resume_once() -> None:
    argv = ["/venv/bin/dragoman", "train", "my recipe.yaml", "--resume", "--publish"]
    assert train_cli._resume_command(argv) == "dragoman train 'my recipe.yaml' --publish --resume"
