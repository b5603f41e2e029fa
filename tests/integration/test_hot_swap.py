"""Adapters that change places in one running engine."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openai
import pytest
from safetensors.numpy import load_file, save_file

from adapters.ids import AdapterId, AdapterRef
from tests.integration.harness import USER, WORDS, Publish, RunningServer, dragoman

pytestmark = pytest.mark.engine


def test_three_adapters_share_two_slots(server: RunningServer) -> None:
    asked = [*WORDS] * 8
    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(server.ask, asked))
    assert answers == [WORDS[name] for name in asked]
    # More adapters than slots: they can only have answered by taking turns.
    deadline = time.monotonic() + 10
    while server.metric("dragoman_adapter_evictions_total", tier="engine") == 0:
        assert time.monotonic() < deadline, "no adapter ever left a slot"
        server.ask(asked[int(time.monotonic()) % 3])
    assert server.metric("dragoman_adapter_resident", tier="engine") <= 2


def test_promoted_version_answers_without_a_restart(
    server: RunningServer, publish_constants: Publish
) -> None:
    assert server.ask("alpha-en-fr") == "alpha"
    publish_constants("alpha-en-fr=delta")
    time.sleep(1.5)
    assert server.ask("alpha-en-fr") == "alpha", "publishing does not move stable"
    assert server.ask("alpha-en-fr@2") == "delta"
    registry = server.registry.root
    dragoman("adapters", "promote", "alpha-en-fr@2", "--registry", registry)
    time.sleep(1.5)
    assert server.ask("alpha-en-fr") == "delta"
    assert server.ask("alpha-en-fr@1") == "alpha", "an exact version answers as before"
    dragoman("adapters", "rollback", "alpha-en-fr", "--registry", registry)
    time.sleep(1.5)
    assert server.ask("alpha-en-fr") == "alpha"
    assert server.process.poll() is None


def test_plain_peft_folder_is_imported_and_served(server: RunningServer, tmp_path: Path) -> None:
    original = server.registry.resolve(AdapterRef.parse("beta-en-fr")).folder
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copy(original / name, tmp_path / name)
    dragoman(
        "adapters", "import", tmp_path, "--id", "plain-en-fr", "--licence", "Gemma",
        "--user", USER, "--registry", server.registry.root,
    )  # fmt: skip
    assert server.ask("plain-en-fr", "Where am I?") == "beta"


def _publish_broken(server: RunningServer, name: str, wound: str) -> None:
    """Put a version into the registry as only a fault or an attacker could: past `publish`."""
    adapter_id = AdapterId.parse("beta-en-fr")
    source = server.registry.versions(adapter_id)[0]
    root = server.registry.root / name
    folder = root / "versions" / source.folder.name
    shutil.copytree(source.folder, folder)
    body = json.loads((folder / "manifest.json").read_text())
    weights = folder / "adapter_model.safetensors"
    if wound == "base":
        body["base"]["fingerprint"] = "sha256:" + "0" * 64
    elif wound == "corrupt":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif wound == "missing":
        weights.unlink()
    elif wound == "pickle":
        (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    elif wound == "nan":
        tensors = {k: v.astype(np.float32) for k, v in load_file(_as_float32(weights)).items()}
        next(iter(tensors.values()))[0, 0] = np.nan
        save_file(tensors, weights)
    _sign(folder, body, name, rehash=wound == "nan")
    (root / "aliases.json").write_text(json.dumps({"stable": [1]}))


def _as_float32(weights: Path) -> Path:
    """Return a float32 copy: numpy has no bfloat16, in which adapters may be saved."""
    out = weights.with_suffix(".f32")
    script = (
        "import sys,torch;from safetensors.torch import load_file,save_file;"
        "save_file({k:v.to(torch.float32) for k,v in load_file(sys.argv[1]).items()},sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", script, str(weights), str(out)], check=True)
    return out


def _sign(folder: Path, body: dict[str, object], name: str, *, rehash: bool) -> None:
    from adapters.manifest import AdapterManifest, hash_files

    body["id"], body["domain"] = name, name.partition("-")[0]
    manifest = AdapterManifest.model_validate_json(json.dumps(body))
    if rehash:
        (folder / "adapter_model.f32").unlink()
        weights = manifest.weights.model_copy(update={"files": hash_files(folder)})
        manifest = manifest.model_copy(update={"weights": weights})
    manifest = manifest.model_copy(update={"digest": manifest.compute_digest()})
    (folder / "manifest.json").write_text(manifest.to_json())
    folder.rename(folder.with_name(f"{manifest.version}-{manifest.digest12}"))


@pytest.mark.parametrize(
    ("wound", "code"),
    [
        ("base", "base_model_mismatch"),
        ("corrupt", "file_corrupt"),
        ("missing", "file_missing"),
        ("pickle", "unsafe_file"),
        ("nan", "non_finite_weights"),
    ],
)
def test_broken_adapter_is_refused_and_others_answer(
    server: RunningServer, wound: str, code: str
) -> None:
    name = f"{wound}-en-fr"
    _publish_broken(server, name, wound)
    try:
        with pytest.raises(openai.APIStatusError) as caught:
            server.ask(name)
        assert caught.value.code == code
        assert caught.value.status_code == 409
        assert server.ask("alpha-en-fr") == "alpha"
        assert server.process.poll() is None
    finally:
        shutil.rmtree(server.registry.root / name)
