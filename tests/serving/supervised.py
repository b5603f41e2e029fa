"""A supervisor of fake servers, for tests of what it does when they die, hang or are signalled."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from serving.door.key import Key, hash_of
from serving.door.settings import DoorFile
from serving.launch import Launch
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
