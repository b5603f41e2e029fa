"""Publishers and promoters at the same time, killed ones, and readers among them.

Real processes, since threads would share what only the file system may share.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from adapters import version_folder
from adapters.ids import AdapterId, AdapterRef
from adapters.registry import FileRegistry
from tests import fakes

UI = AdapterId.parse("ui-en-fr")
FORK = multiprocessing.get_context("fork")
PUBLISHERS, EACH = 3, 6


def start(act: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = FORK.Process(target=act, args=arguments)
    process.start()
    return process


def finish(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.join(30)
        assert process.exitcode == 0


def publish_some(root: Path, loras: list[Path]) -> None:
    for lora in loras:
        FileRegistry(root).publish(fakes.contract(lora), lora)


def promote_to_and_fro(root: Path, alias: str, times: int) -> None:
    for i in range(times):
        FileRegistry(root).set_alias(UI, alias, 1 + i % 2)


def many(folder: Path, count: int) -> list[Path]:
    return [fakes.write_lora(folder / f"many-{seed}", seed=seed) for seed in range(count)]


def test_publishers_at_the_same_time_lose_nothing_and_number_without_gaps(
    registry: FileRegistry, tmp_path: Path
) -> None:
    loras = many(tmp_path, PUBLISHERS * EACH)
    finish([start(publish_some, registry.root, loras[i::PUBLISHERS]) for i in range(PUBLISHERS)])
    versions = registry.versions(UI)
    assert [v.manifest.version for v in versions] == list(range(1, PUBLISHERS * EACH + 1))
    assert len({v.manifest.digest for v in versions}) == PUBLISHERS * EACH
    assert registry.aliases(UI) == {"stable": 1}


def test_the_same_adapter_published_by_several_is_one_version(
    registry: FileRegistry, lora: Path
) -> None:
    finish([start(publish_some, registry.root, [lora] * EACH) for _ in range(PUBLISHERS)])
    assert registry.numbers(UI) == [1]


def test_promotions_at_the_same_time_lose_no_alias(registry: FileRegistry, tmp_path: Path) -> None:
    publish_some(registry.root, many(tmp_path, 2))
    names = ["stable", "canary", "next"]
    finish([start(promote_to_and_fro, registry.root, name, 40) for name in names])
    assert registry.aliases(UI) == dict.fromkeys(names, 2)
    assert registry.rollback(UI).manifest.version == 1


def promote_until(root: Path, stop: Event) -> None:
    while not stop.is_set():
        promote_to_and_fro(root, "stable", 2)


def test_readers_see_whole_versions_only(registry: FileRegistry, tmp_path: Path) -> None:
    loras = many(tmp_path, 12)
    publish_some(registry.root, loras[:2])
    stop = FORK.Event()
    promoter = start(promote_until, registry.root, stop)
    publisher = start(publish_some, registry.root, loras[2:])
    reads = 0
    try:
        while reads < 30 or publisher.is_alive():
            assert registry.resolve(AdapterRef(UI)).manifest.version in {1, 2}
            numbers = [v.manifest.version for v in registry.versions(UI)]
            assert numbers == list(range(1, len(numbers) + 1))
            reads += 1
    finally:
        stop.set()
    finish([promoter, publisher])
    assert len(registry.versions(UI)) == 12


def killed_at(owner: Any, name: str, call: int) -> Callable[[Path, Path], None]:
    """Return a publish that is killed by SIGKILL at the given call of `owner.name`."""

    def act(root: Path, lora: Path) -> None:
        real, calls = getattr(owner, name), 0

        def die(*arguments: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)

        setattr(owner, name, die)
        FileRegistry(root).publish(fakes.contract(lora), lora)

    return act


BEFORE_THE_RENAME = [
    pytest.param(version_folder, "_copy", 1, id="draft made, nothing copied"),
    pytest.param(shutil, "copyfile", 2, id="one of two files copied"),
    pytest.param(version_folder, "verify_adapter", 1, id="copied, not verified"),
    pytest.param(Path, "rename", 1, id="verified, not renamed"),
]
AFTER_THE_RENAME = [
    pytest.param(version_folder, "fsync", 5, id="renamed, not synced"),
    pytest.param(os, "fsync", 6, id="aliases half written"),
    pytest.param(Path, "replace", 1, id="aliases written, not renamed"),
]


def kill(registry: FileRegistry, lora: Path, act: Callable[[Path, Path], None]) -> None:
    process = start(act, registry.root, lora)
    process.join(30)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize(("owner", "name", "call"), BEFORE_THE_RENAME)
def test_a_publisher_killed_at_work_leaves_no_version(
    registry: FileRegistry, tmp_path: Path, owner: Any, name: str, call: int
) -> None:
    first, second = many(tmp_path, 2)
    kill(registry, first, killed_at(owner, name, call))

    drafts = list(registry.root.glob("*/versions/*"))
    assert drafts, "killed too early to show anything"
    assert registry.ids() == []
    published = registry.publish(fakes.contract(second), second)
    assert published.manifest.version == 1
    assert list(registry.root.glob("*/versions/*")) == [published.folder]
    assert registry.aliases(UI) == {"stable": 1}


@pytest.mark.parametrize(("owner", "name", "call"), BEFORE_THE_RENAME)
def test_a_publisher_killed_at_a_later_version_disturbs_none_before(
    registry: FileRegistry, tmp_path: Path, owner: Any, name: str, call: int
) -> None:
    first, second = many(tmp_path, 2)
    before = registry.publish(fakes.contract(first), first)
    kill(registry, second, killed_at(owner, name, call))
    assert registry.versions(UI) == [before]
    assert registry.publish(fakes.contract(second), second).manifest.version == 2


@pytest.mark.parametrize(("owner", "name", "call"), AFTER_THE_RENAME)
def test_a_publisher_killed_after_the_rename_leaves_a_whole_version_that_is_stable(
    registry: FileRegistry, tmp_path: Path, owner: Any, name: str, call: int
) -> None:
    first, second = many(tmp_path, 2)
    kill(registry, first, killed_at(owner, name, call))

    assert not (registry.root / "ui-en-fr" / "aliases.json").exists(), "killed too late"
    assert registry.resolve(AdapterRef(UI)).manifest.version == 1
    registry.publish(fakes.contract(second), second)
    assert registry.aliases(UI) == {"stable": 1}
    registry.set_alias(UI, "stable", 2)
    assert registry.rollback(UI).manifest.version == 1
    assert sorted(p.name for p in (registry.root / "ui-en-fr").iterdir()) == [
        ".last",
        ".lock",
        "aliases.json",
        "versions",
    ]
