"""`dragoman usage` over a file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import dragoman
from adapters.errors import SettingsInvalid, UsageUnavailable
from serving.door.ledger import Usage
from serving.door.ledgers.sqlite import SqliteLedger

DAYS = ("--since", "2026-11-01", "--until", "2026-11-30")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    ledger = SqliteLedger(tmp_path / "u.sqlite")
    ledger.add(
        [
            Usage("2026-11-01", "acme", "shop-en-fr", 2, 3000, 40, 50),
            Usage("2026-11-30", "acme", "k8s-en-zh", 1, 10, 20, 30),
            Usage("2026-11-30", "", "shop-en-fr", 1, 1, 1, 1),
            Usage("2026-12-01", "acme", "shop-en-fr", 1, 1, 1, 1),
        ]
    )
    ledger.close()
    return tmp_path / "u.sqlite"


def call(*arguments: object, code: int = 0) -> Any:
    result = CliRunner().invoke(dragoman.build_app(), ["usage", *map(str, arguments)])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def table(*arguments: object) -> list[list[str]]:
    lines = call(*arguments).output.splitlines()
    rows = [[cell.strip() for cell in re.split("[│┃]", line)] for line in lines]
    return [row for row in rows if len(row) > 1]


def test_a_row_is_a_key_with_the_sum_of_all_below(file: Path) -> None:
    assert table("--url", file, *DAYS) == [
        ["key", "requests", "characters", "prompt tokens", "completion tokens"],
        ["-", "1", "1", "1", "1"],
        ["acme", "3", "3,010", "60", "80"],
        ["all", "4", "3,011", "61", "81"],
    ]


@pytest.mark.parametrize(
    ("by", "names"),
    [("day", ["2026-11-01", "2026-11-30", "all"]), ("adapter", ["k8s-en-zh", "shop-en-fr", "all"])],
)
def test_a_row_may_be_a_day_or_an_adapter(file: Path, by: str, names: list[str]) -> None:
    assert [row[0] for row in table("--url", file, *DAYS, "--by", by)] == [by, *names]


def test_json_has_each_day_key_and_adapter(file: Path) -> None:
    body = json.loads(call("--url", file, *DAYS, "--key", "acme", "--json").output)
    assert body["place"] == str(file)
    assert [(row["day"], row["adapter"], row["characters"]) for row in body["usage"]] == [
        ("2026-11-01", "shop-en-fr", 3000),
        ("2026-11-30", "k8s-en-zh", 10),
    ]


def test_the_servers_settings_say_where_usage_is(file: Path, tmp_path: Path) -> None:
    config = tmp_path / "serving.yaml"
    config.write_text(f"base: gemma3-270m\nusage: {file}\n")
    assert table("--config", config, *DAYS)[-1][1] == "4"


def test_the_variable_says_where_usage_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAGOMAN_USAGE", str(file))
    assert table(*DAYS)[-1][1] == "4"


def test_days_without_usage_are_told(file: Path) -> None:
    asked = call("--url", file, "--since", "2020-01-01", "--until", "2020-01-02")
    assert "nothing was used in these days" in asked.output


def test_a_file_that_no_server_made_is_told_and_not_made(tmp_path: Path) -> None:
    missing = tmp_path / "none.sqlite"
    error = call("--url", missing, code=1).exception
    assert isinstance(error, UsageUnavailable)
    assert "there is no such file; give the server's --config" in str(error)
    assert not missing.exists()


def test_days_in_the_wrong_order_and_other_databases_are_refused(file: Path) -> None:
    wrong = call("--url", file, "--since", "2026-12-01", "--until", "2026-11-01", code=2)
    assert "2026-12-01 is after" in " ".join(wrong.output.split())
    assert isinstance(call("--url", "mysql://h/d", code=1).exception, SettingsInvalid)


def test_help_has_an_example() -> None:
    assert "Example: dragoman usage --config" in " ".join(call("--help").output.split())
