"""An adapter in the form of another runtime."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Final

from adapters.errors import PromptInvalid
from adapters.manifest import CONFIG_FILE, WEIGHTS_FILE, AdapterManifest
from adapters.verify import read_peft_config, verify_tensors
from training.artefacts.found import Found
from training.methods.config import SERVED_RANKS

TARGETS: Final = ("peft", "ollama", "gguf", "vllm")
_GGUF_FILE: Final = "adapter.gguf"


def export_to(target: str, found: Found, base: Path, out: Path, *, source: str | None) -> None:
    """Fill `out` with the plain LoRA `found` as `target`, one of TARGETS, reads it.

    It is checked to hold the matrices of a LoRA and nothing else, so nothing of the base is in it.
    `source` is what Ollama's FROM says, default the base's folder. Raises AdapterRejected.
    """
    rank = verify_tensors(found.folder / WEIGHTS_FILE, read_peft_config(found.folder), base=base)
    if target == "peft":
        _copy(found.folder, out)
    elif target == "vllm":
        _copy(found.folder, out / "adapter")
        _write_command(out / "serve.sh", found.name, base, rank)
    else:
        from training.artefacts.gguf_adapter import write_gguf

        write_gguf(found.folder, base, out / _GGUF_FILE)
    if target == "ollama":
        _write_modelfiles(_contract(found), base, out, source or str(base.resolve()))


def _copy(folder: Path, out: Path) -> None:
    out.mkdir(exist_ok=True)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        shutil.copyfile(folder / name, out / name)


def _write_command(path: Path, name: str, base: Path, rank: int) -> None:
    slot = next(served for served in SERVED_RANKS if served >= rank)
    path.write_text(
        "#!/bin/sh\n"
        "# Plain vLLM: prompts, stop tokens and checks are the client's to bring.\n"
        'here=$(cd "$(dirname "$0")" && pwd)\n'
        f"exec vllm serve {shlex.quote(str(base.resolve()))} --enable-lora "
        f'--max-lora-rank {slot} --lora-modules {shlex.quote(name)}="$here/adapter" "$@"\n',
        encoding="utf-8",
    )
    path.chmod(0o755)


def _contract(found: Found) -> AdapterManifest:
    if found.manifest is None:
        raise PromptInvalid(
            f"{found.folder}: has no manifest.json, so its prompt is not known; name the published "
            "adapter, or import the folder first (`dragoman adapters import`)"
        )
    return found.manifest


def _write_modelfiles(manifest: AdapterManifest, base: Path, out: Path, source: str) -> None:
    from training.artefacts.modelfile import modelfile

    for pair in manifest.pairs:
        name = "Modelfile" if len(manifest.pairs) == 1 else f"Modelfile.{pair}"
        text = modelfile(manifest, pair, base, source=source, adapter=f"./{_GGUF_FILE}")
        (out / name).write_text(text, encoding="utf-8")
