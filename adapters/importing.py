"""Any existing PEFT LoRA folder as a version of the registry."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from adapters.base_model import BaseModelRef, read_card
from adapters.errors import BaseModelNotFound, FileMissing, ManifestInvalid
from adapters.ids import AdapterId, LanguagePair
from adapters.locations import bases_root
from adapters.manifest import (
    CONFIG_FILE,
    WEIGHTS_FILE,
    AdapterManifest,
    Weights,
    describe,
    hash_files,
)
from adapters.prompt import PromptFormat
from adapters.verify import read_peft_config, verify_tensors

_HUB_ID_RE: Final = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


@dataclass(frozen=True)
class ImportedContract:
    """What a PEFT folder does not say about itself."""

    id: AdapterId
    pairs: tuple[LanguagePair, ...]
    prompt: PromptFormat
    licence: str


def find_adapter(path_or_hub_id: str) -> Path:
    """Return the local folder of a PEFT adapter, downloading a hub id. Raises FileMissing."""
    folder = Path(path_or_hub_id).expanduser()
    if folder.is_dir():
        return folder
    if _HUB_ID_RE.fullmatch(path_or_hub_id) is None:
        raise FileMissing(f"{folder}: no such folder; give the path of a PEFT adapter, or a hub id")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise FileMissing(f"{folder}: no such folder (hub ids need huggingface_hub)") from error
    try:
        return Path(snapshot_download(path_or_hub_id, allow_patterns=[CONFIG_FILE, WEIGHTS_FILE]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileMissing(
            f"{path_or_hub_id}: no such folder, and no adapter could be had from the hub "
            f"({type(error).__name__}); give the path of a PEFT adapter folder"
        ) from error


def detect_base(folder: Path) -> Path:
    """Return the base model's folder that adapter_config.json names. Raises BaseModelNotFound."""
    named = str(read_peft_config(folder).get("base_model_name_or_path") or "")
    candidates = [Path(named), bases_root() / named, bases_root() / Path(named).name]
    for candidate in [*candidates, *_fetched_from(named)] if named else []:
        if (candidate / "config.json").is_file():
            return candidate
    raise BaseModelNotFound(
        f"{folder}: the adapter names its base {named!r}, which is not on this machine; "
        "say which folder it is with --base (see `dragoman base list`)"
    )


def draft_of(folder: Path, base: Path, contract: ImportedContract) -> AdapterManifest:
    """Return the manifest, still without version, of the PEFT LoRA in `folder`.

    Raises AdapterRejected if it is no plain LoRA, or does not fit `base`.
    """
    config = read_peft_config(folder)
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        pickled = ", ".join(sorted(p.name for p in folder.glob("*.bin"))) or "no weights"
        raise FileMissing(
            f"{weights}: no such file (found {pickled}); pickle weights are never loaded, "
            "save the adapter with save_pretrained(safe_serialization=True)"
        )
    rank = verify_tensors(weights, config, base=base)
    targets = config["target_modules"]
    try:
        return AdapterManifest(
            id=contract.id,
            version=1,
            created=datetime.now(UTC),
            domain=contract.id.domain,
            pairs=contract.pairs,
            base=BaseModelRef.read(base),
            prompt=contract.prompt,
            weights=Weights(
                rank=rank,
                alpha=float(config["lora_alpha"]),
                target_modules=tuple(sorted([targets] if isinstance(targets, str) else targets)),
                files=hash_files(folder),
            ),
            licence=contract.licence,
            limitations="Imported: its training data and quality are not known to this registry.",
        )
    except ValidationError as error:
        raise ManifestInvalid(f"{folder}: {describe(error)}") from error


def _fetched_from(source: str) -> list[Path]:
    """Return the fetched bases whose note names `source` as their name or origin."""
    fetched = sorted(bases_root().glob("*/")) if bases_root().is_dir() else []
    cards = [(folder, read_card(folder)) for folder in fetched]
    return [f for f, c in cards if c.get("name") == source or c.get("source") == f"hub:{source}"]
