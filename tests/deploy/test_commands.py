"""What manifests tell our images to run, and with which settings, is what the command takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

import dragoman
from serving.settings import load_settings
from tests.deploy.rendered import BUILDS, OVERLAYS, ROOT, containers, of_kind, pods, rendered
from training.recipe import Recipe

pytestmark = pytest.mark.slow

COMPOSE: Final[dict[str, Any]] = yaml.safe_load(
    (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
)


def typed(container: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the arguments of each `dragoman` that a container starts."""
    command, arguments = container.get("command", []), container.get("args", [])
    if command[:1] == ["torchrun"]:
        yield arguments[2:]
    elif command[:1] == ["/bin/sh"]:
        for line in arguments[0].replace("\\\n", " ").splitlines():
            if line.startswith("dragoman "):
                yield shlex.split(line)[1:]
    else:
        yield arguments


def of_compose() -> Iterator[list[str]]:
    """Yield the arguments of our images in compose.yaml."""
    for service in COMPOSE["services"].values():
        if service["image"].startswith("dragoman-") and "command" in service:
            yield service["command"]


def of_manifests(name: str) -> Iterator[list[str]]:
    """Yield the arguments of our images in an overlay."""
    manifests = rendered(name)
    for _, template in pods(manifests):
        for container in containers(template):
            # `node` is of a runtime; what it runs stands in the TrainJob.
            if container["image"].startswith("dragoman-") and container["name"] != "node":
                yield from typed(container)
    for job in of_kind(manifests, "TrainJob"):
        yield from typed(job["spec"]["trainer"])


@pytest.mark.parametrize("name", [*OVERLAYS, *BUILDS, "compose"])
def test_commands_have_these_options(name: str) -> None:
    calls = list(of_compose() if name == "compose" else of_manifests(name))
    assert calls
    for call in calls:
        command: Any = typer.main.get_command(dragoman.build_app())
        rest = list(call)
        while hasattr(command, "commands"):
            command = command.commands[rest.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {part.partition("=")[0] for part in rest if part.startswith("--")} <= known


@pytest.mark.parametrize("name", [*OVERLAYS, *BUILDS])
def test_settings_and_recipes_are_valid(name: str, tmp_path: Path) -> None:
    for manifest in of_kind(rendered(name), "ConfigMap"):
        for key, text in manifest["data"].items():
            (tmp_path / key).write_text(text, encoding="utf-8")
            if key == "serving.yaml":
                load_settings({}, config=tmp_path / key)
            if key == "recipe.yaml":
                Recipe.load(str(tmp_path / key), overrides=[], folder=None)


def test_compose_mounts_what_is_there_and_opens_nothing_to_the_network() -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / "deploy" / source).exists(), name
            else:
                assert source in COMPOSE["volumes"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        image = service["image"]
        assert re.fullmatch(r"dragoman-\w+-cpu|\$\{\w+:\?.*@sha256.*\}", image), name


def test_compose_waits_as_long_as_the_server_drains() -> None:
    grace = COMPOSE["services"]["server"]["stop_grace_period"].rstrip("s")
    assert int(grace) > load_settings({"base": "any"}).shutdown_timeout_s + 10
