"""Weights that the hub has as pickle only (Marian's, mT5's), written anew as safetensors."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from adapters.base_model import read_config
from adapters.errors import BaseModelNotFound


def unpickle(folder: Path) -> None:
    """Replace pytorch_model*.bin in `folder` by safetensors; the config stays as it is.

    transformers reads them with torch's `weights_only`, which runs no code of theirs. Raises
    BaseModelNotFound.
    """
    import transformers
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    names = read_config(folder).get("architectures") or [""]
    kind: Any = getattr(transformers, str(names[0]), None)
    if kind is None:
        raise BaseModelNotFound(
            f"{folder}: pickle weights of an architecture that transformers does not know "
            f"({names[0]!r}); convert them to safetensors first"
        )
    try:
        model = kind.from_pretrained(
            folder, dtype="auto", use_safetensors=False, local_files_only=True
        )
    except Exception as error:  # torch and transformers have errors of their own
        raise BaseModelNotFound(
            f"{folder}: its pickle weights cannot be read ({type(error).__name__}: {error}); "
            "convert them to safetensors first"
        ) from error
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        model.save_pretrained(scratch)  # which knows the tied ones
        for file in [*Path(scratch).glob("*.safetensors"), *Path(scratch).glob("*.index.json")]:
            file.rename(folder / file.name)
    for file in [*folder.glob("*.bin"), *folder.glob("*.bin.index.json")]:
        file.unlink()
