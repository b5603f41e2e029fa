from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner, Result

from serving.door.key import PREFIX, hash_of
from serving.keys_cli import app
from serving.settings import load_settings


def run(*arguments: str, stdin: str = "") -> Result:
    return CliRunner().invoke(app, arguments, input=stdin)


def test_a_new_key_is_alone_on_stdout_and_its_lines_are_settings() -> None:
    result = run("new", "shop", "--adapters", "shop-*", "--adapters", "*-en-fr", "--admin")
    assert result.exit_code == 0
    (secret,) = result.stdout.splitlines()
    assert secret.startswith(PREFIX)
    assert secret not in result.stderr
    said = yaml.safe_load(result.stderr[result.stderr.index("keys:") :])
    variables = {"DRAGOMAN_KEYS": json.dumps(said["keys"]), "DRAGOMAN_BASE": "b"}
    (key,) = load_settings({}, environment=variables).keys
    assert (key.name, key.hash, key.admin) == ("shop", hash_of(secret), True)
    assert key.adapters == ("shop-*", "*-en-fr")


def test_keys_differ_and_json_has_both_halves() -> None:
    first, second = (json.loads(run("new", "7", "--json").stdout) for _ in range(2))
    assert first["key"] != second["key"]
    assert first == {"key": first["key"], "name": "7", "hash": hash_of(first["key"])}


def test_a_name_of_digits_stays_a_text_in_the_lines() -> None:
    said = run("new", "7").stderr
    assert yaml.safe_load(said[said.index("keys:") :])["keys"][0]["name"] == "7"


@pytest.mark.parametrize(("arguments", "words"), [
    (("a b",), "name"), (("a", "--adapters", "x@3"), "version"),
    (("a", "--adapters", "x y"), "expected letters"),
])  # fmt: skip
def test_what_serving_yaml_would_refuse_is_refused_and_no_key_is_shown(
    arguments: tuple[str, ...], words: str
) -> None:
    result = run("new", *arguments)
    assert result.exit_code == 2
    assert words in result.stderr
    assert result.stdout == ""


def test_a_key_that_exists_is_hashed_from_stdin() -> None:
    key = "my-own-long-key-0123456789"
    assert run("hash", stdin=f"{key}\r\n").stdout == f"{hash_of(key)}\n"
    assert json.loads(run("hash", "--json", stdin=key).stdout) == {"hash": hash_of(key)}


def test_at_a_terminal_a_key_is_asked_for_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "typed-0123456789-0123456789"
    monkeypatch.setattr("serving.keys_cli.getpass.getpass", lambda _: key)
    monkeypatch.setattr("serving.keys_cli._is_typed", lambda: True)
    assert run("hash").stdout == f"{hash_of(key)}\n"


@pytest.mark.parametrize(("key", "words"), [
    ("only-19-characters-", "found 19 characters, expected 20"), ("", "found 0 characters"),
    ("two words of a long key here", "one line"), ("one-line-of-two-0123\nthe-other", "one line"),
    ("schlüssel-0123456789-0123", "one line"),
])  # fmt: skip
def test_what_can_be_guessed_or_sent_in_no_header_is_not_hashed(key: str, words: str) -> None:
    result = run("hash", stdin=key)
    assert result.exit_code == 2
    assert words in " ".join(result.stderr.split())
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["new", "hash"])
def test_help_has_an_example(command: str) -> None:
    assert f"dragoman keys {command} " in " ".join(run(command, "--help").stdout.split())
