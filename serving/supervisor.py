"""Keeps one vLLM server running: probes it, restarts it when it dies, drains it at the end.

In a container this is process 1: signals reach it, and it is what the exit code belongs to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from adapters.console import note
from adapters.errors import StartRefused
from serving.door.log import json_note, log_environment
from serving.hangups import Hangups
from serving.launch import Launch
from serving.probe import Probe, listens, require_free_port
from serving.reload import newest
from serving.run_folder import VARIABLE, RunFolder
from serving.settings import DOOR_NAMES, ServingSettings
from serving.settings_sources import file_variable_of, variable_of

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
    # What the sources of the settings say now; raises SettingsInvalid.
    read_again: Callable[[], ServingSettings] | None = None
    on_ready: Callable[[str], None] | None = None
    backoff_s: tuple[float, ...] = _BACKOFF_S
    _child: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _run_folder: RunFolder | None = field(default=None, init=False)
    _last_used: bytes = field(default=b"", init=False)
    _asked_to_stop: int = field(default=0, init=False)
    _hangups: Hangups = field(default_factory=Hangups, init=False)

    def run(self) -> int:
        """Run until a signal ends it; return the exit code. Raises StartRefused.

        A server that dies before it was ever ready is not tried again: its settings are wrong.
        """
        require_free_port(self.launch.url)
        with self._signals(), contextlib.closing(Probe(self.launch.url)) as probe:
            try:
                return self._run(probe)
            finally:
                self._end_group()

    def _run(self, probe: Probe) -> int:
        failures = 0
        was_ready = False
        while True:
            started = time.monotonic()
            self._start()
            if self._wait_until_ready(probe):
                was_ready = True
                self._tell_ready()
                self._wait_for_end_or_signal()
                if self._stopping():
                    self._drain()
            if self._stopping():
                self._say("stopped")
                return 0
            hung = self._running()
            code = self._end_group()
            if not was_ready:
                raise self._refused(code, hung=hung)
            failures = 1 if time.monotonic() - started > _STEADY_S else failures + 1
            pause = self.backoff_s[min(failures, len(self.backoff_s)) - 1]
            died = "was hung" if hung else f"died with code {code}"
            self._say(f"the server {died}; starting it again in {pause:.0f} s")
            self._sleep(pause)
            if self._stopping():
                self._say("stopped")
                return 0

    def _start(self) -> None:
        # A group of its own: a terminal's Ctrl-C reaches only us, and the engine's processes can be
        # ended together whatever becomes of their parent. Not a session: Linux weighs sessions
        # against each other, and beside one that spins in sched_yield, as vLLM's processes do,
        # others were seen to stand still for seconds (Linux 6.18, steps of a millisecond).
        self._run_folder = RunFolder.make(self._last_used)
        self._run_folder.write_door(self.settings.door.to_json())
        of_this_run = {
            VARIABLE: str(self._run_folder.folder),
            **log_environment(self.settings, self._run_folder.folder),
        }
        self._child = subprocess.Popen(
            self.launch.command,
            env={**_inherited(), **self.launch.environment, **of_this_run},
            # A group in the background that read the terminal would be stopped.
            stdin=subprocess.DEVNULL,
            process_group=0,
        )

    def _wait_until_ready(self, probe: Probe) -> bool:
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
            self._pause(_POLL_S)
            if time.monotonic() - asked > _LISTENS_EVERY_S:
                asked = time.monotonic()
                heard = asked if listens(self.launch.url) else heard
                if asked - heard > _DEAF_S:
                    return

    def _drain(self) -> None:
        """Refuse new requests, let running ones finish, and only then end the server.

        vLLM's own drain aborts what has not reached its engine yet, and cuts every stream where
        there are several API processes. A second signal, or the time, ends the waiting.
        """
        if self._run_folder is None or not self._running():
            return
        self._say(f"draining for at most {self.settings.shutdown_timeout_s} s")
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
            self._pause(_POLL_S)

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
        handlers = {signal.SIGTERM: self._on_signal, signal.SIGINT: self._on_signal}
        # Started with nohup, a server goes on whatever becomes of its terminal.
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            handlers[signal.SIGHUP] = self._hangups.count
        before = [(number, signal.signal(number, each)) for number, each in handlers.items()]
        try:
            yield
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        # Only counted: the code that it interrupts may hold the lock of the child's exit status.
        self._asked_to_stop += 1

    def _heed_hangups(self) -> None:
        """Read the settings again if SIGHUP came; a closed terminal ends the server, too."""
        if not self._hangups.take():
            return
        if self._hangups.lost_terminal():
            self._asked_to_stop += 1
        elif self.read_again is not None:
            self.settings = newest(
                self.settings, self.read_again, publish=self._publish, say=self._say
            )

    @property
    def _say(self) -> Callable[[str], None]:
        return notes_of(self.settings)

    def _tell_ready(self) -> None:
        if self.on_ready is not None:
            self.on_ready(self.launch.url)
        else:
            self._say(f"ready: {self.launch.url}/v1")

    def _publish(self, settings: ServingSettings) -> None:
        if self._run_folder is not None:
            self._run_folder.write_door(settings.door.to_json())

    def _stopping(self) -> bool:
        return self._asked_to_stop > 0

    def _sleep(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._stopping():
            self._pause(min(_POLL_S, seconds))

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        self._heed_hangups()


def notes_of(settings: ServingSettings) -> Callable[[str], None]:
    """Return what prints a note in the form that the log has."""
    return json_note if settings.log == "json" else note


def _inherited() -> dict[str, str]:
    """Return our environment without the door's settings: others may look into a process's."""
    ours = {name for n in DOOR_NAMES for name in (variable_of(n), file_variable_of(n))}
    return {name: value for name, value in os.environ.items() if name not in ours}
