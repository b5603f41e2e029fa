"""Many adapters of random weights in a registry, made in fractions of a second each."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from adapters.base_prompt import prompt_for_base
from adapters.ids import AdapterId, AdapterRef, LanguagePair
from adapters.importing import ImportedContract, draft_of
from adapters.locations import bases_root
from adapters.manifest import WEIGHTS_FILE
from adapters.registry import FileRegistry, Published
from loadtests.random_lora import write_random_lora

RANK: Final = 16
_PAIR: Final = LanguagePair("en", "fr")


def random_adapters(
    registry: Path, base: str, count: int, *, scale: float | None = None
) -> dict[str, Path]:
    """Return the folders of `count` random adapters by id, publishing those that are not there.

    Rank 16 on all linear layers, 15 MB each: `random000-en-fr` and so on. Made in this process,
    since a command for each would take seconds.
    """
    store = FileRegistry(registry)
    folders = {}
    for number in range(count):
        name = f"random{number:03}-en-fr"
        if (registry / name / "aliases.json").is_file():
            published = store.resolve(AdapterRef.parse(name))
        else:
            published = publish_random(store, base, name, seed=number, scale=scale)
        folders[name] = published.folder
    return folders


def publish_random(
    store: FileRegistry, base: str, name: str, *, seed: int, scale: float | None = None
) -> Published:
    """Publish random weights as the next version of `name`."""
    base_folder = bases_root() / base
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        write_random_lora(base_folder, folder, rank=RANK, seed=seed, scale=scale)
        contract = ImportedContract(
            AdapterId.parse(name), (_PAIR,), prompt_for_base(base_folder), licence="none"
        )
        return store.publish(draft_of(folder, base_folder, contract), folder)


def warm_page_cache(folders: dict[str, Path]) -> None:
    """Read every file once, so that a load is measured and not the disk."""
    for folder in folders.values():
        (folder / WEIGHTS_FILE).read_bytes()
