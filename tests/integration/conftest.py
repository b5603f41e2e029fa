"""One real engine for the whole session, on the embedded base, with adapters of known answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.locations import bases_root
from adapters.preload import preload_env
from tests.integration.harness import (
    ROOT,
    WORDS,
    Publish,
    RunningServer,
    dragoman,
    start_server,
)


@pytest.fixture(scope="session")
def base() -> Path:
    """The embedded base model; built on the first use on a machine."""
    dragoman("base", "fetch", "gemma3-270m")
    return bases_root() / "gemma3-270m"


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random two-layer Llama: starts fast, answers nonsense."""
    folder = tmp_path_factory.mktemp("tiny-base")
    script = ROOT / "tests" / "integration" / "tiny_base.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def publish_constants(base: Path, registry_root: Path) -> Publish:
    """A function that trains and publishes adapters of one constant answer: `id=word`."""

    def publish(*items: str) -> None:
        script = Path(__file__).with_name("constant_adapters.py")
        subprocess.run(
            [sys.executable, str(script), str(registry_root), str(base), *items],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **preload_env()},
            check=True,
            timeout=580,
        )

    return publish


@pytest.fixture(scope="session")
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry of the session's server."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def server(
    base: Path,
    publish_constants: Publish,
    registry_root: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningServer]:
    """The session's server: three adapters of known answers, two slots in the engine."""
    publish_constants(*(f"{name}={word}" for name, word in WORDS.items()))
    log = tmp_path_factory.mktemp("log") / "server.log"
    running = start_server(registry_root, log, "--max-loras", "2")
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, log.read_text(errors="replace")[-4000:]
