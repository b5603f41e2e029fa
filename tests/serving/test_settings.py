from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from adapters.errors import SettingsInvalid
from serving.settings import HANDOVER, ServingSettings, handed_over, load_settings


def yaml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "serving.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(
    flags: dict[str, Any], environment: dict[str, str] | None = None, config: Path | None = None
) -> ServingSettings:
    return load_settings(flags, config=config, environment=environment or {})


def test_flags_win_over_variables_and_variables_over_the_file(tmp_path: Path) -> None:
    config = yaml(tmp_path, "base: file\nport: 1\nmax_loras: 1\nalias_ttl_s: 0.5\n")
    variables = {"DRAGOMAN_PORT": "2", "DRAGOMAN_MAX_LORAS": "2"}
    settings = load({"max_loras": 3, "host": None}, variables, config)
    assert (settings.base, settings.port, settings.max_loras) == ("file", 2, 3)
    assert settings.alias_ttl_s == 0.5
    assert settings.host == "127.0.0.1"


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    assert load({"base": "b"}, {"DRAGOMAN_PORT": "", "DRAGOMAN_REGISTRY": ""}).port == 8000


def test_every_fault_is_named_at_once_with_where_it_was_given(tmp_path: Path) -> None:
    config = yaml(tmp_path, "prot: 80\nmax_lora_rank: 12\n")
    with pytest.raises(SettingsInvalid) as caught:
        load({"host": 5, "max_loras": 0}, {"DRAGOMAN_PORT": "many"}, config)
    message = str(caught.value)
    assert f"{config}: prot: no such setting; did you mean port?" in message
    assert f"{config}: max_lora_rank" in message
    assert "one of (1, 8, 16, 32" in message
    assert "DRAGOMAN_PORT: port" in message
    assert "'many'" in message
    assert "--max-loras: max_loras" in message
    assert "--host: host" in message
    assert "base: not given; use --base, DRAGOMAN_BASE" in message


def test_an_unknown_setting_like_no_other_is_answered_with_all(tmp_path: Path) -> None:
    config = yaml(tmp_path, "base: b\nqqqqqq: 1\n7: 1\n")
    with pytest.raises(
        SettingsInvalid, match="qqqqqq: no such setting; there are adapters, alias_ttl_s"
    ):
        load({}, {}, config)


@pytest.mark.parametrize(("text", "complaint"), [
    ("- a\n", "found list"), ("base: [", "cannot be read"), ("just text", "found str"),
])  # fmt: skip
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsInvalid, match=complaint):
        load({"base": "b"}, {}, yaml(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"none\.yaml: cannot be read"):
        load({"base": "b"}, {}, tmp_path / "none.yaml")


def test_an_empty_file_says_nothing(tmp_path: Path) -> None:
    assert load({"base": "b"}, {}, yaml(tmp_path, "")).base == "b"


@pytest.mark.parametrize("name", ["alias_ttl_s", "start_timeout_s"])
def test_a_time_that_is_no_number_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsInvalid, match=name):
        load({"base": "b"}, {}, yaml(tmp_path, f"{name}: .nan\n"))


def test_the_registry_is_absolute_whatever_was_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load({"base": "b", "registry": Path("r")}).registry == tmp_path / "r"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load({"base": "b"}, {"DRAGOMAN_REGISTRY": "~/r"}).registry == tmp_path / "r"


def test_settings_are_handed_over_unchanged(tmp_path: Path) -> None:
    settings = load({"base": "b", "registry": tmp_path, "alias_ttl_s": 0.25, "port": 81})
    assert handed_over({HANDOVER: settings.model_dump_json()}) == settings


def test_a_process_of_somebody_elses_gets_none() -> None:
    assert handed_over({}) is None


def test_wishes_of_adapters_come_from_the_file_or_as_json_from_the_variable(tmp_path: Path) -> None:
    text = "base: b\nadapters:\n  ui-en-fr: {weight: 2, priority: -1, pinned: true}\n"
    from_file = load({}, {}, yaml(tmp_path, text)).adapters["ui-en-fr"]
    variable = '{"ui-en-fr": {"weight": 2, "priority": -1, "pinned": true}}'
    settings = load({"base": "b"}, {"DRAGOMAN_ADAPTERS": variable})
    assert settings.adapters == {"ui-en-fr": from_file}
    assert (from_file.weight, from_file.priority, from_file.pinned) == (2.0, -1, True)
    assert handed_over({HANDOVER: settings.model_dump_json()}) == settings
    assert (load({"base": "b"}).adapters, load({"base": "b"}).fair_wait_s) == ({}, 2.0)


@pytest.mark.parametrize(("adapters", "complaint"), [
    ("{ui-en-fr: {weight: 0}}", r"adapters\.ui-en-fr\.weight"),
    ("{ui-en-fr: {weight: .nan}}", r"adapters\.ui-en-fr\.weight"),
    ("{ui-en-fr: {weight: '2'}}", r"adapters\.ui-en-fr\.weight"),
    ("{ui-en-fr: {priority: 1.5}}", r"adapters\.ui-en-fr\.priority"),
    ("{ui-en-fr: {pinned: 1}}", r"adapters\.ui-en-fr\.pinned"),
    ("{ui-en-fr: {wait: 2}}", r"adapters\.ui-en-fr\.wait"),
    ("{UI: {}}", "adapters: .*UI"),
    ("[ui-en-fr]", "adapters: "),
    ("'{'", "expected JSON such as"),
    ("{a-en-fr: {pinned: true}, b-en-fr: {pinned: true}}", "2 pinned and max_loras 2"),
])  # fmt: skip
def test_wishes_that_cannot_be_met_are_refused_with_their_place(
    tmp_path: Path, adapters: str, complaint: str
) -> None:
    with pytest.raises(SettingsInvalid, match=complaint):
        load({}, {}, yaml(tmp_path, f"base: b\nmax_loras: 2\nadapters: {adapters}\n"))


@pytest.mark.parametrize("wait", ["0", "-1", ".nan", "forever"])
def test_a_bounded_wait_is_a_time(tmp_path: Path, wait: str) -> None:
    with pytest.raises(SettingsInvalid, match="fair_wait_s"):
        load({}, {}, yaml(tmp_path, f"base: b\nfair_wait_s: {wait}\n"))
