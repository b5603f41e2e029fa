"""What a run was made of, in its folder: the whole recipe, and each session's surroundings."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.base_model import BaseModelRef
from training.hardware import cores, hardware
from training.recipe import Recipe

RECIPE_FILE: Final = "recipe.yaml"
ENVIRONMENT_FILE: Final = "environment.json"
_PACKAGES: Final = (
    "dragoman", "accelerate", "bitsandbytes", "datasets", "numpy", "peft", "sacrebleu",
    "safetensors", "tokenizers", "torch", "transformers", "trl",
)  # fmt: skip
# What changes results or speed; never all of them, since some hold secrets.
_VARIABLES: Final = (
    "CUBLAS_WORKSPACE_CONFIG", "CUDA_VISIBLE_DEVICES", "LD_PRELOAD", "MKL_NUM_THREADS",
    "OMP_NUM_THREADS", "PYTORCH_CUDA_ALLOC_CONF", "TOKENIZERS_PARALLELISM", "WORLD_SIZE",
)  # fmt: skip


def write_records(recipe: Recipe, base: BaseModelRef, folder: Path) -> None:
    """Write recipe.yaml, with every default filled in, and a further session of environment.json.

    Paths in the recipe start in its own folder, which is named on the first line.
    """
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    heading = f"# paths start in {recipe.folder}\n"
    (folder / RECIPE_FILE).write_text(heading + text, encoding="utf-8")
    file = folder / ENVIRONMENT_FILE
    body = json.dumps([*_sessions(file), session_of(recipe, base)], indent=2, ensure_ascii=False)
    file.write_text(body + "\n", encoding="utf-8")


def _sessions(file: Path) -> list[dict[str, Any]]:
    try:
        return list(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return []


def session_of(recipe: Recipe, base: BaseModelRef) -> dict[str, Any]:
    """Return what is written down of a session: code, packages, machine and command."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "recipe": recipe.digest,
        "base": base.fingerprint,
        "seed": recipe.seed,
        "python": platform.python_version(),
        "packages": {name: version for name in _PACKAGES if (version := _version(name))},
        "system": platform.platform(),
        "hardware": hardware(),
        "accelerators": _accelerators(),
        "cores": cores(),
        "environment": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
        "commit": _commit(),
    }


def _accelerators() -> list[str]:
    """Return the GPUs as NVIDIA's driver lists them: no torch for what is only written down."""
    folders = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = [line for f in folders for line in f.read_text(encoding="utf-8").splitlines()]
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Model")]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Return the commit of this code, with `+` where files differ from it; None if installed."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        head, changed = (
            subprocess.run(
                ["git", "-C", str(here), *command],
                capture_output=True, text=True, check=True, timeout=10,
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+" if changed else "")
