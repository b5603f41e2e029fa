from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adapters.errors import SettingsInvalid
from serving.door.key import hash_of
from serving.door.settings import DoorSettings
from serving.settings import HANDOVER, ServingSettings, handed_over, load_settings, read_settings

HASH = hash_of("one")
OTHER = hash_of("two")
PINNED = "adapters: {ui-en-fr: {pinned: true}}\n"


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


def faults(
    flags: dict[str, Any], environment: dict[str, str] | None = None, config: Path | None = None
) -> list[str]:
    return list(map(str, read_settings(flags, config=config, environment=environment or {}).faults))


def test_every_fault_is_named_at_once_with_where_it_was_given(tmp_path: Path) -> None:
    config = yaml(tmp_path, "prot: 80\nmax_lora_rank: 12\nmax_model_len: '99'\nport: 1\nport: 2\n")
    variables = {"DRAGOMAN_PORT": "many", "DRAGOMAN_LIMITS": '{"deadline_s": 0, "n": 1}'}
    found = faults({"host": 5, "max_loras": 0}, variables, config)
    for place, words in (
        (f"{config}:1", "unknown key `prot`; did you mean `port`?"),
        (f"{config}:2", "`max_lora_rank`: found 12, vLLM takes one of (1, 8, 16, 32"),
        (f"{config}:3", "`max_model_len`: Input should be a valid integer, found '99'"),
        (f"{config}:5", f"`port` is given twice (first at {config}:4)"),
        ("DRAGOMAN_PORT", "`port`: Input should be a valid integer, found 'many'"),
        ("DRAGOMAN_LIMITS", "`limits.deadline_s`: Input should be greater than 0, found 0"),
        ("DRAGOMAN_LIMITS", "unknown key `limits.n`; known keys: body_bytes, body_s"),
        ("--max-loras", "`max_loras`: Input should be greater than or equal to 1, found 0"),
        ("--host", "`host`: Input should be a valid string, found 5"),
        ("base", "not given; use --base, DRAGOMAN_BASE or a line in serving.yaml"),
    ):
        assert any(fault.startswith(f"{place}: {words}") for fault in found), (place, found)
    assert len(found) == 10
    with pytest.raises(SettingsInvalid) as caught:
        load({"host": 5, "max_loras": 0}, variables, config)
    assert str(caught.value).splitlines() == found


def test_rules_between_sound_settings_are_told_beside_faults_of_others(tmp_path: Path) -> None:
    found = faults({"port": 0}, {}, yaml(tmp_path, f"host: 0.0.0.0\n{PINNED}max_loras: 1\n"))
    blamed = [fault.partition(": ")[2].split()[0] for fault in found]
    assert blamed == ["`port`:", "not", "`host`:", "`adapters`:"]
    # A rule over what is itself wrong would mislead.
    assert not any("reach" in f for f in faults({"base": "b"}, {"DRAGOMAN_KEYS": "[1]"}, yaml(
        tmp_path, "host: 0.0.0.0\n"
    )))  # fmt: skip


def test_an_unknown_setting_like_no_other_is_answered_with_all(tmp_path: Path) -> None:
    config = yaml(tmp_path, "base: b\nqqqqqq: 1\n7: 1\n")
    found = faults({}, {}, config)
    assert found[0].startswith(f"{config}:2: unknown key `qqqqqq`; known keys: base, registry")
    assert found[1].startswith(f"{config}:3: unknown key `7`")


def test_yaml_is_read_as_in_version_1_2(tmp_path: Path) -> None:
    assert load({}, {}, yaml(tmp_path, "base: no\n")).base == "no"
    assert "valid boolean" in faults({}, {}, yaml(tmp_path, "base: b\ntrust_network: on\n"))[0]


