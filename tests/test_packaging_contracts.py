"""The import contracts hold, and each of them breaks when it should."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
PACKAGES: list[str] = CONTRACTS["root_packages"]

INDEPENDENT = "serving and training know nothing of each other"
SHARED = "adapters is the shared vocabulary: no engine, no trainer, no torch"
HTTP_ONLY = "loadtests speaks HTTP to servers and knows the adapters' vocabulary"
NOT_BASE = "nothing is built on the load tests"
ONE_DOOR = "serving.vllm_compat alone imports vllm"

# One line each in an otherwise empty tree, and the contract that it breaks.
BREACHES = [
    ("serving/one.py", "import training", INDEPENDENT),
    ("training/one.py", "def f():\n    from serving import vllm_compat", INDEPENDENT),
    ("adapters/one.py", "import serving", SHARED),
    ("adapters/one.py", "import torch", SHARED),
    ("adapters/one.py", "from transformers import AutoTokenizer", SHARED),
    ("loadtests/one.py", "import serving", HTTP_ONLY),
    ("loadtests/one.py", "import vllm", HTTP_ONLY),
    ("serving/one.py", "import loadtests", NOT_BASE),
    ("serving/one.py", "from vllm.lora.request import LoRARequest", ONE_DOOR),
    ("training/one.py", "import vllm", ONE_DOOR),
]
ALLOWED = [
    ("serving/vllm_compat.py", "import vllm"),
    ("serving/one.py", "from serving import vllm_compat"),
    ("serving/one.py", "import adapters, torch"),
    ("training/one.py", "import adapters, torch, transformers"),
]


def lint_imports(root: Path, config: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).parent / "lint-imports"
    command = [str(program), "--no-cache", "--no-logo", "--config", str(config)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Return a folder with our packages, empty but for vllm_compat's one import."""
    for package in PACKAGES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "serving" / "vllm_compat.py").write_text("import vllm\n")
    return tmp_path


def test_this_tree_keeps_every_contract() -> None:
    done = lint_imports(ROOT, ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS['contracts'])} kept, 0 broken." in done.stdout


@pytest.mark.parametrize(("file", "line", "contract"), BREACHES)
def test_contract_is_broken_by(tree: Path, file: str, line: str, contract: str) -> None:
    (tree / file).write_text(line + "\n")
    done = lint_imports(tree, ROOT / "pyproject.toml")
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"{contract} BROKEN" in done.stdout


@pytest.mark.parametrize(("file", "line"), ALLOWED)
def test_contracts_allow(tree: Path, file: str, line: str) -> None:
    (tree / file).write_text(line + "\n")
    done = lint_imports(tree, ROOT / "pyproject.toml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_contract_is_broken_by_some_case() -> None:
    assert {contract["name"] for contract in CONTRACTS["contracts"]} == {
        contract for _, _, contract in BREACHES
    }
