from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from adapters.errors import SettingsInvalid, StartRefused
from serving.door.key import Key, hash_of
from serving.door.settings import DoorFile
from serving.launch import Launch
from serving.probe import require_free_port
from serving.settings import ServingSettings
from serving.supervisor import Supervisor

# A server as the supervisor sees one: answers /ready, has a worker, may die, hang or not drain.
SERVER = textwrap.dedent("""
    import http.server, os, pathlib, signal, subprocess, sys, threading, time

    folder = pathlib.Path(os.environ["FAKE_FOLDER"])
    starts = folder / "starts"
    with starts.open("a") as file:
        file.write(f"{os.getpid()}\\n")
    number = len(starts.read_text().split())
    plan = os.environ["FAKE_PLAN"].split(",")
    act = plan[min(number, len(plan)) - 1]
    worker = subprocess.Popen(["sleep", "60"])
    (folder / "worker").write_text(str(worker.pid))
    if act == "dies":
        sys.exit(3)
    if act == "hangs":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    run = pathlib.Path(os.environ["DRAGOMAN_RUN_FOLDER"])
    (folder / "run_folder").write_text(str(run))
    if act in ("busy", "stuck"):
        # Like an API process with requests left, which it ends when it is asked to drain.
        (run / "7.serving").touch()
    if act == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        def drain(*_):
            (folder / "drained").write_text(f"{(run / '7.drained').exists()}")
            os._exit(0)
        signal.signal(signal.SIGTERM, drain)

    def finish_requests():
        while not (run / "drain").exists():
            time.sleep(0.01)
        time.sleep(0.2)
        (run / "7.drained").touch()
    if act == "busy":
        threading.Thread(target=finish_requests, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/ready" else 404)
            self.end_headers()
            if act == "hangs_up":
                os.kill(os.getppid(), signal.SIGHUP)
                time.sleep(0.1)
            if act in ("dies_later", "hangs_up"):
                os._exit(4)
            if act == "deafens":
                threading.Thread(target=self.server.shutdown).start()
        def log_message(self, *_): pass

    server = http.server.HTTPServer(("127.0.0.1", int(os.environ["FAKE_PORT"])), Handler)
    server.serve_forever()
    server.server_close()
    time.sleep(60)
""")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.supervisor._POLL_S", 0.03)


class Rig:
    """One supervisor of fake servers; each start follows the next word of `plan`."""

    def __init__(self, folder: Path, plan: str, **settings: object) -> None:
        self.folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {
            "FAKE_FOLDER": str(folder), "FAKE_PLAN": plan, "FAKE_PORT": str(self.port),
        }  # fmt: skip
        facts = {"base": "b", "registry": folder, "shutdown_timeout_s": 5, **settings}
        self.ready: list[float] = []
        self.supervisor = Supervisor(
            Launch(
                (sys.executable, "-S", "-c", SERVER), environment, f"http://127.0.0.1:{self.port}"
            ),
            ServingSettings.model_validate(facts),
            on_ready=lambda _: self.ready.append(time.monotonic()),
            backoff_s=(0.05,),
        )

    def starts(self) -> int:
        file = self.folder / "starts"
        return len(file.read_text().split()) if file.exists() else 0

    def keys(self) -> list[str] | None:
        """Return the names of the keys that the server that runs now is told."""
        with contextlib.suppress(FileNotFoundError):
            folder = Path((self.folder / "run_folder").read_text())
            return [key.name for key in DoorFile(folder / "door.json").current().keys]
        return None

    def with_key(self, name: str) -> Callable[[], ServingSettings]:
        """Return what reads the settings with that key added."""
        key = Key(name=name, hash=hash_of(name))
        return lambda: self.supervisor.settings.model_copy(update={"keys": (key,)})

    def worker_is_gone(self) -> bool:
        """Return whether the worker ends: it was killed, but the kernel may need a moment."""
        stat = Path("/proc", (self.folder / "worker").read_text(), "stat")
        deadline = time.monotonic() + 2
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # A zombie has ended; who inherits it has not looked yet.
            while stat.read_text().rpartition(")")[2].split()[0] != "Z":
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)
        return True


@contextlib.contextmanager
def meanwhile(*steps: Callable[[], object]) -> Iterator[None]:
    """Run each step, in turn, as soon as the one before returned something true."""
    over = threading.Event()

    def follow() -> None:
        for step in steps:
            while not step():
                if over.wait(0.02):
                    return
            if over.is_set():
                return

    thread = threading.Thread(target=follow)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def send(number: int) -> Callable[[], bool]:
    def step() -> bool:
        os.kill(os.getpid(), number)
        return True

    return step


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_server_and_is_success(tmp_path: Path, number: int) -> None:
    rig = Rig(tmp_path, "serves")
    before = signal.getsignal(number)
    with meanwhile(lambda: rig.ready, send(number)):
        assert rig.supervisor.run() == 0
    assert (tmp_path / "drained").exists()
    assert rig.worker_is_gone()
    assert signal.getsignal(number) is before


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


@pytest.mark.slow
def test_a_terminal_that_closes_ends_the_server_and_kill_does_not(tmp_path: Path) -> None:
    # A leader of a session that has no terminal takes the first one that it opens.
    script = textwrap.dedent(f"""
        import os, pathlib
        os.close(os.open(os.ttyname(0), os.O_RDWR))
        from tests.serving.test_supervisor import Rig
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
        from tests.serving.test_supervisor import Rig
        rig = Rig(pathlib.Path({str(tmp_path)!r}), "dies")
        try:
            rig.supervisor.run()
        except StartRefused:
            worker = (rig.folder / "worker").read_text()
            sys.exit(10 if pathlib.Path("/proc", worker).exists() else 0)
    """)
    done = subprocess.run([sys.executable, "-c", script], cwd=Path.cwd(), check=False, timeout=60)
    assert done.returncode == 0
