from __future__ import annotations

from pathlib import Path

import pytest

from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests import fakes


@pytest.fixture(scope="session")
def tokenizer() -> BaseTokenizer:
    return BaseTokenizer(fakes.tokenizer(), fakes.tokenizer())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return fakes.write_base(tmp_path / "tiny")


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return fakes.write_lora(tmp_path / "lora")


@pytest.fixture
def registry(tmp_path: Path) -> FileRegistry:
    return FileRegistry(tmp_path / "registry")
