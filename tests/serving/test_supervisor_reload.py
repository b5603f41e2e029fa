from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.errors import SettingsInvalid
from serving.settings import ServingSettings
from tests.serving.supervised import Rig, meanwhile, send


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.supervisor._POLL_S", 0.03)


class Terminal:
    """Whether there is one, as the supervisor is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
        self.there = there
        monkeypatch.setattr("serving.hangups.has_terminal", lambda: self.there)

    def close(self) -> bool:
        self.there = False
        return True


def test_sighup_ends_a_server_whose_terminal_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal(monkeypatch, there=True)
    rig = Rig(tmp_path, "serves")
    rig.supervisor.read_again = lambda: pytest.fail("nothing was to be read")
    before = signal.getsignal(signal.SIGHUP)
    with meanwhile(lambda: rig.ready, terminal.close, send(signal.SIGHUP)):
        assert rig.supervisor.run() == 0
    assert (tmp_path / "drained").exists()
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize("there", [True, False])
def test_sighup_puts_new_keys_in_force_while_the_server_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    Terminal(monkeypatch, there=there)
    rig = Rig(tmp_path, "serves")
    rig.supervisor.read_again = rig.with_key("shop")
    steps = (lambda: rig.ready, lambda: rig.keys() == [], send(signal.SIGHUP))
    with meanwhile(*steps, lambda: rig.keys() == ["shop"], send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.starts() == 1
    assert [key.name for key in rig.supervisor.settings.keys] == ["shop"]


def test_a_server_that_is_started_again_has_the_newest_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Terminal(monkeypatch, there=False)
    rig = Rig(tmp_path, "hangs_up,serves", start_timeout_s=5)
    rig.supervisor.read_again = rig.with_key("shop")
    steps = (lambda: len(rig.ready) == 2, lambda: rig.keys() == ["shop"])
    with meanwhile(*steps, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.starts() == 2


def test_a_reload_during_the_start_does_not_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Terminal(monkeypatch, there=False)
    rig = Rig(tmp_path, "hangs")

    def broken() -> ServingSettings:
        raise SettingsInvalid("a.yaml:1: wrong")

    rig.supervisor.read_again = broken
    said: list[str] = []

    def told() -> bool:
        said.append(capsys.readouterr().err)
        return "a.yaml:1: wrong" in "".join(said)

    steps = ((tmp_path / "worker").exists, send(signal.SIGHUP), told)
    with meanwhile(*steps, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert "not reloaded" in "".join(said)
    assert rig.supervisor.settings.keys == ()


@pytest.mark.slow
def test_a_terminal_that_closes_ends_the_server_and_kill_does_not(tmp_path: Path) -> None:
    # A leader of a session that has no terminal takes the first one that it opens.
    script = textwrap.dedent(f"""
        import os, pathlib
        os.close(os.open(os.ttyname(0), os.O_RDWR))
        from tests.serving.supervised import Rig
        rig = Rig(pathlib.Path({str(tmp_path)!r}), "serves")
        rig.supervisor.read_again = rig.with_key("shop")
        (rig.folder / "code").write_text(str(rig.supervisor.run()))
    """)
    terminal, other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path.cwd(),
        stdin=other_end,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(other_end)
    named = tmp_path / "run_folder"
    try:
        soon(lambda: named.exists() and named.read_text())
        os.kill(process.pid, signal.SIGHUP)
        soon(lambda: '"shop"' in Path(named.read_text(), "door.json").read_text())
        assert process.poll() is None
        os.close(terminal)
        process.wait(timeout=20)
    finally:
        process.kill()
    assert (tmp_path / "code").read_text() == "0"
    assert (tmp_path / "drained").exists()


def soon(is_so: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
