"""Adapters in a repository of a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from adapters.errors import HubUnavailable
from adapters.manifest import CONFIG_FILE, MANIFEST_FILE, WEIGHTS_FILE
from adapters.verify import read_peft_config, verify_tensors

_FILES = (CONFIG_FILE, WEIGHTS_FILE, MANIFEST_FILE, "README.md")


class Hub(Protocol):
    """What is asked of huggingface_hub.HfApi."""

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> Any:
        """Make the repository unless it is there."""

    def upload_folder(
        self, *, repo_id: str, folder_path: Path, allow_patterns: list[str], commit_message: str
    ) -> Any:
        """Upload the files of a folder in one commit."""


def hugging_face() -> Hub:
    """Return the hub of $HF_ENDPOINT, with the token that `hf auth login` left."""
    from huggingface_hub import HfApi

    return HfApi()


def push(folder: Path, repository: str, hub: Hub, *, private: bool) -> str:
    """Upload the plain LoRA in `folder`, its contract and its card; return where it lies now.

    Raises HubUnavailable, AdapterRejected.
    """
    from huggingface_hub import errors

    # The error of whatever client the hub's library speaks through: httpx2 in 2.4, httpx before.
    of_the_client: type[Exception] = getattr(errors, "HTTPError", OSError)

    verify_tensors(folder / WEIGHTS_FILE, read_peft_config(folder), base=None)
    try:
        hub.create_repo(repository, private=private, exist_ok=True)
        commit = hub.upload_folder(
            repo_id=repository,
            folder_path=folder,
            allow_patterns=list(_FILES),
            commit_message="Adapter by Dragoman",
        )
    except (errors.HFValidationError, of_the_client, OSError) as error:
        raise HubUnavailable(
            f"{repository}: not pushed ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "look whether the hub can be reached from here, and log in with `hf auth login`"
        ) from error
    return str(commit)
