from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtests import servers
from loadtests.servers import Launch

# Notes its process id, and ends on SIGTERM or does not.
STARTING = """
import os, pathlib, signal, subprocess, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    def end(*_):
        pathlib.Path(sys.argv[1], "ended").touch()
        sys.exit()
    signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "pid").write_text(str(os.getpid()))
time.sleep(60)
"""


def start_and_interrupt(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, supervised: bool, deaf: bool
) -> tuple[int, float]:
    """Return the process id of the server that Ctrl-C met while it started, and the seconds."""
    command = [sys.executable, "-S", "-c", STARTING, str(folder), "deaf" if deaf else "hears"]
    pid = folder / "pid"
    interrupted = 0.0

    def is_ready(_: str) -> bool:
        nonlocal interrupted
        if pid.exists() and pid.read_text():
            interrupted = time.monotonic()
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(servers, "_is_ready", is_ready)
    launch = Launch(command, servers.free_port(), "/ready", {}, supervised=supervised)
    with pytest.raises(KeyboardInterrupt):
        servers.start(launch, folder / "log")
    return int(pid.read_text()), time.monotonic() - interrupted


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("deaf", [False, True])
def test_a_plain_server_that_is_starting_ends_at_once_whatever_it_does_on_a_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, deaf: bool
) -> None:
    pid, took_s = start_and_interrupt(tmp_path, monkeypatch, supervised=False, deaf=deaf)
    assert is_gone(pid)
    assert took_s < 2


def test_a_supervisor_is_asked_so_that_it_ends_the_session_of_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid, took_s = start_and_interrupt(tmp_path, monkeypatch, supervised=True, deaf=False)
    assert (tmp_path / "ended").exists()
    assert is_gone(pid)
    assert took_s < 2


def test_a_supervisor_that_does_not_end_is_not_waited_for_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(servers, "_GIVE_UP_TIMEOUT_S", 0.1)
    pid, took_s = start_and_interrupt(tmp_path, monkeypatch, supervised=True, deaf=True)
    assert is_gone(pid)
    assert took_s < 2


# A bench or the demo, while its server starts.
CALLER = """
import sys
from pathlib import Path
from loadtests import servers
servers.stop_on_signals()
command = [sys.executable, "-S", "-c", sys.argv[2], sys.argv[1], "hears"]
launch = servers.Launch(command, servers.free_port(), "/ready", {}, supervised=True)
if "drops" in sys.argv:
    import time
    def is_ready(_):
        try:
            time.sleep(30)
        except SystemExit:
            servers._is_ready = lambda _: False
        return False
    servers._is_ready = is_ready
    servers._AGAIN_S = 0.3
servers.start(launch, Path(sys.argv[1], "log"))
"""


@pytest.mark.parametrize(
    ("number", "how"),
    # An exception that is raised within a finalizer is dropped.
    [(signal.SIGTERM, "hears"), (signal.SIGHUP, "hears"), (signal.SIGTERM, "drops")],
)
def test_a_server_does_not_outlive_its_caller_that_was_told_to_end(
    tmp_path: Path, number: signal.Signals, how: str
) -> None:
    caller = subprocess.Popen([sys.executable, "-c", CALLER, str(tmp_path), STARTING, how])
    pid = tmp_path / "pid"
    deadline = time.monotonic() + 60
    while not (pid.exists() and pid.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    caller.send_signal(number)
    assert caller.wait(30) == 128 + number
    assert (tmp_path / "ended").exists()
    assert is_gone(int(pid.read_text()))
