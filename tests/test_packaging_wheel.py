"""The wheel holds the packages and nothing else, and works away from the checkout."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("adapters", "loadtests", "serving", "training")
HEAVY = ("accelerate", "datasets", "peft", "torch", "transformers", "trl", "vllm")

# Refuses every import that the wheel's own requirements, extras aside, do not bring. What is
# refused is missing as far as the importing code can tell, so an optional import stays optional.
CORE_ONLY = """
import re, sys
from importlib.metadata import distribution, packages_distributions

def names(found):
    lines = distribution(found).requires or []
    return {re.match(r"[\\w.-]+", line)[0] for line in lines if "extra ==" not in line}

allowed, todo = set(), {"dragoman"}
while todo:
    name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
    if name in allowed:
        continue
    try:
        todo |= names(name)
    except ModuleNotFoundError:
        continue  # wanted on other platforms or Python versions only
    allowed.add(name)

owners = packages_distributions()
class Guard:
    def find_spec(self, module, path=None, target=None):
        top = module.partition(".")[0]
        who = {re.sub(r"[-_.]+", "-", each).lower() for each in owners.get(top, [])}
        if who and not who & allowed:
            raise ModuleNotFoundError(f"{module} comes with no core requirement", name=module)

sys.meta_path.insert(0, Guard())
"""

IMPORT_ALL = """
import importlib, pkgutil
def import_all(package):
    module = importlib.import_module(package)
    for found in pkgutil.walk_packages(module.__path__, package + "."):
        importlib.import_module(found.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel that hatchling builds from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds what the wheel installs."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def run_code(code: str, cwd: Path, *, site: Path | None = None) -> str:
    """Return what the code prints; with `site`, that folder stands first on its path."""
    first = "" if site is None else f"import sys; sys.path.insert(0, {str(site)!r})\n"
    return run([sys.executable, "-I", "-c", first + code], cwd)


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_wheel_ships_the_packages_and_nothing_else(unpacked: Path) -> None:
    assert {path.name for path in unpacked.iterdir()} == {
        *PACKAGES,
        "dragoman.py",
        "dragoman-0.1.0.dist-info",
    }
    assert not list(unpacked.rglob("__pycache__"))


def test_wheel_ships_every_tracked_file_of_the_packages(unpacked: Path) -> None:
    tracked = run(["git", "ls-files", *PACKAGES, "dragoman.py"], ROOT).splitlines()
    present = [name for name in tracked if (ROOT / name).exists()]
    assert [name for name in present if not (unpacked / name).is_file()] == []
    assert {Path(name).suffix for name in present} >= {".py", ".typed", ".yaml"}


def test_wheel_carries_the_native_kernel_and_says_for_which_machine(
    wheel: Path, unpacked: Path
) -> None:
    assert (unpacked / "serving" / "native" / "liblora.so").is_file()
    assert re.search(r"-py3-none-linux_\w+\.whl$", wheel.name)


def test_a_wheel_is_built_without_a_compiler_too(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns(".venv", ".git", "*.so", ".demo", ".bench", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=ignored)
    environment = {**os.environ, "CXX": "no-such-compiler"}
    done = subprocess.run(
        build, cwd=copy, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "built without the native LoRA kernel: no C++ compiler" in done.stdout + done.stderr
    (built,) = tmp_path.glob("*.whl")
    assert built.name.endswith("-py3-none-any.whl")


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_says_that_each_package_is_typed(unpacked: Path, package: str) -> None:
    assert (unpacked / package / "py.typed").is_file()


def test_wheel_carries_its_licence(unpacked: Path) -> None:
    (licence,) = (unpacked / "dragoman-0.1.0.dist-info" / "licenses").iterdir()
    assert "Apache License" in licence.read_text()


def test_each_entry_point_names_something_that_exists(unpacked: Path) -> None:
    parser = configparser.ConfigParser()
    parser.read(unpacked / "dragoman-0.1.0.dist-info" / "entry_points.txt")
    targets = [target for group in parser.sections() for _, target in parser.items(group)]
    assert set(parser.sections()) >= {"console_scripts", "vllm.general_plugins"}
    for target in targets:
        module, _, name = target.partition(":")
        code = (unpacked / f"{module.replace('.', '/')}.py").read_text()
        defined = rf"^(?:def|class) {name}\b|^from \S+ import .*\b{name}\b|^{name}\b.*="
        assert re.search(defined, code, re.M), f"{target}: {module} has no {name}"


def test_wheel_is_imported_from_where_it_is_installed(unpacked: Path, tmp_path: Path) -> None:
    code = "import adapters, dragoman; print(adapters.__file__, dragoman.__file__, sep='\\n')"
    printed = run_code(code, tmp_path, site=unpacked).split()
    assert printed == [str(unpacked / "adapters" / "__init__.py"), str(unpacked / "dragoman.py")]


def test_installed_command_helps_from_outside_the_checkout(tmp_path: Path) -> None:
    helped = run([str(Path(sys.executable).parent / "dragoman"), "--help"], tmp_path)
    for command in ("adapters", "base", "serve", "train"):
        assert command in helped


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, dragoman\n"
        "sys.argv = ['dragoman', '--help']\n"
        "try:\n    dragoman.main()\nexcept SystemExit as done:\n    assert not done.code\n"
        f"print('heavy:', sorted(set(sys.modules) & set({HEAVY!r})))"
    )
    assert run_code(code, tmp_path).splitlines()[-1] == "heavy: []"


def test_adapters_need_the_core_requirements_only(unpacked: Path, tmp_path: Path) -> None:
    code = CORE_ONLY + IMPORT_ALL + "import_all('adapters')\nimport dragoman"
    run_code(code, tmp_path, site=unpacked)


@pytest.mark.parametrize("module", [*HEAVY, "openai", "pytest"])
def test_core_guard_refuses_what_the_core_does_not_require(tmp_path: Path, module: str) -> None:
    code = (
        f"{CORE_ONLY}\ntry:\n    import {module}\n"
        "except ModuleNotFoundError as refused:\n    print(refused)"
    )
    assert "comes with no core requirement" in run_code(code, tmp_path)
