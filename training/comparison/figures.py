"""What a trained system is and took, read from a run's folder or an adapter's manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.manifest import AdapterManifest
from training.build.report import REPORT_FILE
from training.comparison.answered import TRAINING_KEYS, Trained
from training.comparison.folder import read_json
from training.run_folder import RunFolder
from training.run_records import ENVIRONMENT_FILE, RECIPE_FILE
from training.translate.opening import weights_of

_MB: Final = 1_000_000
_WEIGHTS: Final = {".safetensors", ".bin"}


def of_run(folder: Path, base_parameters: int | None) -> Trained:
    """Return what the run in `folder` was and took; of an exported model, only its size."""
    fit = RunFolder(folder).result("fit") or {}
    recipe = _recipe_in(folder)
    data = read_json(folder / "data" / REPORT_FILE) or {}
    trainable = fit.get("trainable_parameters")
    losses, dev_losses = fit.get("losses", []), fit.get("dev_losses", [])
    figures = {
        **_of_method(recipe.get("method", {})),
        "targets": _targets(recipe.get("method", {}), fit),
        "trainable_parameters": trainable,
        "base_parameters": base_parameters,
        "trainable_percent": _percent(trainable, base_parameters),
        "adapter_mb": size_mb(weights_of(folder)),
        "train_s": _rounded(fit.get("seconds"), 1),
        "tok_s": _rounded(fit.get("tok_s"), 1),
        "peak_rss_gb": _rounded(fit.get("peak_rss_gb"), 2),
        "steps": fit.get("steps"),
        "tokens": fit.get("tokens"),
        "train_pairs": data.get("split", {}).get("train"),
        "train_loss": _last(losses),
        "dev_loss": _last(dev_losses),
    }
    return Trained(_whole(figures), losses, dev_losses)


def of_manifest(manifest: AdapterManifest, folder: Path) -> Trained:
    """Return what an adapter's contract says of its training."""
    made = manifest.training
    figures = {
        "method": made.method if made else manifest.weights.kind,
        "rank": manifest.weights.rank,
        "alpha": manifest.weights.alpha,
        "targets": list(manifest.weights.target_modules),
        "adapter_mb": size_mb(folder),
        "train_s": _rounded(made.seconds, 1) if made else None,
    }
    return Trained(_whole(figures))


def sessions_of(folder: Path) -> int:
    """Return how many sessions the run in `folder` had: times are of the last one."""
    body = folder / ENVIRONMENT_FILE
    try:
        return len(yaml.safe_load(body.read_text(encoding="utf-8")))
    except (OSError, TypeError, yaml.YAMLError):
        return 0


def size_mb(folder: Path) -> float:
    """Return how large the weights in `folder` are on disk, in millions of bytes."""
    files = [file for file in folder.glob("*") if file.suffix in _WEIGHTS]
    return round(sum(file.stat().st_size for file in files) / _MB, 2)


def told(figures: Mapping[str, Any]) -> str:
    """Return the method in a few words: `lora, rank 4, alpha 8, on q_proj, v_proj`."""
    parts = [str(figures["method"])]
    parts += [f"{key} {figures[key]:g}" for key in ("rank", "alpha") if figures[key] is not None]
    if figures["targets"]:
        parts.append(f"on {', '.join(figures['targets'])}")
    return ", ".join(parts)


def _recipe_in(folder: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load((folder / RECIPE_FILE).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_method(method: Mapping[str, Any]) -> dict[str, Any]:
    return {"method": method.get("kind"), "rank": method.get("rank"), "alpha": method.get("alpha")}


def _targets(method: Mapping[str, Any], fit: Mapping[str, Any]) -> list[str] | None:
    targets = method.get("targets")
    if targets == "all-linear":
        return ["all linear"]
    named = targets or fit.get("target_modules")
    return list(named) if named else None


def _percent(trainable: int | None, of: int | None) -> float | None:
    return None if trainable is None or not of else round(100 * trainable / of, 4)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _last(series: Sequence[Sequence[float]]) -> float | None:
    return round(series[-1][1], 4) if series else None


def _whole(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {key: figures.get(key) for key in TRAINING_KEYS}
