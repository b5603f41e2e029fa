"""Keeps one vLLM server running: probes it, restarts it when it dies, drains it at the end.

In a container this is process 1: signals reach it, and it is what the exit code belongs to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import httpx

from adapters.console import note
from adapters.errors import StartRefused
from serving.launch import Launch
from serving.run_folder import VARIABLE, RunFolder
from serving.settings import ServingSettings

_POLL_S: Final = 0.25
_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# A run as long as this shows that the start works: the next back-off begins anew.
_STEADY_S: Final = 300.0
_KILL_AFTER_S: Final = 10.0
_LISTENS_EVERY_S: Final = 1.0
_DEAF_S: Final = 10.0


@dataclass
class Supervisor:
    """One server, from its first start to the signal that ends it."""

    launch: Launch
    settings: ServingSettings
    on_ready: Callable[[str], None] = lambda url: note(f"ready: {url}/v1")
    backoff_s: tuple[float, ...] = _BACKOFF_S
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _run_folder: RunFolder | None = field(default=None, init=False)
    _last_used: bytes = field(default=b"", init=False)
    _asked_to_stop: int = field(default=0, init=False)

    def run(self) -> int:
        """Run until a signal ends it; return the exit code. Raises StartRefused.

        A server that dies before it was ever ready is not tried again: its settings are wrong.
        """
        require_free_port(self.launch.url)
        with self._signals(), contextlib.closing(_Probe(self.launch.url)) as probe:
            try:
                return self._run(probe)
            finally:
                self._end_group()

    def _run(self, probe: _Probe) -> int:
        failures = 0
        was_ready = False
        while True:
            started = time.monotonic()
            self._start()
            if self._wait_until_ready(probe):
                was_ready = True
                self.on_ready(self.launch.url)
                self._wait_for_end_or_signal()
                if self._stopping():
                    self._drain()
            if self._stopping():
                note("stopped")
                return 0
            hung = self._running()
            code = self._end_group()
            if not was_ready:
                raise self._refused(code, hung=hung)
            failures = 1 if time.monotonic() - started > _STEADY_S else failures + 1
            pause = self.backoff_s[min(failures, len(self.backoff_s)) - 1]
            died = "was hung" if hung else f"died with code {code}"
            note(f"the server {died}; starting it again in {pause:.0f} s")
            self._sleep(pause)
            if self._stopping():
                note("stopped")
                return 0

    def _start(self) -> None:
        # A group of its own: a terminal's Ctrl-C reaches only us, and the engine's processes can be
        # ended together whatever becomes of their parent. Not a session: Linux weighs sessions
        # against each other, and beside one that spins in sched_yield, as vLLM's processes do,
        # others were seen to stand still for seconds (Linux 6.18, steps of a millisecond).
        self._run_folder = RunFolder.make(self._last_used)
        run_folder = {VARIABLE: str(self._run_folder.folder)}
        self._child = subprocess.Popen(
            self.launch.command,
            env={**os.environ, **self.launch.environment, **run_folder},
            # A group in the background that read the terminal would be stopped.
            stdin=subprocess.DEVNULL,
            process_group=0,
        )

    def _wait_until_ready(self, probe: _Probe) -> bool:
        deadline = time.monotonic() + self.settings.start_timeout_s
        while self._running() and time.monotonic() < deadline and not self._stopping():
            if probe.is_ready():
                return True
            self._sleep(_POLL_S)
        return False

    def _wait_for_end_or_signal(self) -> None:
        """Wait until the server exits, or does not listen any more and still does not exit.

        A server whose engine died waits for its clients to take what it said, and one that reads
        no more would hold the restart up for ever.
        """
        heard = asked = time.monotonic()
        while self._running() and not self._stopping():
            time.sleep(_POLL_S)
            if time.monotonic() - asked > _LISTENS_EVERY_S:
                asked = time.monotonic()
                heard = asked if _listens(self.launch.url) else heard
                if asked - heard > _DEAF_S:
                    return

    def _drain(self) -> None:
        """Refuse new requests, let running ones finish, and only then end the server.

        vLLM's own drain aborts what has not reached its engine yet, and cuts every stream where
        there are several API processes. A second signal, or the time, ends the waiting.
        """
        if self._run_folder is None or not self._running():
            return
        note(f"draining for at most {self.settings.shutdown_timeout_s} s")
        self._run_folder.ask_to_drain()
        self._wait(self.settings.shutdown_timeout_s, self._run_folder.has_drained)
        self._signal_child(signal.SIGTERM)
        self._wait(_KILL_AFTER_S, lambda: False)

    def _wait(self, seconds: float, is_over: Callable[[], bool]) -> None:
        """Wait for `is_over`, the server's end, a second signal, or so long."""
        deadline = time.monotonic() + seconds
        while self._running() and self._asked_to_stop < 2 and not is_over():
            if time.monotonic() >= deadline:
                return
            time.sleep(_POLL_S)

    def _refused(self, code: int, *, hung: bool) -> StartRefused:
        if hung:
            return StartRefused(
                f"the server was not ready within {self.settings.start_timeout_s:.0f} s; "
                "raise start_timeout_s, or look into its log above"
            )
        return StartRefused(
            f"the server exited with code {code} before it was ready; its log above says why"
        )

    def _end_group(self) -> int:
        """End what is left of the server and its workers; return the server's exit code."""
        if self._child is None:
            return 0
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        code = self._child.wait()
        # As a container's process 1 we inherit its workers, and nobody else buries them.
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-self._child.pid, 0)[0]:
                pass
        self._child = None
        if self._run_folder is not None:
            self._last_used = self._run_folder.last_used()
            self._run_folder.remove()
            self._run_folder = None
        return code

    def _running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _signal_child(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        numbers = [signal.SIGTERM, signal.SIGINT]
        # A closed terminal ends the server, too, unless it was started with nohup.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        before = [(number, signal.signal(number, self._on_signal)) for number in numbers]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        # Only counted: the code that it interrupts may hold the lock of the child's exit status.
        self._asked_to_stop += 1

    def _stopping(self) -> bool:
        return self._asked_to_stop > 0

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping():
            time.sleep(min(_POLL_S, seconds))


class _Probe:
    """Asks a server whether it is ready; one connection pool for all the questions."""

    def __init__(self, url: str) -> None:
        # Our own child on this machine: no proxy of the environment, and whatever certificate.
        self._client = httpx.Client(base_url=url, timeout=5, trust_env=False, verify=False)  # noqa: S501

    def is_ready(self) -> bool:
        """Return whether the server answers and takes requests."""
        try:
            return self._client.get("/ready").status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def close(self) -> None:
        """Close its connections."""
        self._client.close()


def _listens(url: str) -> bool:
    """Return whether a connection is not refused there; it asks nothing, so no log shows it."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=1).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def require_free_port(url: str) -> None:
    """Raise StartRefused if something else listens there."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or 0
    except ValueError as error:
        raise StartRefused(f"{url}: {error}; expected --port between 1 and 65535") from error
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StartRefused(
                f"cannot listen on {host}:{port} ({error.strerror}); stop what listens there, or "
                "choose another --port"
            ) from error
