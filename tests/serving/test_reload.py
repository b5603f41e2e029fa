from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from adapters.errors import SettingsInvalid, StartRefused
from serving.door.key import hash_of
from serving.door.settings import DoorFile, DoorSettings
from serving.reload import newest
from serving.run_folder import VARIABLE, RunFolder
from serving.settings import ServingSettings


def settings(**facts: object) -> ServingSettings:
    return ServingSettings.model_validate({"base": "b", "registry": "/r", **facts})


def key(name: str, **facts: object) -> dict[str, object]:
    return {"name": name, "hash": hash_of(name), **facts}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def run_folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def write(run_folder: RunFolder, **facts: object) -> None:
    run_folder.write_door(settings(**facts).door.to_json())


def test_the_file_of_the_door_is_for_its_user_only_whatever_the_mask(run_folder: RunFolder) -> None:
    before = os.umask(0)
    try:
        write(run_folder)
        write(run_folder, keys=[key("a")])
    finally:
        os.umask(before)
    assert stat.S_IMODE(run_folder.door_file.stat().st_mode) == 0o600
    assert [path.name for path in run_folder.folder.iterdir()] == ["door.json"]


def test_a_changed_file_is_in_force_after_a_fifth_of_a_second(
    run_folder: RunFolder, clock: Clock
) -> None:
    write(run_folder, keys=[key("a")])
    door = DoorFile(run_folder.door_file, clock)
    first = door.current()
    assert [k.name for k in first.keys] == ["a"]
    write(run_folder, keys=[key("b")], limits={"segments": 2})
    clock.now += 0.15
    assert door.current() is first
    clock.now += 0.06
    second = door.current()
    assert ([k.name for k in second.keys], second.limits.segments) == (["b"], 2)
    clock.now += 1
    assert door.current() is second


def test_looking_costs_one_system_call_in_that_time(
    run_folder: RunFolder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run_folder)
    door = DoorFile(run_folder.door_file, clock)
    calls: list[str] = []
    real = os.stat

    def counted(path: str) -> os.stat_result:
        calls.append(path)
        return real(path)

    monkeypatch.setattr("serving.door.settings.os.stat", counted)
    for _ in range(50):
        clock.now += 0.01
        door.current()
    assert len(calls) == 2


@pytest.mark.parametrize("text", ["{", '{"keys": [{"name": "x"}]}', '{"other": 1}', None])
def test_a_broken_file_keeps_what_was_and_its_repair_is_seen(
    run_folder: RunFolder, clock: Clock, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    write(run_folder, keys=[key("a")])
    door = DoorFile(run_folder.door_file, clock)
    first = door.current()
    if text is None:
        run_folder.door_file.unlink()
    else:
        run_folder.write_door(text)
    clock.now += 1
    assert door.current() is first
    assert "keys and limits stay as they were" in caplog.text
    write(run_folder, keys=[key("c")])
    clock.now += 1
    assert [k.name for k in door.current().keys] == ["c"]


def test_without_the_file_nobody_is_let_in_by_mistake(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StartRefused, match=r"door\.json: cannot be read"):
        DoorFile(run_folder.door_file)
    run_folder.write_door('{"keys": [{"hash": "sesame"}]}')
    with pytest.raises(StartRefused, match="values cannot be read") as caught:
        DoorFile(run_folder.door_file)
    assert "sesame" not in str(caught.value)
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(StartRefused, match="dragoman serve"):
        DoorFile.handed()


def test_a_process_of_the_run_finds_the_file(
    run_folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run_folder, metrics_open=True)
    monkeypatch.setenv(VARIABLE, str(run_folder.folder))
    assert DoorFile.handed().current() == DoorSettings(metrics_open=True)


def test_a_reload_takes_keys_and_limits_and_names_what_needs_a_restart(
    capsys: pytest.CaptureFixture[str],
) -> None:
    old = settings(keys=[key("same"), key("old"), key("more")], usage="here")
    new = settings(
        keys=[key("same"), key("more", admin=True), key("new")],
        limits={"segments": 2}, metrics_open=True, port=9, usage="there",
    )  # fmt: skip
    published: list[ServingSettings] = []
    after = newest(old, lambda: new, publish=published.append)
    assert published == [after]
    assert (after.keys, after.limits, after.metrics_open) == (new.keys, new.limits, True)
    assert (after.port, after.usage) == (8000, "here")
    assert capsys.readouterr().err.splitlines() == [
        "reloaded: keys more, new, old (gone); limits; metrics_open",
        "changed, but in force only after a restart: port, usage",
    ]


def test_a_reload_that_finds_nothing_new_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    old = settings()
    assert newest(old, settings, publish=lambda _: None) == old
    assert capsys.readouterr().err == "reloaded: nothing has changed\n"


@pytest.mark.parametrize("fails", ["read", "publish"])
def test_a_reload_with_a_fault_changes_nothing(
    fails: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def read() -> ServingSettings:
        if fails == "read":
            raise SettingsInvalid("a.yaml:1: one\na.yaml:2: two")
        return settings(keys=[key("a")])

    def publish(_: ServingSettings) -> None:
        raise OSError(28, "No space left on device")

    old = settings()
    assert newest(old, read, publish=publish) is old
    said = capsys.readouterr().err
    assert said.startswith("not reloaded, the settings from before stay in force:\n")
    assert ("a.yaml:2: two" if fails == "read" else "No space left") in said
