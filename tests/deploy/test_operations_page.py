"""Commands of docs/operations.md: dragoman's are run, kubectl's name what the overlays have."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Final

import pytest

import dragoman
from adapters.registry import FileRegistry
from tests import fakes
from tests.deploy.rendered import BUILDS, OVERLAYS, ROOT, pods, rendered

pytestmark = pytest.mark.slow

PAGE: Final = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
_BLOCKS: Final = "".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
CODE: Final = [*re.findall(r"`([^`\n]+)`", PAGE), *_BLOCKS.splitlines()]
KUBECTL: Final = sorted({c for c in CODE if c.startswith("kubectl ")})
# `…`: only a part is shown.
DRAGOMAN: Final = sorted(
    {c for c in CODE if c.startswith("dragoman ") and " " in c[9:] and "…" not in c}
)
# What one can get by kind alone: kinds of ours, and what Kubernetes makes of them.
KINDS: Final = {"pods": "Deployment", "hpa": "ScaledObject"}
VERBS: Final = {
    "kustomize", "apply", "create", "label", "rollout", "get", "describe", "logs", "top", "exec",
    "port-forward",
}  # fmt: skip


def test_there_is_something_to_check() -> None:
    assert len(KUBECTL) >= 8
    assert len(DRAGOMAN) >= 5


def secrets() -> set[str]:
    """Return the Secrets that components mount."""
    volumes = [v for n in BUILDS for _, t in pods(rendered(n)) for v in t["spec"]["volumes"]]
    return {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}


@pytest.mark.parametrize("command", KUBECTL)
def test_a_kubectl_command_names_what_is_there(command: str) -> None:
    words = [w for w in shlex.split(command)[1:] if w not in {"-n", "dragoman"}]
    assert words[0] in VERBS
    manifests = [m for overlay in OVERLAYS for m in rendered(overlay)]
    names = {f"{m['kind'].lower()}/{m['metadata']['name']}" for m in manifests}
    kinds = {m["kind"] for m in manifests}
    if words[:2] == ["create", "secret"]:
        assert words[3] in secrets()
    for word in words[1:]:
        if word.startswith("deploy/"):
            assert rendered(Path(word).name)
        elif "/" in word and "=" not in word:
            assert word in names
        elif words[0] == "get" and word == words[1]:
            for kind in word.split(","):
                assert KINDS.get(kind, kind).lower() in {k.lower() for k in kinds}
        elif word.startswith("app.kubernetes.io/"):
            label, _, value = word.partition("=")
            assert value in {m["metadata"].get("labels", {}).get(label) for m in manifests}


@pytest.mark.parametrize("command", DRAGOMAN)
def test_a_dragoman_command_works(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = FileRegistry(tmp_path / "registry")
    fakes.write_base(tmp_path / "home" / "bases" / "tiny")
    for seed in range(3):
        published = fakes.publish(registry, seed=seed)
        registry.set_alias(published.manifest.id, "stable", min(2, published.manifest.version))
    monkeypatch.setenv("DRAGOMAN_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DRAGOMAN_REGISTRY", str(registry.root))
    typed = command.replace("ID@N", "ui-en-fr@3").replace("ID", "ui-en-fr")
    monkeypatch.setattr(sys, "argv", shlex.split(typed))
    with pytest.raises(SystemExit) as caught:
        dragoman.main()
    assert not caught.value.code
