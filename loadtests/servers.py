"""Servers to measure: ours and plain vLLM, as child processes, spoken to by HTTP only."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

_START_TIMEOUT_S: Final = 600.0
_STOP_TIMEOUT_S: Final = 60.0
# Our supervisor ends a server that is still starting at once.
_GIVE_UP_TIMEOUT_S: Final = 5.0
_AGAIN_S: Final = 2.0
# What makes a server ours, and what makes it serve adapters; each flag has a value.
_OURS: Final = ("--middleware", "--worker-extension-cls", "--scheduler-cls")
_LORA: Final = ("--max-loras", "--max-cpu-loras", "--max-lora-rank")
_TAIL_CHARS: Final = 2000


class ServerFailed(RuntimeError):
    """A server that was not ready in time, or exited; the message ends with its log."""


@dataclass(frozen=True)
class Running:
    """A server that takes requests."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    start_s: float


@dataclass(frozen=True)
class Launch:
    """A command that serves on `port` once `ready_path` answers 200."""

    command: Sequence[str]
    port: int
    ready_path: str
    environment: Mapping[str, str]
    # Its process is a supervisor, which ends the server's own session.
    supervised: bool = False


def dragoman(base: str, registry: Path, flags: Sequence[str] = ()) -> Launch:
    """Return the launch of our server."""
    port = free_port()
    command = [
        sys.executable, "-m", "dragoman", "serve", "--base", base, "--registry", str(registry),
        "--port", str(port), *flags,
    ]  # fmt: skip
    return Launch(command, port, "/ready", {}, supervised=True)


def plain_vllm(ours: Launch, adapters: Mapping[str, Path]) -> Launch:
    """Return the launch of vLLM as it comes, on the same model, cores, allocator and flags.

    Only what makes the server ours is taken away; `adapters` go in by vLLM's own --lora-modules,
    and more may be loaded while it runs.
    """
    plan = _planned(ours)
    modules = [f"{name}={folder}" for name, folder in adapters.items()]
    command = [*_without(plan["command"], *_OURS)]
    command += ["--lora-modules", *modules] if modules else []
    return _plain(command, {**plan["environment"], "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"})


def vllm_on_our_engine(ours: Launch) -> Launch:
    """Return the launch of vLLM's own API before an engine that is ours: kernels, scheduler.

    What a request takes longer in ours than here is what our layer before the engine costs.
    """
    plan = _planned(ours)
    launch = _plain([*_without(plan["command"], "--middleware")], plan["environment"])
    in_engine = {
        "VLLM_PLUGINS": "dragoman,dragoman_cpu",
        "DRAGOMAN_SERVING": plan["environment"]["DRAGOMAN_SERVING"],
    }
    return replace(launch, environment={**launch.environment, **in_engine})


def vllm_without_lora(ours: Launch) -> Launch:
    """Return the launch of vLLM as it comes, at its best flags for a base alone.

    On a CPU vLLM 0.32 compiles the model only where LoRA is off.
    """
    plan = _planned(ours)
    command = [part for part in plan["command"] if part != "--enable-lora"]
    return _plain([*_without(command, *_OURS, *_LORA)], plan["environment"])


def _planned(ours: Launch) -> dict[str, Any]:
    dry_run = subprocess.run(
        dry_run_of(ours.command), stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(dry_run.stdout))


def dry_run_of(command: Sequence[str]) -> list[str]:
    """Return the command that only prints its plan; what follows -- is vLLM's own."""
    verb = command.index("serve") + 1
    return [*command[:verb], "--dry-run", "--json", *command[verb:]]


def _plain(command: list[str], environment: Mapping[str, str]) -> Launch:
    port = free_port()
    command[command.index("--port") + 1] = str(port)
    kept = {name: value for name, value in environment.items() if name != "DRAGOMAN_SERVING"}
    return Launch(command, port, "/health", {**kept, "VLLM_PLUGINS": ""})


def _without(command: Sequence[str], *flags: str) -> Iterator[str]:
    parts = iter(command)
    for part in parts:
        if part in flags:
            next(parts)
        else:
            yield part


def start(launch: Launch, log: Path) -> Running:
    """Return the server once it takes requests. Raises ServerFailed."""
    log.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            launch.command,
            env={**os.environ, **launch.environment},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            # No session of its own: see serving/supervisor.py.
            process_group=0,
        )
    running = Running(f"http://127.0.0.1:{launch.port}", process, log, 0.0)
    try:
        while not _is_ready(running.url + launch.ready_path):
            if process.poll() is not None or time.monotonic() - started > _START_TIMEOUT_S:
                raise ServerFailed(f"no server, see {log}; it ends with:\n{tail(log)}")
            time.sleep(0.25)
    except BaseException:
        _give_up(running, supervised=launch.supervised)
        raise
    return Running(running.url, process, log, time.monotonic() - started)


def stop(running: Running) -> None:
    """End a server that was ready, and whatever it started; it may drain."""
    _heard()
    _terminate(running.process, _STOP_TIMEOUT_S)
    _kill_group(running.process)


def _give_up(running: Running, *, supervised: bool) -> None:
    """End a server that was never ready, at once: it has no request that could be cut."""
    _heard()
    if supervised:
        _terminate(running.process, _GIVE_UP_TIMEOUT_S)
    # vLLM does not react to SIGTERM for most of its start.
    _kill_group(running.process)


def _terminate(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout_s)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def tail(log: Path) -> str:
    """Return the end of a server's log."""
    return log.read_text(encoding="utf-8", errors="replace")[-_TAIL_CHARS:]


@contextlib.contextmanager
def running(launch: Launch, log: Path) -> Iterator[Running]:
    """Yield the server while it runs."""
    server = start(launch, log)
    try:
        yield server
    finally:
        stop(server)


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def stop_on_signals() -> None:
    """Make SIGTERM and a closed terminal end this process through the exits that stop servers.

    Python drops an exception that a signal raises within a finalizer, so it is raised again until
    a server is being stopped, or the process has ended.
    """

    def leave(number: int, _: object) -> None:
        signal.signal(signal.SIGALRM, lambda *_: leave(number, None))
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def _heard() -> None:
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        return  # the timer is another's
    signal.setitimer(signal.ITIMER_REAL, 0)


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
