"""`make setup`'s script, run for real on a checkout with one-file packages from a local folder."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).resolve().parent.parent / "requirements" / "setup_venv.py"
COLD_STEPS = [
    "creating .venv",
    "installing torch",
    "installing 1 packages",
    "compiling bytecode",
    "installing dragoman",
]

# An in-tree build backend, so that the editable install needs neither hatchling nor a network.
BACKEND = """
import pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).parent))
from wheels import write_wheel

def build_editable(folder, config_settings=None, metadata_directory=None):
    return write_wheel(pathlib.Path(folder), "dragoman", "0.1.0").name
"""


def write_wheel(folder: Path, name: str, version: str) -> Path:
    """Write a wheel of one module, which holds its version, and return its path."""
    files = {
        f"{name}.py": f"__version__ = {version!r}\n",
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\n"
        f"Version: {version}\n",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = f"{name}-{version}.dist-info/RECORD"
    rows = [f"{path},{sha256_of(text)},{len(text)}" for path, text in files.items()]
    files[record] = "\n".join([*rows, f"{record},,\n"])
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return wheel


def sha256_of(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Checkout:
    """A folder that `make setup`'s script takes for the project, and what a run of it did."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wheels = root / "wheels"
        for folder in (root / "requirements", self.wheels, root / "backend"):
            folder.mkdir(parents=True)
        self.script = root / "requirements" / "setup_venv.py"
        self.script.write_text(SCRIPT.read_text())
        self.write_project("0")
        write_wheel(self.wheels, "torch", "2.13.0+cpu")
        (root / "requirements" / "torch.txt").write_text("# CPU\ntorch==2.13.0+cpu\n")
        self.lock("1.0")

    def write_project(self, note: str) -> None:
        source = Path(__file__).read_text()
        start, end = source.index("def write_wheel"), source.index("class Checkout")
        imports = "import base64, hashlib, zipfile\nfrom pathlib import Path\n"
        (self.root / "backend" / "wheels.py").write_text(imports + source[start:end])
        (self.root / "backend" / "backend.py").write_text(BACKEND)
        (self.root / "pyproject.toml").write_text(
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["backend"]\n'
            f'[project]\nname = "dragoman"\nversion = "0.1.0"\ndescription = "{note}"\n'
        )

    def lock(self, version: str, *, sha256: str | None = None) -> None:
        wheel = write_wheel(self.wheels, "tiny", version)
        sha256 = sha256 or hashlib.sha256(wheel.read_bytes()).hexdigest()
        text = f"tiny=={version} \\\n    --hash=sha256:{sha256}\n    # via dragoman\n"
        (self.root / "requirements" / "cpu.txt").write_text(text)

    def start(self) -> subprocess.Popen[str]:
        offline = {
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(self.wheels),
            "PIP_NO_INDEX": "1",
        }
        return subprocess.Popen(
            [sys.executable, "-I", self.script],
            cwd=self.root.parent,
            env=os.environ | offline,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self) -> list[str]:
        """Return what it printed after a run that must succeed, one step a line."""
        with self.start() as process:
            out, err = process.communicate()
        assert process.returncode == 0, out + err
        return [line.removeprefix("setup: ") for line in out.splitlines() if "hint:" not in line]

    def refused(self) -> str:
        """Return what it wrote to stderr after a run that must fail."""
        with self.start() as process:
            out, err = process.communicate()
        assert process.returncode == 1, out + err
        return err

    def installed(self, module: str) -> str:
        code = f"import {module}; print({module}.__version__)"
        done = subprocess.run(
            [self.root / ".venv" / "bin" / "python", "-I", "-c", code],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return one checkout for the whole file: each test starts from what the last one left."""
    checkout = Checkout(tmp_path_factory.mktemp("setup") / "project")
    steps = checkout.run()
    assert [any(line.startswith(step) for line in steps) for step in COLD_STEPS] == [True] * len(
        COLD_STEPS
    )
    return checkout


def test_first_run_installs_torch_the_lock_and_the_project(checkout: Checkout) -> None:
    assert checkout.installed("torch") == "2.13.0+cpu"
    assert checkout.installed("tiny") == "1.0"
    assert checkout.installed("dragoman") == "0.1.0"


def test_second_run_does_nothing_and_takes_no_time(checkout: Checkout) -> None:
    start = time.monotonic()
    assert checkout.run() == []
    assert time.monotonic() - start < 2


def test_changed_project_is_installed_again_alone(checkout: Checkout) -> None:
    checkout.write_project("1")
    (step,) = checkout.run()
    assert step.startswith("installing dragoman")


def test_comment_in_the_lock_changes_nothing(checkout: Checkout) -> None:
    with (checkout.root / "requirements" / "cpu.txt").open("a") as lock:
        lock.write("    # via something else\n")
    assert checkout.run() == []


def test_wrong_hash_is_refused_and_nothing_counts_as_set_up(checkout: Checkout) -> None:
    checkout.lock("2.0", sha256="0" * 64)
    error = checkout.refused()
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in error
    assert str(checkout.root / ".venv" / "setup.log") in error
    assert not (checkout.root / ".venv" / "dragoman-setup.json").exists()


def test_killed_run_is_noticed_and_the_environment_made_anew(checkout: Checkout) -> None:
    checkout.lock("2.0")
    with checkout.start() as process:
        assert process.stdout is not None
        process.stdout.readline()  # .venv exists from here on
        os.killpg(process.pid, signal.SIGKILL)
    stray = checkout.root / ".venv" / "stray"
    stray.touch()
    assert len(checkout.run()) == len(COLD_STEPS)
    assert checkout.installed("tiny") == "2.0"
    assert not stray.exists()


def test_environment_whose_python_fails_is_made_anew(checkout: Checkout) -> None:
    python = checkout.root / ".venv" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\nexit 127\n")  # as when its shared library went away
    python.chmod(0o755)
    assert len(checkout.run()) == len(COLD_STEPS)


def test_environment_whose_python_is_gone_is_noticed(checkout: Checkout) -> None:
    python = checkout.root / ".venv" / "bin" / "python"
    target = python.readlink()
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    code = f"import runpy; print(runpy.run_path({str(checkout.script)!r})['is_usable']())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
    python.unlink()
    python.symlink_to(target)


def test_second_run_at_the_same_time_waits(checkout: Checkout) -> None:
    with (checkout.root / "pyproject.toml").open() as project:
        fcntl.flock(project, fcntl.LOCK_EX)
        with checkout.start() as process:
            assert process.stdout is not None
            assert "waiting for another set-up" in process.stdout.readline()
            assert process.poll() is None
            fcntl.flock(project, fcntl.LOCK_UN)
            assert process.wait() == 0
