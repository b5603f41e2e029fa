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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

_START_TIMEOUT_S: Final = 600.0
_STOP_TIMEOUT_S: Final = 60.0


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


def dragoman(base: str, registry: Path, flags: Sequence[str] = ()) -> Launch:
    """Return the launch of our server."""
    port = free_port()
    command = [
        sys.executable, "-m", "dragoman", "serve", "--base", base, "--registry", str(registry),
        "--port", str(port), *flags,
    ]  # fmt: skip
    return Launch(command, port, "/ready", {})


def plain_vllm(ours: Launch, adapters: Mapping[str, Path]) -> Launch:
    """Return the launch of vLLM as it comes, on the same model, cores, allocator and flags.

    Only what makes the server ours is taken away; `adapters` go in by vLLM's own --lora-modules.
    """
    dry_run = subprocess.run(
        [*ours.command, "--dry-run", "--json"], capture_output=True, text=True, check=True
    )
    plan = json.loads(dry_run.stdout)
    port = free_port()
    command = [*_without(plan["command"], "--middleware", "--worker-extension-cls")]
    command[command.index("--port") + 1] = str(port)
    modules = [f"{name}={folder}" for name, folder in adapters.items()]
    command += ["--lora-modules", *modules] if modules else []
    environment = {k: v for k, v in plan["environment"].items() if k != "DRAGOMAN_SERVING"}
    return Launch(command, port, "/health", {**environment, "VLLM_PLUGINS": ""})


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
            start_new_session=True,
        )
    running = Running(f"http://127.0.0.1:{launch.port}", process, log, 0.0)
    try:
        while not _is_ready(running.url + launch.ready_path):
            if process.poll() is not None or time.monotonic() - started > _START_TIMEOUT_S:
                tail = log.read_text(encoding="utf-8", errors="replace")[-2000:]
                raise ServerFailed(f"no server, see {log}; it ends with:\n{tail}")
            time.sleep(0.25)
    except BaseException:
        stop(running)
        raise
    return Running(running.url, process, log, time.monotonic() - started)


def stop(running: Running) -> None:
    """End the server and whatever it started."""
    running.process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        running.process.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(running.process.pid, signal.SIGKILL)
    running.process.wait()


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


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