@pytest.mark.parametrize(("text", "complaint"), [
    ("- a\n", "found list"), ("base: [", "not YAML"), ("just text", "found str"),
])  # fmt: skip
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(SettingsInvalid, match=complaint):
        load({"base": "b"}, {}, yaml(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsInvalid, match=r"none\.yaml: cannot be read: No such file"):
        load({"base": "b"}, {}, tmp_path / "none.yaml")
    (tmp_path / "latin").write_bytes(b"base: caf\xe9\n")
    with pytest.raises(SettingsInvalid, match="not UTF-8 at byte 9"):
        load({"base": "b"}, {}, tmp_path / "latin")


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
    assert handed_over({HANDOVER: settings.handover()}) == settings


def test_a_process_of_somebody_elses_gets_none() -> None:
    assert handed_over({}) is None


def test_wishes_of_adapters_come_from_the_file_or_as_json_from_the_variable(tmp_path: Path) -> None:
    text = "base: b\nadapters:\n  ui-en-fr: {weight: 2, priority: -1, pinned: true}\n"
    from_file = load({}, {}, yaml(tmp_path, text)).adapters["ui-en-fr"]
    variable = '{"ui-en-fr": {"weight": 2, "priority": -1, "pinned": true}}'
    settings = load({"base": "b"}, {"DRAGOMAN_ADAPTERS": variable})
    assert settings.adapters == {"ui-en-fr": from_file}
    assert (from_file.weight, from_file.priority, from_file.pinned) == (2.0, -1, True)
    assert handed_over({HANDOVER: settings.handover()}) == settings
    assert (load({"base": "b"}).adapters, load({"base": "b"}).fair_wait_s) == ({}, 2.0)


@pytest.mark.parametrize(("adapters", "complaint"), [
    ("{ui-en-fr: {weight: 0}}", r"serving\.yaml:3: `adapters\.ui-en-fr\.weight`"),
    ("{ui-en-fr: {weight: .nan}}", r"adapters\.ui-en-fr\.weight"),
    ("{ui-en-fr: {weight: '2'}}", r"adapters\.ui-en-fr\.weight"),
    ("{ui-en-fr: {priority: 1.5}}", r"adapters\.ui-en-fr\.priority"),
    ("{ui-en-fr: {pinned: 1}}", r"adapters\.ui-en-fr\.pinned"),
    ("{ui-en-fr: {wait: 2}}", r"adapters\.ui-en-fr\.wait"),
    ("{UI: {}}", "`adapters`: .*UI"),
    ("[ui-en-fr]", "`adapters`: "),
    ("'{'", "`adapters`: "),
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


@pytest.mark.parametrize(("text", "value"), [
    ("1", True), ("yes", True), ("True", True), ("0", False), ("off", False),
])  # fmt: skip
def test_a_variable_says_true_in_the_usual_words(text: str, value: bool) -> None:
    variables = {"DRAGOMAN_TRUST_NETWORK": text, "DRAGOMAN_FAIR_WAIT_S": "3"}
    settings = load({"base": "b"}, variables)
    assert (settings.trust_network, settings.fair_wait_s) == (value, 3.0)
    (fault,) = faults({"base": "b"}, {"DRAGOMAN_TRUST_NETWORK": "maybe"})
    assert "valid boolean, found 'maybe'" in fault


def test_a_variable_of_digits_may_be_a_text() -> None:
    assert load({}, {"DRAGOMAN_BASE": "7"}).base == "7"


def test_a_variable_replaces_a_mapping_of_the_file_as_a_whole(tmp_path: Path) -> None:
    config = yaml(tmp_path, "base: b\nlimits: {segments: 3, choices: no}\n")
    settings = load({}, {"DRAGOMAN_LIMITS": '{"choices": 2}'}, config)
    assert (settings.limits.segments, settings.limits.choices) == (64, 2)


def test_secrets_come_from_files_that_variables_name(tmp_path: Path) -> None:
    keys, url = tmp_path / "keys", tmp_path / "url"
    keys.write_text(f"- name: shop\n  hash: {HASH}\n", encoding="utf-8")
    url.write_text("usage/of.sqlite\n", encoding="utf-8")
    variables = {"DRAGOMAN_KEYS_FILE": str(keys), "DRAGOMAN_USAGE_FILE": str(url)}
    settings = load({"base": "b"}, variables)
    assert (settings.keys[0].name, settings.usage) == ("shop", "usage/of.sqlite")
    keys.write_text(json.dumps([{"name": "json", "hash": HASH}]), encoding="utf-8")
    assert load({"base": "b"}, variables).keys[0].name == "json"
    keys.write_text("- name: shop\n  hsh: x\n", encoding="utf-8")
    found = faults({"base": "b"}, variables)
    assert (
        found[0] == f"{keys}:1: `keys.0.hash` is missing; add it (SHA-256 of the key, as "
        "`dragoman keys new` prints it.)"
    )
    assert found[1].startswith(f"{keys}:2: unknown key `keys.0.hsh`; did you mean `hash`?")


def test_a_setting_given_both_ways_and_a_file_that_cannot_be_read_are_faults(
    tmp_path: Path,
) -> None:
    variables = {
        "DRAGOMAN_USAGE": "a", "DRAGOMAN_USAGE_FILE": "b",
        "DRAGOMAN_KEYS_FILE": str(tmp_path), "DRAGOMAN_PORT_FILE": str(tmp_path / "none"),
    }  # fmt: skip
    assert faults({"base": "b"}, variables) == [
        f"DRAGOMAN_PORT_FILE={tmp_path}/none: cannot be read: No such file or directory",
        f"DRAGOMAN_KEYS_FILE={tmp_path}: cannot be read: Is a directory",
        "DRAGOMAN_USAGE: DRAGOMAN_USAGE_FILE is set, too; leave one of them out",
    ]


def test_a_misspelt_variable_is_a_fault_and_those_of_others_are_not() -> None:
    variables = {"DRAGOMAN_MAX_LORA": "3", "DRAGOMAN_KEY_FILE": "x", "DRAGOMAN_HOM": "/"}
    others = {
        "DRAGOMAN_HOME": "/", "DRAGOMAN_RUN_FOLDER": "/", "DRAGOMAN_SERVING": "{}",
        "DRAGOMAN_SERVICE_PORT": "1", "DRAGOMAN_SERVICE_HOST": "h", "DRAGOMAN_PORT_8000_TCP": "t",
        "DRAGOMAN_FOO": "", "DRAGOMAN_MAX_LORSA": "", "MAX_LORA": "3",
    }  # fmt: skip
    assert faults({"base": "b"}, variables | others) == [
        "DRAGOMAN_HOM: no such variable; did you mean DRAGOMAN_HOME?",
        "DRAGOMAN_KEY_FILE: no such variable; did you mean DRAGOMAN_KEYS_FILE?",
        "DRAGOMAN_MAX_LORA: no such variable; did you mean DRAGOMAN_MAX_LORAS?",
    ]


@pytest.mark.parametrize(("keys", "path", "words"), [
    ([("a", HASH), ("a", OTHER)], "keys.1.name", "'a' is keys.0, too"),
    ([("a", HASH), ("b", OTHER), ("c", HASH)], "keys.2.hash", "the same key as keys.0"),
    ([("a", HASH, "shop-en-fr@3")], "keys.0.adapters.0", "write the id alone"),
    ([("a", HASH, "shop-*", "[a-z]*")], "keys.0.adapters.1", "expected letters, digits"),
    ([("a", HASH, "")], "keys.0.adapters.0", "expected letters"),
])  # fmt: skip
def test_keys_that_contradict_each_other_are_refused(
    tmp_path: Path, keys: list[tuple[str, ...]], path: str, words: str
) -> None:
    said = [{"name": n, "hash": h, "adapters": patterns} for n, h, *patterns in keys]
    config = yaml(tmp_path, f"base: b\nkeys:\n{lines(said)}")
    (fault,) = faults({}, {}, config)
    line = 3 + int(path.split(".")[1])
    assert fault.startswith(f"{config}:{line}: `{path}`: ")
    assert words in fault


def lines(keys: list[dict[str, Any]]) -> str:
    return "".join(f"  - {json.dumps(key)}\n" for key in keys)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.3", "box"])  # noqa: S104
def test_an_address_that_others_reach_needs_keys_or_something_in_front(host: str) -> None:
    (fault,) = faults({"base": "b", "host": host})
    for word in ("--host: `host`: others reach", "dragoman keys new", "127.0.0.1", "--trust-"):
        assert word in fault
    key = json.dumps([{"name": "a", "hash": HASH}])
    assert faults({"base": "b", "host": host}, {"DRAGOMAN_KEYS": key}) == []
    assert faults({"base": "b", "host": host, "trust_network": True}) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_alone_needs_no_key(host: str) -> None:
    assert faults({"base": "b", "host": host}) == []


def test_no_fault_and_no_repr_shows_a_secret(tmp_path: Path) -> None:
    text = "base: b\nkeys: [{name: a, hash: dgm_sesame}, dgm_sesame]\nusage: mysql://u:sesame@h/d\n"
    found = faults({}, {"DRAGOMAN_KEYS": ""}, yaml(tmp_path, text))
    assert len(found) == 3
    assert "sesame" not in "".join(found)
    assert not any("sesame" in f for f in faults({"base": "b"}, {"DRAGOMAN_KEYS": "dgm_sesame"}))
    assert "sesame" not in repr(load({"base": "b"}, {"DRAGOMAN_USAGE": "postgresql://u:sesame@h"}))


def test_what_is_the_doors_is_not_handed_over_in_the_environment() -> None:
    key = json.dumps([{"name": "a", "hash": HASH, "adapters": ["shop-*"], "weight": 2}])
    variables = {
        "DRAGOMAN_KEYS": key, "DRAGOMAN_LIMITS": '{"segments": 7}', "DRAGOMAN_LOG": "json",
        "DRAGOMAN_USAGE": "postgresql://u:sesame@h/d", "DRAGOMAN_METRICS_OPEN": "1",
    }  # fmt: skip
    settings = load({"base": "b", "host": "::"}, variables)
    text = settings.handover()
    assert HASH not in text
    assert "sesame" not in text
    there = handed_over({HANDOVER: text})
    assert there is not None
    assert (there.host, there.door) == ("::", DoorSettings())
    door = DoorSettings.from_json(settings.door.to_json())
    assert door == settings.door
    assert (door.keys, door.limits.segments) == (settings.keys, 7)
    assert (door.usage, door.metrics_open, door.log) == (variables["DRAGOMAN_USAGE"], True, "json")


def test_a_file_of_keys_may_be_the_lines_of_serving_yaml_itself(tmp_path: Path) -> None:
    lines = f"- name: web\n  hash: sha256:{'0' * 64}\n"
    for text in (lines, "keys:\n" + lines):
        (tmp_path / "keys.yaml").write_text(text, encoding="utf-8")
        environment = {"DRAGOMAN_KEYS_FILE": str(tmp_path / "keys.yaml")}
        assert [key.name for key in load({"base": "b"}, environment).keys] == ["web"]
    (tmp_path / "keys.yaml").write_text("keys:\n- name: 5\n", encoding="utf-8")
    with pytest.raises(SettingsInvalid, match=r"keys\.yaml:2: `keys\.0\.name`"):
        load({"base": "b"}, {"DRAGOMAN_KEYS_FILE": str(tmp_path / "keys.yaml")})


def test_the_line_end_of_a_secret_is_none_of_its_value() -> None:
    assert load({"base": "b"}, {"DRAGOMAN_USAGE": "/u.sqlite\n"}).usage == "/u.sqlite"
