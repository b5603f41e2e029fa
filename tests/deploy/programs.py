"""Programs of Debian packages: those installed here, else unpacked into .venv without root."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_OPT: Final = Path(sys.prefix) / "opt"


def debian_program(name: str, package: str) -> Path:
    """Return the path of program `name`; skips the test where there is none, and fails in CI."""
    if found := shutil.which(name):
        return Path(found)
    program = _OPT / package / "usr/bin" / name
    _OPT.mkdir(exist_ok=True)
    with (_OPT / f"{package}.lock").open("w") as lock:  # pytest's workers come at the same time
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            _unpack(package)
    if not program.is_file():
        message = f"no {name} here: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return program


def _unpack(package: str) -> None:
    """Fetch the package by apt's own sources, with lists of its own."""
    if shutil.which("apt-get") is None:
        return
    scratch = _OPT / f"{package}.apt"
    for folder in ("lists/partial", "cache/archives/partial"):
        (scratch / folder).mkdir(parents=True, exist_ok=True)
    options = [
        "-qq", "-o", f"Dir::State::lists={scratch}/lists", "-o", f"Dir::Cache={scratch}/cache",
        "-o", "APT::Sandbox::User=",
    ]  # fmt: skip
    commands = (["update"], ["download", package])
    try:
        for command in commands:
            subprocess.run(["apt-get", *options, *command], cwd=scratch, check=True, timeout=300)
        (archive,) = scratch.glob("*.deb")
        subprocess.run(["dpkg-deb", "-x", archive, _OPT / package], check=True, timeout=60)
    except (subprocess.SubprocessError, ValueError):
        return
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
