"""requirements/cpu.txt: hashed, in step with pyproject.toml, complete but for what is left out."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements" / "cpu.txt").read_text()
EXTRAS = ("cpu", "postgres", "train", "demo", "bench", "dev")
LEFT_OUT = {canonicalize_name(name) for name in PROJECT["tool"]["uv"]["exclude-dependencies"]}
TORCH = Requirement((ROOT / "requirements" / "torch.txt").read_text().splitlines()[-1])
TORCH_VERSION = Version(str(TORCH.specifier).removeprefix("=="))

Pins = dict[str, Version]


def read_pins(lock: str) -> Pins:
    """Return the version of each package; raise ValueError for a line without a sha256."""
    pins: Pins = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", re.sub(r"^\s*#.*\n", "", lock, flags=re.M)):
        line, *rest = block.split("\\\n")
        if not rest or not all(re.match(r"\s+--hash=sha256:[0-9a-f]{64}", each) for each in rest):
            raise ValueError(f"no sha256: {block!r}")
        requirement = Requirement(line.strip())
        (pin,) = requirement.specifier
        assert pin.operator == "=="
        pins[canonicalize_name(requirement.name)] = Version(pin.version)
    return pins


def applicable(requirements: list[str], extras: set[str]) -> list[Requirement]:
    """Return the requirements whose markers hold here, with these extras asked for."""
    parsed = [Requirement(line) for line in requirements]
    return [
        each
        for each in parsed
        if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in {"", *extras})
    ]


@pytest.fixture(scope="module")
def pins() -> Pins:
    return read_pins(LOCK)


@pytest.fixture(scope="module")
def asked() -> list[Requirement]:
    """Return what pyproject.toml asks for in a CPU install."""
    project = PROJECT["project"]
    lines = [*project["dependencies"]]
    for extra in EXTRAS:
        lines += project["optional-dependencies"][extra]
    return applicable(lines, set())


def test_every_line_of_the_lock_is_pinned_and_hashed(pins: Pins) -> None:
    assert len(pins) == LOCK.count("==")
    assert len(pins) > 150


def test_reading_a_lock_refuses_a_line_without_hash() -> None:
    with pytest.raises(ValueError, match="no sha256"):
        read_pins("numpy==2.3.5\n")


def test_lock_answers_everything_that_pyproject_asks_for(
    pins: Pins, asked: list[Requirement]
) -> None:
    installed = pins | {"torch": TORCH_VERSION}
    for requirement in asked:
        found = installed.get(canonicalize_name(requirement.name))
        assert found is not None, f"{requirement}: not in the lock; run make lock"
        assert requirement.specifier.contains(found), f"{requirement}: {found}; run make lock"


def test_lock_holds_no_torch_and_no_cuda(pins: Pins) -> None:
    assert {"torch", "torchvision", "torchaudio", "torchcodec", "triton"} <= LEFT_OUT
    assert not LEFT_OUT & set(pins)
    assert not [name for name in pins if name.startswith(("nvidia-", "cuda-"))]


def test_installed_packages_are_the_locked_ones(pins: Pins) -> None:
    assert {name: Version(distribution(name).version) for name in pins} == pins


def test_only_what_was_left_out_on_purpose_is_missing(pins: Pins, asked: list[Requirement]) -> None:
    installed = pins | {"torch": TORCH_VERSION}
    met: set[str] = set()
    unmet: set[str] = set()
    seen: set[str] = set()
    todo = [*asked, TORCH]
    while todo:
        requirement = todo.pop()
        if str(requirement) in seen:
            continue
        seen.add(str(requirement))
        name = canonicalize_name(requirement.name)
        version = installed.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            unmet.add(name)
            continue
        met.add(name)
        todo += applicable(distribution(name).requires or [], requirement.extras)
    assert unmet == LEFT_OUT - {"torch"}
    assert met == set(installed), "the lock holds packages that nothing asks for; run make lock"


@pytest.mark.parametrize("name", ["Makefile", "pyproject.toml", "requirements", ".ci/run"])
def test_install_files_name_no_host_but_the_torch_index(name: str) -> None:
    files = [path for path in [ROOT / name, *(ROOT / name).glob("*")] if path.is_file()]
    assert files
    hosts = {
        host for file in files for host in re.findall(r"https?://([^/\s\"']+)", file.read_text())
    }
    assert hosts <= {"download.pytorch.org"}
    assert (name == "requirements") == bool(hosts)
    assert not [file for file in files if "find-links" in file.read_text()]
