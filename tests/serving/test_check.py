from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from adapters.registry import FileRegistry
from serving.check import FAULTY, check
from serving.door.key import hash_of
from serving.settings import read_settings
from tests.serving.conftest import Publish

KEYS = [
    {"name": "shop", "hash": hash_of("one"), "adapters": ["shop-*"], "requests_per_minute": 600,
     "quota": {"characters": 5_000_000, "per": "day"}},
    {"name": "ops", "hash": hash_of("two"), "admin": True, "priority": "bulk", "weight": 3},
]  # fmt: skip


class Rig:
    """Checks settings of a base, a registry and a usage file that are there."""

    def __init__(self, base: Path, registry: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.facts = {"base": str(base), "registry": registry}
        self.variables = {"DRAGOMAN_USAGE": str(registry.parent / "new" / "usage.sqlite")}

    def __call__(self, *vllm_flags: str, as_json: bool = False, **facts: object) -> int:
        reading = read_settings({**self.facts, **facts}, environment=self.variables)
        return check(reading, vllm_flags, as_json=as_json)


@pytest.fixture
def rig(base: Path, registry: FileRegistry, capsys: pytest.CaptureFixture[str]) -> Rig:
    return Rig(base, registry.root, capsys)


def test_what_will_be_served_is_printed_without_a_secret(rig: Rig, publish: Publish) -> None:
    publish("ui-en-fr")
    rig.variables["DRAGOMAN_KEYS"] = json.dumps(KEYS)
    assert rig("--port", "81", host="0.0.0.0") == 0  # noqa: S104
    said = rig.capsys.readouterr().out
    for words in (
        "1 adapters", "http://127.0.0.1:81", "those who have a key", "usage.sqlite",
        "limits.deadline_s", "shop-*", "5,000,000 characters a day", "600 requests a minute",
        "bulk, weight 3, admin",
    ):  # fmt: skip
        assert words in said
    assert "sha256" not in said


def test_json_has_the_same(rig: Rig, publish: Publish) -> None:
    publish("ui-en-fr")
    rig.variables["DRAGOMAN_KEYS"] = json.dumps(KEYS)
    assert rig(as_json=True) == 0
    said = json.loads(rig.capsys.readouterr().out)
    assert said["base"]["folder"] == rig.facts["base"]
    assert said["registry"] == {"folder": str(rig.facts["registry"]), "adapters": 1}
    assert said["limits"]["segments"] == 64
    assert [key["name"] for key in said["keys"]] == ["shop", "ops"]
    assert all("hash" not in key for key in said["keys"])


@pytest.mark.parametrize(("host", "trust", "callers"), [
    ("127.0.0.1", None, "this machine"), ("::", True, "whoever reaches the address"),
])  # fmt: skip
def test_who_may_call_without_keys_is_said(
    rig: Rig, host: str, trust: bool | None, callers: str
) -> None:
    assert rig(as_json=True, host=host, trust_network=trust) == 0
    assert json.loads(rig.capsys.readouterr().out)["callers"] == callers


def test_every_fault_is_told_those_of_this_machine_beside_those_of_the_text(
    rig: Rig, tmp_path: Path
) -> None:
    a_file = tmp_path / "file"
    a_file.touch()
    rig.variables |= {"DRAGOMAN_USAGE": str(a_file / "usage.sqlite"), "DRAGOMAN_PORT": "0"}
    assert rig(base="none", registry=a_file) == FAULTY
    said = rig.capsys.readouterr()
    places = [line.partition(": ")[0] for line in said.err.splitlines()]
    assert places == ["DRAGOMAN_PORT", "--base", "--registry", "DRAGOMAN_USAGE"]
    assert said.out == ""
    assert rig(as_json=True, base="none", registry=a_file) == FAULTY
    faults = json.loads(rig.capsys.readouterr().out)["faults"]
    assert [fault["where"] for fault in faults] == places


def test_what_is_wrong_by_itself_is_not_looked_for(rig: Rig) -> None:
    assert rig(base=7) == FAULTY
    assert len(rig.capsys.readouterr().err.splitlines()) == 1


def test_a_usage_file_that_cannot_be_written_is_a_fault(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.check.os.access", lambda *_: False)
    assert rig() == FAULTY
    assert "`usage`: " in rig.capsys.readouterr().err
    monkeypatch.undo()
    Path(rig.variables["DRAGOMAN_USAGE"]).mkdir(parents=True)
    assert os.access(rig.variables["DRAGOMAN_USAGE"], os.W_OK)
    assert rig() == FAULTY


def test_a_registry_that_is_not_there_yet_is_empty(rig: Rig, tmp_path: Path) -> None:
    assert rig(as_json=True, registry=tmp_path / "none") == 0
    assert json.loads(rig.capsys.readouterr().out)["registry"]["adapters"] == 0
