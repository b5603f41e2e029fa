from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from adapters.errors import StartRefused
from serving.probe import require_free_port
from tests.serving.supervised import Rig, meanwhile, send


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.supervisor._POLL_S", 0.03)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_server_and_is_success(tmp_path: Path, number: int) -> None:
    rig = Rig(tmp_path, "serves")
    before = signal.getsignal(number)
    with meanwhile(lambda: rig.ready, send(number)):
        assert rig.supervisor.run() == 0
    assert (tmp_path / "drained").exists()
    assert rig.worker_is_gone()
    assert signal.getsignal(number) is before


def test_the_servers_environment_has_none_of_the_doors_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAGOMAN_USAGE", "postgresql://u:sesame@h/d")
    monkeypatch.setenv("DRAGOMAN_KEYS_FILE", "/run/secrets/sesame")
    rig = Rig(tmp_path, "serves", usage="postgresql://u:sesame@h/d")
    seen: list[bytes] = []

    def look() -> bool:
        (server,) = (tmp_path / "starts").read_text().split()
        seen.append(Path("/proc", server, "environ").read_bytes())
        return True

    with meanwhile(lambda: rig.ready, look, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert b"FAKE_PLAN" in seen[0]
    assert b"sesame" not in seen[0]


def test_with_a_log_of_json_the_server_is_told_so_and_every_note_is_a_line_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rig = Rig(tmp_path, "serves", log="json")
    rig.supervisor.on_ready = None
    config: list[Path] = []

    def look() -> bool:
        (server,) = (tmp_path / "starts").read_text().split()
        variables = Path("/proc", server, "environ").read_text().split("\0")
        named = dict(line.split("=", 1) for line in variables if line)
        config.append(Path(named["VLLM_LOGGING_CONFIG_PATH"]))
        return config[0].is_file()

    said = ""

    def ready() -> bool:
        nonlocal said
        said += capsys.readouterr().err
        return "ready" in said

    with meanwhile(ready, look, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    messages = [json.loads(line)["message"] for line in said.splitlines()]
    assert messages == [f"ready: http://127.0.0.1:{rig.port}/v1"]
    assert config


def test_a_server_that_dies_before_it_was_ready_is_refused_and_not_tried_again(
    tmp_path: Path,
) -> None:
    rig = Rig(tmp_path, "dies")
    with pytest.raises(StartRefused, match="code 3 before it was ready"):
        rig.supervisor.run()
    assert rig.starts() == 1
    assert rig.worker_is_gone()


def test_a_server_that_is_never_ready_is_ended_after_its_time(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "hangs", start_timeout_s=0.5)
    with pytest.raises(StartRefused, match="not ready within"):
        rig.supervisor.run()
    assert rig.worker_is_gone()


def test_a_server_that_dies_later_is_started_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "dies_later,dies,serves")
    with meanwhile(lambda: len(rig.ready) == 2, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.starts() == 3


def test_a_restart_that_hangs_is_ended_and_tried_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "dies_later,hangs,serves", start_timeout_s=0.8)
    with meanwhile(lambda: len(rig.ready) == 2, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.starts() == 3


def test_a_server_that_listens_no_more_and_does_not_exit_is_ended_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.supervisor._LISTENS_EVERY_S", 0.05)
    monkeypatch.setattr("serving.supervisor._DEAF_S", 0.2)
    rig = Rig(tmp_path, "deafens,serves")
    with meanwhile(lambda: len(rig.ready) == 2, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.starts() == 2


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "hangs")
    with meanwhile((tmp_path / "worker").exists, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.starts() == 1
    assert rig.ready == []
    assert rig.worker_is_gone()


def test_a_second_signal_does_not_wait_for_the_drain(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "deaf", shutdown_timeout_s=60)
    started = time.monotonic()
    calm = threading.Event()
    steps = (lambda: rig.ready, send(signal.SIGINT), lambda: not calm.wait(0.1))
    with meanwhile(*steps, send(signal.SIGINT)):
        assert rig.supervisor.run() == 0
    assert time.monotonic() - started < 10
    assert rig.worker_is_gone()


def test_a_server_that_does_not_drain_is_killed_after_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.supervisor._KILL_AFTER_S", 0.1)
    rig = Rig(tmp_path, "deaf", shutdown_timeout_s=0)
    with meanwhile(lambda: rig.ready, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert rig.worker_is_gone()


def test_the_server_is_ended_only_once_its_requests_have_finished(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "busy")
    with meanwhile(lambda: rig.ready, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert (tmp_path / "drained").read_text() == "True"


def test_requests_that_do_not_finish_hold_the_end_up_for_the_set_time_only(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "stuck", shutdown_timeout_s=1)
    with meanwhile(lambda: rig.ready, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert (tmp_path / "drained").read_text() == "False"
    assert 1 <= time.monotonic() - rig.ready[0] < 3


def test_the_server_has_a_group_of_its_own_in_our_session(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "serves")
    seen: list[tuple[bool, bool]] = []

    def look() -> bool:
        (server,) = map(int, (tmp_path / "starts").read_text().split())
        seen.append((os.getpgid(server) == server, os.getsid(server) == os.getsid(0)))
        return True

    with meanwhile(lambda: rig.ready, look, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert seen == [(True, True)]


def test_the_folder_of_a_run_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(runs))
    rig = Rig(tmp_path, "dies_later,serves")
    with meanwhile(lambda: len(rig.ready) == 2, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0
    assert list(runs.iterdir()) == []


def test_an_error_of_ours_leaves_no_server_behind(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "serves")

    def fail(_: str) -> None:
        raise RuntimeError("ours")

    rig.supervisor.on_ready = fail
    with pytest.raises(RuntimeError, match="ours"):
        rig.supervisor.run()
    assert rig.worker_is_gone()


def test_a_proxy_of_the_environment_is_not_asked_for_our_own_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    rig = Rig(tmp_path, "serves", start_timeout_s=5)
    with meanwhile(lambda: rig.ready, send(signal.SIGTERM)):
        assert rig.supervisor.run() == 0


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    rig = Rig(tmp_path, "serves")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", rig.port))
        taken.listen()
        with pytest.raises(StartRefused, match=rf"127\.0\.0\.1:{rig.port}.*--port"):
            rig.supervisor.run()
    assert rig.starts() == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://127.0.0.1:many"])
def test_a_port_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(StartRefused, match="--port"):
        require_free_port(url)


def test_as_process_1_it_buries_the_workers(tmp_path: Path) -> None:
    # PR_SET_CHILD_SUBREAPER (36): orphans come to this process, as they do to process 1.
    script = textwrap.dedent(f"""
        import ctypes, pathlib, sys
        assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
        from adapters.errors import StartRefused
        from tests.serving.supervised import Rig
        rig = Rig(pathlib.Path({str(tmp_path)!r}), "dies")
        try:
            rig.supervisor.run()
        except StartRefused:
            worker = (rig.folder / "worker").read_text()
            sys.exit(10 if pathlib.Path("/proc", worker).exists() else 0)
    """)
    done = subprocess.run([sys.executable, "-c", script], cwd=Path.cwd(), check=False, timeout=60)
    assert done.returncode == 0
