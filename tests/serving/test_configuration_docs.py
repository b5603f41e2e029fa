"""docs/configuration.md: what the code reads, and an example and commands that work."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import Final

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from adapters.strict.keys import models_in
from serving import cli, keys_cli
from serving.configuration_reference import EXAMPLE, page
from serving.settings import RELOADED, ServingSettings, load_settings
from serving.settings_sources import flag_of, variable_of

PAGE: Final = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
COMMANDS: Final = re.findall(r"```sh\n(.*?)\n```", PAGE, re.DOTALL)


def fields(model: type[BaseModel]) -> list[str]:
    inner = [i for info in model.model_fields.values() for i in models_in(info.annotation)]
    return [*model.model_fields, *(name for each in inner for name in fields(each))]


def test_the_page_is_what_the_code_reads() -> None:
    remedy = "make it anew: python -m serving.configuration_reference > docs/configuration.md"
    assert page() == PAGE, remedy


def test_the_page_names_every_key_and_every_variable_and_flag() -> None:
    rows = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `")}
    assert rows == {*fields(ServingSettings)}
    for name in ServingSettings.model_fields:
        assert f"| `{variable_of(name)}` |" in PAGE
    flags = inspect.signature(cli.serve).parameters.keys() & ServingSettings.model_fields.keys()
    assert "trust_network" in flags
    assert all(f"| `{flag_of(name)}` |" in PAGE for name in flags)


def test_each_section_has_a_table() -> None:
    titles = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    assert titles[-5:] == ["serving.yaml", "adapters", "keys[]", "keys[].quota", "limits"]


def test_the_page_says_what_a_reload_changes() -> None:
    told = PAGE.partition("## While it runs")[2].partition("## ")[0]
    assert all(f"`{name}`" in told for name in RELOADED)


def test_no_default_is_one_of_this_machine() -> None:
    assert str(Path.home()) not in PAGE


def test_the_example_is_read_and_uses_every_section(tmp_path: Path) -> None:
    assert f"```yaml\n{EXAMPLE}```" in PAGE
    settings = load_settings({}, config=write(tmp_path, EXAMPLE), environment={})
    assert [key.name for key in settings.keys] == ["shop", "nightly"]
    assert settings.keys[0].quota.characters == 5_000_000
    assert settings.limits.segments == 50
    assert settings.adapters["shop-en-fr"].pinned


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_works(
    command: str, tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    there = {"gemma3-270m": base, "/srv/registry": tmp_path, "/var/lib/dragoman": tmp_path}
    text = EXAMPLE
    for name, path in there.items():
        text = text.replace(name, str(path))
    write(tmp_path, text)
    app = typer.Typer()
    cli.mount(app)
    app.add_typer(keys_cli.app, name="keys")
    program, *arguments = shlex.split(command)
    assert program == "dragoman"
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 2


def write(folder: Path, text: str) -> Path:
    path = folder / "serving.yaml"
    path.write_text(text, encoding="utf-8")
    return path
