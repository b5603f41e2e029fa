"""vLLM only logs a plugin that does not load; our server must not start without one."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.integration.harness import ROOT, free_port
from tests.integration.streams import Client, wait_until

pytestmark = pytest.mark.slow

BREAK = 'raise ImportError("broken by a test")\n'
# Module -> what is lost with it.
PLUGINS = {
    "engine_guard": "the guard of adapter loading, in every process",
    "stats": "the stat logger",
    "api": "the endpoint plugin with the contracts",
    "worker": "the worker extension",
    "platform": "the platform with our LoRA on CPU",
    "adapter_store": "the worker's store of adapters",
    "gate": "the middleware",
    "scheduler": "the scheduler, in the engine's core",
}


def _copy_of_project(folder: Path) -> None:
    for package in ("adapters", "serving", "training", "loadtests"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copy(ROOT / "dragoman.py", folder)


def _serve(project: Path, base: Path, port: int, *vllm_flags: str) -> subprocess.Popen[str]:
    command = [sys.executable, "dragoman.py", "serve", "--base", str(base), "--port", str(port)]
    return subprocess.Popen(
        [
            *command,
            "--registry",
            str(project / "registry"),
            "--max-model-len",
            "256",
            "--",
            "--enforce-eager",  # compiled it starts no sooner, and what is tested is the start
            *vllm_flags,
        ],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(project)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


def _answers_until_exit(process: subprocess.Popen[str], port: int) -> list[int]:
    """Return every status that the server gave to a request that only a sound one may answer."""
    answers: list[int] = []

    def knock() -> None:
        # One client: making one takes 30 ms of a core that the server needs.
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
            while process.poll() is None:
                with contextlib.suppress(httpx.HTTPError):
                    answers.append(client.get("/v1/models").status_code)
                time.sleep(0.02)

    knocking = threading.Thread(target=knock, daemon=True)
    knocking.start()
    process.wait(timeout=280)
    knocking.join(timeout=10)
    return answers


def test_the_copy_starts_while_nothing_is_broken(tmp_path: Path, tiny_base: Path) -> None:
    """Without this the tests below would also pass if nothing could ever start."""
    _copy_of_project(tmp_path)
    port = free_port()
    process = _serve(tmp_path, tiny_base, port)
    try:
        deadline = time.monotonic() + 240
        plugins: list[str] = []
        while not plugins and time.monotonic() < deadline:
            assert process.poll() is None, process.stdout and process.stdout.read()
            with contextlib.suppress(httpx.HTTPError):
                plugins = httpx.get(f"http://127.0.0.1:{port}/ready", timeout=5).json()["plugins"]
            time.sleep(0.3)
        assert {*plugins} >= {"engine_guard", "stats", "api"}
        # The one server of this tier that has one API process and whose end is nobody else's.
        url = f"http://127.0.0.1:{port}"
        body = {"model": tiny_base.name, "max_tokens": 200, "stream": True}
        streams = [Client(url, **body) for _ in range(8)]
        wait_until(lambda: all(stream.events for stream in streams))
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=90)
    assert process.returncode == 0, output[-3000:]
    for stream in streams:
        stream.wait()
    assert {stream.ending() for stream in streams} == {"length"}, "the drain cut a stream"


@pytest.mark.parametrize("module", PLUGINS)
def test_server_refuses_to_start_without(module: str, tmp_path: Path, tiny_base: Path) -> None:
    _copy_of_project(tmp_path)
    path = tmp_path / "serving" / f"{module}.py"
    path.write_text(BREAK, encoding="utf-8")
    port = free_port()
    # No answer is under way that the end could wait for.
    process = _serve(tmp_path, tiny_base, port, "--shutdown-timeout", "0")
    answers = _answers_until_exit(process, port)
    output = process.stdout.read() if process.stdout else ""
    assert process.returncode == 1, output[-3000:]
    assert "error[start_refused]" in output, output[-3000:]
    assert httpx.codes.OK not in answers, f"it served without {PLUGINS[module]}"


def test_server_refuses_to_start_with_a_scheduler_that_knows_no_slots(
    tmp_path: Path, tiny_base: Path
) -> None:
    flags = ("--scheduler-cls", "vllm.v1.core.sched.async_scheduler.AsyncScheduler")
    process = _serve(ROOT, tiny_base, free_port(), *flags)
    output, _ = process.communicate(timeout=280)
    assert process.returncode == 1, output[-3000:]
    assert "not in force: scheduler in engine core 0" in output, output[-3000:]
