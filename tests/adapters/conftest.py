from __future__ import annotations

import sys
from pathlib import Path

import pytest

import dragoman
from adapters.registry import FileRegistry
from adapters.tokenizer import BaseTokenizer
from tests import fakes
from tests.adapters.ran import Ran, Run


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


@pytest.fixture
def run(
    registry: FileRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run `dragoman adapters …` as a user does, with a registry and bases of its own."""
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRAGOMAN_REGISTRY", str(registry.root))

    def run_it(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["dragoman", "adapters", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            dragoman.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Ran(int(caught.value.code or 0), out, err)

    return run_it


@pytest.fixture
def fetched(tmp_path: Path) -> Path:
    return fakes.write_base(tmp_path / "home" / "bases" / "tiny")
