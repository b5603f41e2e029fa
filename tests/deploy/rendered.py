"""Overlays as `kubectl kustomize` renders them, once a session."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[2]
KUSTOMIZE: Final = ROOT / "deploy" / "kustomize"
OVERLAYS: Final = tuple(sorted(p.name for p in (KUSTOMIZE / "overlays").iterdir() if p.is_dir()))
# Every component with whatever it stands on, also those that no overlay has.
BUILDS: Final[dict[str, dict[str, list[str]]]] = {
    "api-keys": {
        "resources": ["base"],
        "components": [
            "cpu", "network-policy", "prometheus-operator", "inference-gateway", "api-keys",
        ],
    },
    "gpu-device-plugin": {"resources": ["base"], "components": ["gpu-device-plugin"]},
    "hpa": {"resources": ["base"], "components": ["cpu", "hpa"]},
    "scale-to-zero": {"resources": ["base"], "components": ["cpu", "keda", "scale-to-zero"]},
    "training-resume": {"resources": ["training"], "components": ["training-resume"]},
    "kubeflow-trainjob": {"resources": ["training"], "components": ["kubeflow-trainjob"]},
}  # fmt: skip
Manifest = dict[str, Any]


@functools.cache
def _render(folder: Path) -> tuple[Manifest, ...]:
    kubectl = Path(sys.executable).parent / "kubectl"
    command = [str(kubectl), "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # warnings of deprecated fields
    return tuple(d for d in yaml.safe_load_all(done.stdout) if d)


@functools.cache
def _built(name: str) -> tuple[Manifest, ...]:
    with tempfile.TemporaryDirectory() as folder:
        # kustomize takes no absolute paths.
        up = Path(*[".."] * len(Path(folder).resolve().parts[1:]))
        parts = BUILDS[name]
        body = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            "resources": [f"{up}{KUSTOMIZE}/{part}" for part in parts["resources"]],
            "components": [f"{up}{KUSTOMIZE}/components/{part}" for part in parts["components"]],
        }
        path = Path(folder, "kustomization.yaml")
        path.write_text(yaml.safe_dump(body), encoding="utf-8")
        return _render(Path(folder))


def rendered(name: str) -> list[Manifest]:
    """Return the manifests of an overlay or of one of BUILDS; the caller may change them."""
    found = _built(name) if name in BUILDS else _render(KUSTOMIZE / "overlays" / name)
    return copy.deepcopy(list(found))


def of_kind(manifests: list[Manifest], *kinds: str) -> Iterator[Manifest]:
    """Yield the manifests of these kinds."""
    return (m for m in manifests if m["kind"] in kinds)


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Yield name and pod template of everything that makes pods."""
    for manifest in manifests:
        name = f"{manifest['kind']}/{manifest['metadata']['name']}"
        if manifest["kind"] in ("Deployment", "Job"):
            yield name, manifest["spec"]["template"]
        if manifest["kind"] == "TrainingRuntime":
            for job in manifest["spec"]["template"]["spec"]["replicatedJobs"]:
                yield name, job["template"]["spec"]["template"]
        if manifest["kind"] == "CronJob":
            yield name, manifest["spec"]["jobTemplate"]["spec"]["template"]


def containers(template: Manifest) -> list[Manifest]:
    """Return the containers of a pod template, those of its start included."""
    spec = template["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]
