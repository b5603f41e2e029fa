"""A real Prometheus on the real server: rules, dashboards and autoscalers find what they ask."""

from __future__ import annotations

import math
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from loadtests.autoscaling.scenarios import shipped
from tests.deploy import promql
from tests.deploy.programs import debian_program
from tests.integration.harness import ROOT, WORDS, RunningServer, free_port, start_server
from training.exporter import RunMetrics
from training.fit.result import FitProgress

pytestmark = pytest.mark.engine

SEATS = 8
TOKENS = 300  # long beside what a client does between two requests
# The rules' windows and Prometheus' intervals, shortened alike.
WINDOW_S = 10
SCRAPE_S = 1
SHORTER = {
    "[2m:15s]": f"[{WINDOW_S}s:{SCRAPE_S}s]",
    "[2m]": f"[{WINDOW_S}s]",
    "interval: 15s": f"interval: {SCRAPE_S}s",
}


def test_every_metric_and_label_that_is_asked_for_is_shown(server: RunningServer) -> None:
    # There are more than slots, so that some leave.
    deadline = time.monotonic() + 30
    while server.metric("dragoman_adapter_evictions_total") == 0:
        assert time.monotonic() < deadline, "no adapter ever left a slot"
        for adapter in WORDS:
            server.ask(adapter)
    for chunk in server.client.chat.completions.create(
        model="alpha-en-fr", messages=[{"role": "user", "content": "Open."}], stream=True
    ):
        assert chunk.id
    shown: dict[str, set[str]] = {}
    for sample in (*server.samples(), *of_training()):
        shown.setdefault(sample.name, set()).update(sample.labels)
    for expression in promql.rules():
        if expression.records:
            shown[expression.records] = set(expression.labels())
    for name in promql.OF_THE_SCRAPE:
        shown[name] = set()
    asked = [*promql.rules(), *promql.scalers(), *promql.panels()]
    assert [fault for expression in asked for fault in lacking(expression, shown)] == []
    assert promql.picker() - shown.keys() == set()


def lacking(expression: promql.Expression, shown: dict[str, set[str]]) -> Iterator[str]:
    """Yield what an expression asks for, and nobody shows."""
    for use in expression.uses():
        if use.metric not in shown:
            yield f"{expression.where}: no {use.metric}"
        elif labels := use.labels - shown[use.metric] - promql.OF_THE_TARGET:
            yield f"{expression.where}: {use.metric} without {sorted(labels)}"


def test_what_nobody_shows_is_found() -> None:
    shown = {"dragoman_requests_total": {"adapter", "outcome"}}
    known = promql.Expression("", 'sum by (adapter) (dragoman_requests_total{outcome="ok"})')
    assert list(lacking(known, shown)) == []
    for text in ("sum(dragoman_request_total)", "sum by (model) (dragoman_requests_total)"):
        assert list(lacking(promql.Expression("", text), shown))


def of_training() -> list[Sample]:
    """Return what a run of training shows (tests/training/test_exporter.py)."""
    registry = CollectorRegistry()
    RunMetrics("k8s-en-fr", registry).note(FitProgress(3, 90, 1.5, 1.6, 4000, 800.0, 41.0))
    return [sample for family in registry.collect() for sample in family.samples]


@dataclass
class Prometheus:
    """A Prometheus that scrapes one server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the result of an instant query."""
        answer = httpx.get(f"{self.url}/api/v1/query", params={"query": expression}).json()
        assert answer["status"] == "success", f"{expression}: {answer}"
        return list(answer["data"]["result"])

    def value(self, expression: str) -> float:
        """Return the value of a query with one series."""
        (series,) = self.query(expression)
        return float(series["value"][1])


@pytest.fixture
def small(tiny_base: Path, tmp_path: Path) -> Iterator[RunningServer]:
    """A server that few requests fill."""
    registry = tmp_path / "registry"
    more = ("--", "--max-num-seqs", str(SEATS), "--served-model-name", "tiny", "--enforce-eager")
    running = start_server(registry, tmp_path / "server.log", *more, base=str(tiny_base))
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def prometheus(small: RunningServer, tmp_path: Path) -> Iterator[Prometheus]:
    program = debian_program("prometheus", "prometheus")
    for path in (ROOT / "deploy/prometheus").glob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        for usual, shorter in SHORTER.items():
            text = text.replace(usual, shorter)
        (tmp_path / path.name).write_text(text, encoding="utf-8")
    target = {"targets": [small.url.removeprefix("http://")], "labels": {"namespace": "dragoman"}}
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{SCRAPE_S}s"},
        "rule_files": [str(tmp_path / "recording.yaml"), str(tmp_path / "alerts.yaml")],
        "scrape_configs": [{"job_name": "dragoman/server", "static_configs": [target]}],
    }
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    command = [
        str(program), f"--config.file={tmp_path}/config.yml",
        f"--storage.tsdb.path={tmp_path}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 60
        while not _is_up(found):
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.5)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def _is_up(prometheus: Prometheus) -> bool:
    try:
        return bool(prometheus.query("up == 1"))
    except httpx.HTTPError:
        return False


