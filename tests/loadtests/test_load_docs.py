"""docs/loadtests.md names every scenario and every key, and what it shows can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dragoman import build_app
from loadtests.load.budgets import Budget
from loadtests.load.scenario import Scenario, names

PAGE = (Path(__file__).parents[2] / "docs" / "loadtests.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^dragoman .*$", PAGE, flags=re.M)


@pytest.mark.parametrize("name", [*names(), *Scenario.model_fields, *Budget.model_fields])
def test_the_page_names_it(name: str) -> None:
    assert f"`{name}`" in PAGE or f"`{name}." in PAGE


@pytest.mark.parametrize("command", COMMANDS)
def test_its_commands_have_the_options_that_they_are_given(command: str) -> None:
    _, _, *arguments = shlex.split(command)
    verb = arguments[0] if arguments[0] in ("list", "compare") else "run"
    text = CliRunner().invoke(build_app(), ["bench", verb, "--help"]).output
    for option in (argument for argument in arguments if argument.startswith("--")):
        assert option in text


def test_the_shipped_scenarios_can_be_listed() -> None:
    done = CliRunner().invoke(build_app(), ["bench", "list"])
    assert done.exit_code == 0
    assert all(name in done.output for name in names())


@pytest.mark.parametrize(("arguments", "said"), [
    (("no-such",), "no such file, and no shipped scenario"),
    (("steady", "--server", "tgi"), "'tgi' is not one of"),
    (("steady", "--header", "nonsense"), "expected 'Name: value'"),
    (("hot-swap", "--url", "http://127.0.0.1:9"), "can only be done to a server that this command"),
    (("steady", "--url", "http://127.0.0.1:9"), "expected the address"),
    (("steady", "--set", "arrivals.per_s=-1"), "greater than 0"),
])  # fmt: skip
def test_what_cannot_be_is_told(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(build_app(), ["bench", *arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert said in " ".join((done.output + str(done.exception)).split())
