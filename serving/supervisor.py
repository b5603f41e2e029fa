"""Keeps one vLLM server process running: probes it, restarts it when it dies, drains it at the end.

In a container this is process 1: signals reach it, and it is what the exit code belongs to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import httpx

from adapters.console import note
from adapters.errors import StartRefused
from serving.launch import Launch
from serving.settings import ServingSettings

_POLL_S: Final = 0.25
_BACKOFF_S: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
# A run as long as this shows that the start works: the next back-off begins anew.
_STEADY_S: Final = 300.0
_KILL_AFTER_S: Final = 10.0


@dataclass
class Supervisor:
    """One server, from its first start to the signal that ends it."""

    launch: Launch
    settings: ServingSettings
    on_ready: Callable[[str], None] = lambda url: note(f"ready: {url}/v1")

    def __post_init__(self) -> None:
        """Start with nothing running."""
        self._child: subprocess.Popen[bytes] | None = None
        self._asked_to_stop = 0

    def run(self) -> int:
        """Run until a signal ends it; return the exit code. Raises StartRefused.

        A server that dies before it was ever ready is not tried again: its settings are wrong.
        """
        require_free_port(self.settings.host, self.settings.port)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        failures = 0
        while True:
            started = time.monotonic()
            self._start()
            ready = self._wait_until_ready()
            if not ready and not self._stopping() and failures == 0:
                raise self._refused()
            if ready:
                self.on_ready(self._url())
            code = self._wait_for_exit()
            if self._stopping():
                note("stopped")
                return 0
            failures = 1 if time.monotonic() - started > _STEADY_S else failures + 1
            pause = _BACKOFF_S[min(failures, len(_BACKOFF_S)) - 1]
            note(f"the server died with code {code}; starting it again in {pause:.0f} s")
            self._sleep(pause)
            if self._stopping():
                return 0

    def _start(self) -> None:
        # A session of its own: a terminal's Ctrl-C reaches only us, and the engine's processes
        # can be ended as a group whatever becomes of their parent.
        self._child = subprocess.Popen(
            self.launch.command,
            env={**os.environ, **self.launch.environment},
            start_new_session=True,
        )

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + self.settings.start_timeout_s
        while self._running() and time.monotonic() < deadline and not self._stopping():
            if self._probe():
                return True
            self._sleep(_POLL_S)
        return False

    def _wait_for_exit(self) -> int:
        asked_at: float | None = None
        while self._running():
            if self._stopping():
                if asked_at is None:
                    note(f"draining for at most {self.settings.shutdown_timeout_s} s")
                    asked_at = time.monotonic()
                    self._signal_child(signal.SIGTERM)
                grace = self.settings.shutdown_timeout_s + _KILL_AFTER_S
                if time.monotonic() - asked_at > grace:
                    break
            time.sleep(_POLL_S)
        return self._end_group()

    def _refused(self) -> StartRefused:
        timed_out = self._running()
        code = self._end_group()
        if timed_out:
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
        return self._child.wait()

    def _running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def _signal_child(self, number: int) -> None:
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(number)

    def _on_signal(self, *_: object) -> None:
        self._asked_to_stop += 1
        if self._asked_to_stop > 1:
            # Asked twice: the person does not want to wait.
            self._end_group()

    def _stopping(self) -> bool:
        return self._asked_to_stop > 0

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping():
            time.sleep(min(_POLL_S, seconds))

    def _probe(self) -> bool:
        try:
            answer = httpx.get(f"{self._url()}/ready", timeout=5)
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK

    def _url(self) -> str:
        host = self.settings.host
        shown = "127.0.0.1" if host in {"0.0.0.0", "::", ""} else host  # noqa: S104 - compared
        return f"http://{shown}:{self.settings.port}"


def require_free_port(host: str, port: int) -> None:
    """Raise StartRefused if something else listens there."""
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
