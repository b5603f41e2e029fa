"""Make .venv from the lock; finish at once when it already stands. Run by `make setup`.

Standard library only: it runs before anything is installed. A set-up that was cut short has no
stamp and starts again from an empty .venv, since pip takes a half-written package for an
installed one; pip's cache keeps the second try short.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "dragoman-setup.json"
LOG = VENV / "setup.log"
LOCK = ROOT / "requirements" / "cpu.txt"
TORCH = ROOT / "requirements" / "torch.txt"
PROJECT = ROOT / "pyproject.toml"
KERNEL = ROOT / "serving" / "native"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"


class SetupError(Exception):
    """A step failed; the message says which and what to do next."""


def main() -> int:
    """Return the exit code: 0 with a usable .venv, 1 with the reason on stderr."""
    try:
        # Two runs in one checkout (say `make test` beside `make demo`) must not share a pip.
        with PROJECT.open() as project:
            wait_for_turn(project)
            set_up()
    except SetupError as error:
        print(f"make setup: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmake setup: interrupted; run it again to start over", file=sys.stderr)
        return 130
    return 0


def wait_for_turn(file: IO[str]) -> None:
    """Return once no other set-up of this checkout runs; the lock goes with the process."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print("setup: waiting for another set-up of this checkout", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)


def set_up() -> None:
    """Bring .venv to what the lock, torch.txt and pyproject.toml ask for."""
    wanted = fingerprints()
    found = read_stamp()
    if found == wanted and is_usable():
        return
    if found.get("packages") != wanted["packages"] or not is_usable():
        install_packages()
        write_stamp({"packages": wanted["packages"]})
        hint_allocator()
    with step("installing dragoman (editable)"):
        pip_install("--no-build-isolation", "--editable", str(ROOT))
    write_stamp(wanted)


def install_packages() -> None:
    """Make .venv anew with torch and every package of the lock."""
    check_platform()
    with step("creating .venv"):
        STAMP.unlink(missing_ok=True)
        shutil.rmtree(VENV, ignore_errors=True)
        run([sys.executable, "-I", "-m", "venv", str(VENV)], "is python3.11-venv installed?")
    install_torch()
    with step(f"installing {count_pins(LOCK)} packages from {LOCK.relative_to(ROOT)}"):
        pip_install("--only-binary", ":all:", "--require-hashes", "-r", str(LOCK))
    with step("compiling bytecode"):
        compile_packages()


def compile_packages() -> None:
    """Compile on all cores what pip would compile on one.

    Done here because some machines forbid Python to do so on import; there every process of a
    server took 16 s instead of 8 to import vLLM, and a server has three.
    """
    command = [str(PYTHON), "-m", "compileall", "-q", "-j", "0", str(VENV / "lib")]
    # Exits with 1: some packages ship templates that are no valid Python.
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def check_platform() -> None:
    """Raise SetupError unless the lock's wheels are for this interpreter and machine."""
    found = (platform.python_implementation(), *platform.python_version_tuple()[:2])
    if found != ("CPython", "3", "11"):
        raise SetupError(
            f"the lock is for CPython 3.11, {sys.executable} is {found[0]} "
            f"{platform.python_version()}; install python3.11, or name one: make PYTHON=/path/to/it"
        )
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise SetupError(
            f"the lock is for Linux on x86_64, this is {sys.platform} on {platform.machine()}; "
            "install by hand: pip install -e '.[cpu,train,demo,dev]'"
        )


def install_torch() -> None:
    """Install torch from where pip is configured to look, else from PyTorch's own index."""
    args = ("--only-binary", ":all:", "-r", str(TORCH))
    with step("installing torch from where pip is configured to look") as outcome:
        try:
            pip_install(*args)
            return
        except SetupError:
            outcome.append("not offered there")
    with step(f"installing torch from {TORCH_CPU_INDEX}"):
        pip_install(*args, "--index-url", TORCH_CPU_INDEX)


def hint_allocator() -> None:
    """Say how to get tcmalloc, once per full set-up, where it is missing."""
    if sys.platform == "linux" and find_library("tcmalloc_minimal") is None:
        print("hint: tcmalloc makes CPU training 1.7x faster: apt-get install libtcmalloc-minimal4")


# What .venv should be, and what it is


def fingerprints() -> dict[str, str]:
    """Return a digest of what each step reads."""
    kernel = sorted(KERNEL.glob("*.[chp]*"))
    return {"packages": digest(TORCH, LOCK), "project": digest(PROJECT, *kernel)}


def digest(*files: Path) -> str:
    """Return one sha256 of the files less comments, the checkout's path and Python's version."""
    # The path, because a venv's scripts and the editable install hold it.
    state = hashlib.sha256(f"{ROOT}\n{sys.version_info[:2]}\n".encode())
    for file in files:
        lines = file.read_bytes().splitlines(keepends=True)
        state.update(b"".join(line for line in lines if not line.lstrip().startswith(b"#")))
    return state.hexdigest()


def read_stamp() -> dict[str, str]:
    """Return the fingerprints that .venv was made for; empty when it was not finished."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(stamp: dict[str, str]) -> None:
    """Record, atomically, what .venv now holds."""
    partial = STAMP.with_suffix(".partial")
    partial.write_text(json.dumps(stamp, indent=1) + "\n")
    partial.replace(STAMP)


def is_usable() -> bool:
    """Tell whether .venv's Python still starts: the Python that it links to can go away."""
    try:
        done = subprocess.run([PYTHON, "-I", "-c", "import pip"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


def count_pins(lock: Path) -> int:
    """Return how many packages the lock names."""
    return sum("==" in line for line in lock.read_text().splitlines() if line[:1].isalnum())


# Running the steps


@contextmanager
def step(name: str) -> Iterator[list[str]]:
    """Print one line: the step, what the caller appends to the list, and the seconds."""
    start = time.monotonic()
    outcome: list[str] = []
    print(f"setup: {name} ... ", end="", flush=True)
    try:
        yield outcome
    except BaseException:
        print("failed", flush=True)
        raise
    print(*outcome, f"{time.monotonic() - start:.0f} s", sep=", ", flush=True)


def pip_install(*args: str) -> None:
    """Run .venv's pip on exactly what is named, dependencies aside."""
    # Not compiling leaves the byte code to the first import: 49 s instead of 90 s for the lock,
    # against 6 s more for the first import of everything that serving and training use.
    options = ("--disable-pip-version-check", "--no-input", "install", "--no-deps", "--no-compile")
    run([str(PYTHON), "-I", "-m", "pip", *options, *args], "is the package index reachable?")


def run(command: Sequence[str], question: str) -> None:
    """Run a command with its output in the log; raise SetupError with the log's end."""
    LOG.parent.mkdir(exist_ok=True)
    with LOG.open("a") as log:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PIP_USER": "0", "PIP_ROOT_USER_ACTION": "ignore"},
            check=False,
        )
    if done.returncode:
        tail = "\n  ".join(LOG.read_text().splitlines()[-8:])
        raise SetupError(
            f"this failed; {question}\n  {shlex.join(command)}\n  {tail}\n  (all of it: {LOG})"
        )


if __name__ == "__main__":
    sys.exit(main())
