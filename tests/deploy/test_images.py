"""The images: their file is linted, and each step of the CPU's is run in a clean Debian root."""

from __future__ import annotations

import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import yaml
from packaging.utils import canonicalize_name

from tests.deploy.clean_root import Builder, StepFailed
from tests.deploy.dockerfile import Context, Copy, Run, parse
from tests.deploy.rendered import ROOT

pytestmark = pytest.mark.slow
PATH: Final = ROOT / "deploy" / "images" / "Dockerfile"
DOCKERFILE: Final = parse(PATH, {"DEBIAN_DIGEST": "sha256:0"})
CONTEXT: Final = Context.of(PATH, ROOT)
IMAGES: Final = ("serving", "training")
CACHE: Final = Path(sys.prefix) / "opt" / "image-cache"
# What is heavy, and of the other image.
LACKS: Final = {"serving": "trl", "training": "vllm"}
# vllm._C is linked with libraries of Debian; without them vLLM only warns, and fails later.
IMPORTS: Final = {
    "serving": "vllm, vllm._C, serving.launch",
    "training": "trl, peft, training.pipeline",
}
COMMANDS: Final = {"serving": "serve", "training": "train"}


def test_the_linter_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, PATH], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_images_from_outside_are_pinned_by_a_digest_without_default() -> None:
    assert DOCKERFILE.images
    assert all(image.endswith("@${DEBIAN_DIGEST}") for image in DOCKERFILE.images)
    assert re.search(r"^ARG DEBIAN_DIGEST$", PATH.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("image", IMAGES)
def test_images_run_as_a_user_that_is_a_number_and_not_root(image: str) -> None:
    user, group = DOCKERFILE.stages[image].state.user.split(":")
    # By its number Kubernetes knows that runAsNonRoot holds.
    assert int(user) > 0
    assert int(group) > 0
    assert DOCKERFILE.stages[image].state.entrypoint == ("dragoman",)


def test_what_is_copied_is_in_the_context() -> None:
    files = list(CONTEXT.files())
    for stage in DOCKERFILE.stages.values():
        for step in stage.steps:
            if isinstance(step, Copy) and step.stage is None:
                for source in step.sources:
                    prefix = "" if source == "." else source
                    assert any(name.startswith(prefix) for name in files), f"COPY {source}"
            elif isinstance(step, Copy):
                assert step.stage in DOCKERFILE.stages
    wheel = {"pyproject.toml", "README.md", "LICENSE", "dragoman.py", "serving/native/build.py"}
    assert wheel <= set(files)


def test_the_context_has_nothing_that_was_made_here() -> None:
    for name in ("tests/x.py", ".venv/x", "registry/x", "serving/native/liblora.so", ".git/x"):
        assert not CONTEXT.lets_through(name)


@pytest.mark.parametrize("variant", ["cpu", "gpu"])
def test_requirements_that_steps_name_exist(variant: str) -> None:
    named = set()
    for stage in parse(PATH, {"VARIANT": variant}).stages.values():
        for step in stage.steps:
            if isinstance(step, Run):
                script = step.script.replace("$VARIANT", step.state.arguments.get("VARIANT", ""))
                named |= set(re.findall(r"requirements/[\w.-]+", script))
    assert {f"requirements/{image}-{variant}.txt" for image in IMAGES} <= named
    assert named <= set(CONTEXT.files())


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    """Return a builder with a cache of downloads; skips where roots cannot be built."""
    probe = ["unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    if os.geteuid() or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("images are built in mount namespaces: this needs root, and CAP_SYS_ADMIN")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = Builder(DOCKERFILE, CONTEXT, CACHE)
        try:
            yield built
        finally:
            built.close()


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_has_what_it_runs_and_no_more(builder: Builder, image: str) -> None:
    root = builder.build(image)
    state = DOCKERFILE.stages[image].state
    as_root = replace(state, user="0:0")

    def lacks(*command: str) -> None:
        with pytest.raises(StepFailed):
            root.run(command, state)

    def found(*conditions: str) -> list[str]:
        places = ("find", "/", "/opt/dragoman", "-xdev")
        return root.run((*places, *conditions), as_root).split()

    assert root.run(["id", "--user"], state) == "10001\n"
    for arguments in (["--help"], [COMMANDS[image], "--help"], list(state.command)):
        assert "Usage" in root.run([*state.entrypoint, *arguments], state)
    root.run([*state.entrypoint, "base", "list"], state)
    root.run(["python", "-c", f"import {IMPORTS[image]}"], state)
    lacks("python", "-c", f"import {LACKS[image]}")
    kernel = "/opt/dragoman/lib/python3.11/site-packages/serving/native/liblora.so"
    assert found("-name", "liblora.so") == [kernel]
    root.run(["python", "-c", f"import torch, ctypes; ctypes.CDLL('{kernel}')"], state)

    lacks("touch", "/opt/dragoman/x")  # nobody's, also where the root is not mounted read-only
    others = ("-uid", "10001", "-o", "-gid", "10001", "-o", "-perm", "-o+w")
    assert set(found("!", "-type", "l", "!", "-perm", "-1000", "(", *others, ")")) == volumes()
    # What builds, and what is left of building.
    assert found("-type", "f", "-name", "uv") == []
    assert found("-name", "*.whl", "-o", "-name", "*.deb", "-o", "-path", "/src/*") == []
    assert found("-path", "/root/.cache/*", "-o", "-path", "/opt/build") == []
    lacks("/bin/sh", "-c", "command -v pip")
    if image == "serving":  # vLLM compiles models when it starts, and its server ends if it cannot
        compiled = "torch.compile(lambda x: x.sin() + 1)(torch.ones(64))"
        root.run(["python", "-c", f"import torch; {compiled}"], state)
    else:
        for program in ("g++", "gcc", "cc"):
            lacks("/bin/sh", "-c", f"command -v {program}")
    bytecode = found("-path", "*/torch/__pycache__/__init__.cpython-311.pyc")
    assert bytecode, "each process would compile for itself, since none may write here"

    bill = json.loads(root.run(["cat", "/opt/dragoman/sbom.cdx.json"], state))
    assert bill["bomFormat"] == "CycloneDX"
    listed = {canonicalize_name(part["name"]): part["version"] for part in bill["components"]}
    assert listed == {**locked(f"{image}-cpu"), **locked("torch"), "dragoman": "0.1.0"}

    measure = ("du", "--summarize", "--block-size=1M", "--exclude=/proc", "--exclude=/sys", "/")
    print(f"{image}: {root.run(measure, as_root).split()[0]} MiB")


def volumes() -> set[str]:
    """Return the folders that are named volumes of our containers in deploy/compose.yaml."""
    services = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    ours = [s for s in services["services"].values() if s["image"].startswith("dragoman-")]
    mounts = [mount.split(":") for service in ours for mount in service["volumes"]]
    return {target for source, target, *_ in mounts if "/" not in source}


def locked(name: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}
