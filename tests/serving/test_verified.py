from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from adapters.errors import AdapterRejected, DragomanError, FileCorrupt
from adapters.registry import Published
from adapters.version_folder import identity
from serving import verified as module
from serving.pace import Pace
from serving.verified import Verified
from tests.serving.conftest import Publish


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Rig:
    def __init__(self) -> None:
        self.asked = 0
        self.fault: DragomanError | None = None
        self.clock = Clock()
        self.verified = Verified(self._verify, clock=self.clock)

    def _verify(self, _: Published) -> None:
        self.asked += 1
        if self.fault:
            raise self.fault


@pytest.fixture
def version(publish: Publish) -> Published:
    published = publish()
    time.sleep(0.06)
    return published


def test_a_sound_version_is_verified_once(version: Published) -> None:
    rig = Rig()
    looks = {rig.verified.check(version) for _ in range(5)}
    assert looks == {identity(version.folder)}
    rig.clock.now = 1e6
    rig.verified.check(version)
    assert rig.asked == 1


@pytest.mark.parametrize("change", [
    lambda f: (f / "README.md").write_text("x"),
    lambda f: (f / "adapter_model.bin").write_text("x"),
    lambda f: (f / "adapter_model.safetensors").unlink(),
    lambda f: os.utime(f / "adapter_config.json"),
])  # fmt: skip
def test_any_change_of_the_folder_is_looked_at(version: Published, change: object) -> None:
    rig = Rig()
    rig.verified.check(version)
    assert callable(change)
    change(version.folder)
    rig.verified.check(version)
    assert rig.asked == 2


def test_a_swap_that_keeps_size_and_time_is_seen(version: Published, tmp_path: Path) -> None:
    rig = Rig()
    rig.verified.check(version)
    weights = version.folder / "adapter_model.safetensors"
    shutil.copy2(weights, tmp_path / "copy")
    (tmp_path / "copy").replace(weights)
    rig.verified.check(version)
    assert rig.asked == 2


def test_what_changed_just_now_is_not_remembered(publish: Publish) -> None:
    rig, published = Rig(), publish()
    assert rig.verified.check(published) == ""
    rig.verified.check(published)
    assert rig.asked == 2


def test_a_fault_is_remembered_for_a_few_seconds_or_until_it_is_mended(version: Published) -> None:
    rig = Rig()
    rig.fault = FileCorrupt("hash")
    for _ in range(100):
        with pytest.raises(FileCorrupt):
            rig.verified.check(version)
    assert rig.asked == 1
    rig.clock.now += 6
    with pytest.raises(FileCorrupt):
        rig.verified.check(version)
    assert rig.asked == 2
    rig.fault = None
    (version.folder / "README.md").write_text("mended")
    rig.verified.check(version)
    assert rig.asked == 3


def test_a_remembered_fault_grows_no_traceback(version: Published) -> None:
    rig = Rig()
    rig.fault = FileCorrupt("hash")
    depths = set()
    for _ in range(50):
        with pytest.raises(FileCorrupt) as caught:
            rig.verified.check(version)
        depths.add(len(caught.traceback))
    assert max(depths) < 5


def test_what_only_the_engine_found_is_remembered_too(version: Published) -> None:
    rig = Rig()
    rig.verified.check(version)
    rig.verified.note_fault(version, AdapterRejected("no such module"))
    with pytest.raises(AdapterRejected):
        rig.verified.check(version)
    assert rig.asked == 1


def test_the_table_is_bounded(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST", 2)
    every = [publish(seed=seed) for seed in range(4)]
    time.sleep(0.06)
    rig = Rig()
    for published in every:
        rig.verified.check(published)
    assert len(rig.verified._found) == 2


def test_a_busy_engine_gets_rests_and_an_idle_one_none() -> None:
    now = [0.0]
    slept: list[float] = []
    busy = [True]
    pace = Pace(lambda: busy[0], clock=lambda: now[0], sleep=slept.append)
    for _ in range(20):
        now[0] += 0.0004
        pace()
    assert 5 <= len(slept) <= 7
    busy[0] = False
    for _ in range(20):
        now[0] += 0.0004
        pace()
    assert len(slept) <= 7
