"""What the tests of the real engine share: the command line and a server as child processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from adapters.registry import FileRegistry

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 300
# The user message that the adapters below are trained with.
USER = "Translate from {source} to {target}: {text}"
# What each adapter answers, whatever it is asked.
WORDS = {"alpha-en-fr": "alpha", "beta-en-fr": "beta", "gamma-en-de": "gamma"}

# vLLM keeps a compiled model for each number of slots and seats: servers of one base that agree in
# both compile once, which takes a minute on a machine that has compiled nothing yet.
SLOTS, SEATS = 2, 32
AS_COMPILED = ("--max-loras", str(SLOTS), "--", "--max-num-seqs", str(SEATS))


def dragoman(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    done = subprocess.run(
        [sys.executable, "-m", "dragoman", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=580,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"dragoman {arguments}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return done


def free_port() -> int:
    """Return a port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RunningServer:
    """`dragoman serve` as a child process."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path
    registry: FileRegistry

    @cached_property
    def client(self) -> openai.OpenAI:
        """The official client, unchanged."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0)

    def ask(self, model: str, text: str = "Open the file.") -> str | None:
        """Return the answer of one chat request."""
        answer = self.client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}]
        )
        return answer.choices[0].message.content

    def samples(self, *names: str) -> list[Sample]:
        """Return the samples of these metrics, or of all, of one moment."""
        families = text_string_to_metric_families(httpx.get(f"{self.url}/metrics").text)
        samples = (sample for family in families for sample in family.samples)
        return [sample for sample in samples if not names or sample.name in names]

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of one metric that carry these labels."""
        found = self.samples(name)
        return sum(sample.value for sample in found if labels.items() <= sample.labels.items())

    def stop(self) -> int:
        """Ask the server to end; return its exit code."""
        self.client.close()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=90)


def start_server(
    registry: Path, log: Path, *arguments: str, base: str = "gemma3-270m"
) -> RunningServer:
    """Return a server that answers /ready; fails with the end of its log otherwise."""
    port = free_port()
    command = [sys.executable, "-m", "dragoman", "serve", "--base", base, "--port", str(port)]
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*command, "--registry", str(registry), *arguments],
            cwd=ROOT,
            # TRL, once a test of the training has imported it, asks vLLM for silence.
            env={**os.environ, "VLLM_LOGGING_LEVEL": "INFO"},
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    server = RunningServer(process, f"http://127.0.0.1:{port}", log, FileRegistry(registry))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{server.url}/ready", timeout=5).status_code == httpx.codes.OK:
                return server
        except httpx.HTTPError:
            time.sleep(0.5)
    process.terminate()
    tail = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    raise AssertionError(f"no server after {START_TIMEOUT_S} s:\n{tail}")
