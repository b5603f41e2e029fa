"""A run's progress as Prometheus reads it."""

from __future__ import annotations

import socket
import socketserver

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from adapters.errors import TrainingFailed
from loadtests.servers import free_port
from training.exporter import exported, parse_address
from training.fit.result import FitProgress


def shown(port: int) -> dict[str, float]:
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    return {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels == {"adapter": "k8s-en-fr"}
    }


def test_each_step_is_shown_and_what_was_not_measured_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # How often a server looks whether it shall end: every half second, if not told otherwise.
    monkeypatch.setattr(socketserver.BaseServer.serve_forever, "__defaults__", (0.01,))
    port = free_port()
    with exported(("127.0.0.1", port), "k8s-en-fr") as on_step:
        assert shown(port) == {}
        on_step(FitProgress(3, 90, 1.5, None, 4000, 800.0))
        assert shown(port) == {
            "dragoman_training_step": 3,
            "dragoman_training_steps": 90,
            "dragoman_training_loss": 1.5,
            "dragoman_training_tokens": 4000,
            "dragoman_training_tokens_per_second": 800,
        }
        on_step(FitProgress(4, 90, 1.4, 1.6, 5000, 810.0, 41.0))
        assert shown(port)["dragoman_training_dev_loss"] == 1.6
        assert shown(port)["dragoman_training_dev_chrf"] == 41
    with pytest.raises(httpx.ConnectError):
        shown(port)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(TrainingFailed, match="choose another port"),
            exported(("127.0.0.1", port), "k8s-en-fr"),
        ):
            pass


@pytest.mark.parametrize(
    ("text", "address"),
    [("9000", ("127.0.0.1", 9000)), ("10.0.0.7:9000", ("10.0.0.7", 9000)), ("::1:80", ("::1", 80))],
)
def test_an_address_may_leave_out_the_host(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":9000", "nine", "70000", "0", "host:"])
def test_an_address_without_a_port_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="PORT"):
        parse_address(text)
