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
    AS_COMPILED,
    ROOT,
    WORDS,
    RunningServer,
    dragoman,
    start_server,
)

# GiB, for all servers of the tests: the usual 4 take six seconds to wipe at each start.
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")


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
def registry_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The registry of the session's server."""
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(scope="session")
def server(
    base: Path, registry_root: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """The session's server: three adapters of known answers, two slots in the engine."""
    _publish_constants(registry_root, base)
    log = tmp_path_factory.mktemp("log") / "server.log"
    # Tests that fill the engine on purpose; who is sent away is the front door's own tests' matter.
    config = log.with_name("serving.yaml")
    config.write_text("limits: {backlog_s: 600}\n", encoding="utf-8")
    running = start_server(registry_root, log, "--config", str(config), *AS_COMPILED)
    try:
        yield running
    finally:
        code = running.stop()
    assert code == 0, log.read_text(errors="replace")[-4000:]


def _publish_constants(registry_root: Path, base: Path) -> None:
    """Train and publish adapters of one constant answer each."""
    script = Path(__file__).with_name("constant_adapters.py")
    words = (f"{name}={word}" for name, word in WORDS.items())
    subprocess.run(
        [sys.executable, str(script), str(registry_root), str(base), *words],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **preload_env()},
        check=True,
        timeout=580,
    )