class Load:
    """Requests of a fixed length to a server, from threads."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def ask(self) -> None:
        """Make one request."""
        body = {"model": "tiny", "prompt": "One, two,", "max_tokens": TOKENS, "ignore_eos": True}
        answer = httpx.post(f"{self._url}/v1/completions", json=body, timeout=120)
        # Who is sent away at twice the load came all the same.
        if answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            answer.raise_for_status()

    def streams(self, count: int) -> None:
        """Keep so many requests running, until the end."""

        def go_on() -> None:
            while not self._over.is_set():
                self.ask()

        self._start(go_on for _ in range(count))

    def arrive(self, per_s: float, seconds: float) -> None:
        """Send requests at this rate, answered or not."""
        for _ in range(round(per_s * seconds)):
            self._start([self.ask])
            time.sleep(1 / per_s)

    def _start(self, jobs: Iterable[Callable[[], None]]) -> None:
        for job in jobs:
            self._threads.append(threading.Thread(target=job))
            self._threads[-1].start()

    def end(self) -> None:
        """Wait for all of them."""
        self._over.set()
        for thread in self._threads:
            thread.join()


@contextmanager
def load(server: RunningServer) -> Iterator[Load]:
    found = Load(server.url)
    try:
        yield found
    finally:
        found.end()


def replicas(prometheus: Prometheus) -> int:
    """Return what the autoscaler would choose, by the query that KEDA asks."""
    keda, _ = promql.scalers()
    return math.ceil(prometheus.value(keda.text) / shipped().target)


def came_and_ended(server: RunningServer) -> tuple[float, float]:
    """Return who came, those whom the door sent away too, and what ended."""
    sent_away = server.metric("dragoman_shed_total", reason="overloaded")
    came = server.metric("dragoman_arrivals_total") + sent_away
    return came, server.metric("dragoman_requests_total")


def test_a_load_is_worth_the_pods_that_it_fills(
    small: RunningServer, prometheus: Prometheus
) -> None:
    demand = "sum(dragoman:demand:pods)"
    assert replicas(prometheus) == 0
    rate = f"sum(rate(dragoman_requests_total[{WINDOW_S}s]))"
    with load(small) as few:
        few.streams(SEATS // 4)
        time.sleep(WINDOW_S + 5)
        share, per_s_of_few = prometheus.value(demand), prometheus.value(rate)
        assert 0.1 < share < 0.7
        assert replicas(prometheus) == 1
    with load(small) as full:
        full.streams(2 * SEATS)
        time.sleep(WINDOW_S + 5)
        # Somebody always waits, and as many come as are answered.
        assert prometheus.value(demand) == pytest.approx(1, abs=0.15)
        assert replicas(prometheus) == 2
        per_s = prometheus.value(rate)
    # What the server took for its share of the throughput, before it ever was full. Steps of this
    # model take a millisecond, so that full it waits for its clients: of Gemma the share was within
    # 0.2 (tests/loadtests/test_recorded.py).
    assert share == pytest.approx(per_s_of_few / per_s, abs=0.4)
    with load(small) as over:
        over.arrive(2 * per_s, 5)
        before = came_and_ended(small)
        over.arrive(2 * per_s, WINDOW_S)
        after = came_and_ended(small)
        came, ended = (b - a for a, b in zip(before, after, strict=True))
        assert came / ended > 1.5
        # The queue, and so the saturation, only grow; what is missing is told all the same.
        assert prometheus.value("sum(dragoman_saturation)") > 2
        assert prometheus.value(demand) == pytest.approx(came / ended, rel=0.2)
        assert replicas(prometheus) >= 3
    for expression in (*promql.rules(), *promql.scalers(), *promql.panels()):
        prometheus.query(expression.text)
