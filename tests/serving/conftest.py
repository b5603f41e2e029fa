from __future__ import annotations

from pathlib import Path

import pytest

from adapters.base_model import BaseModelRef
from adapters.registry import FileRegistry, Published
from adapters.tokenizer import BaseTokenizer
from tests import fakes


@pytest.fixture(scope="session")
def tokenizer() -> BaseTokenizer:
    return BaseTokenizer(fakes.tokenizer(), fakes.tokenizer())


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fakes.write_base(tmp_path_factory.mktemp("base") / "tiny")


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    return FileRegistry(tmp_path / "registry")


@pytest.fixture
def publish(registry: FileRegistry, base: Path, tmp_path: Path) -> Publish:
    return Publish(registry, base, tmp_path)


class Publish:
    """Publishes small adapters of the tiny base; `seed` makes other weights."""

    def __init__(self, registry: FileRegistry, base: Path, tmp_path: Path) -> None:
        self._registry = registry
        self._base = BaseModelRef.read(base)
        self._tmp_path = tmp_path

    def __call__(self, adapter_id: str = "ui-en-fr", seed: int = 0, **changes: object) -> Published:
        folder = fakes.write_lora(self._tmp_path / f"{adapter_id}-{seed}", seed=seed)
        facts = {"base": self._base, **changes}
        return self._registry.publish(
            fakes.contract(folder, adapter_id=adapter_id, **facts), folder
        )
