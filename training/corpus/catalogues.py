"""Where the catalogues of a source are: a file, a folder, or an installed pip package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from adapters.errors import DataInvalid
from training.corpus.languages import speaks


def find_catalogues(where: str, base: Path, *, language: str) -> list[Path]:
    """Return the catalogues of `where`, sorted; in folders of many locales, those of `language`.

    `where` is a path (relative to `base`) or the name of a pip package; nothing of the package is
    imported. A .po beside its .mo is read instead of it. Raises DataInvalid.
    """
    path = base / Path(where).expanduser()
    if path.is_file():
        return [path]
    files = _under(path) if path.is_dir() else _in_package(where)
    if files is None:
        raise DataInvalid(_not_found(where, path))
    catalogues = _prefer_po(f for f in files if f.suffix in {".po", ".mo"})
    locales = {locale for f in catalogues if (locale := _locale(f))}
    if len(locales) > 1:
        catalogues = [f for f in catalogues if speaks(_locale(f) or "", language)]
    if not catalogues:
        raise DataInvalid(
            f"{where}: no .po or .mo file of language {language!r} in it; found "
            f"{', '.join(sorted(locales)[:8]) or 'no catalogue at all'}"
        )
    return catalogues


def _not_found(where: str, path: Path) -> str:
    if os.sep in where or path.suffix in {".po", ".mo"}:
        return f"{path}: no such file or folder; paths are relative to the recipe's folder"
    return (
        f"{where!r} is neither a path nor an installed package; install it with "
        f"`pip install {where}`, or write the path of a .po or .mo file"
    )


def _under(folder: Path) -> list[Path]:
    return [f for f in folder.rglob("*") if f.is_file()]


def _in_package(name: str) -> list[Path] | None:
    try:
        distribution = importlib.metadata.distribution(name)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        distribution = None
    files = [Path(str(f.locate())) for f in (distribution and distribution.files) or ()]
    if any(f.suffix in {".po", ".mo"} for f in files):
        return files
    return _in_import_package(name) if distribution is None else files


def _in_import_package(name: str) -> list[Path] | None:
    # find_spec of a top-level name looks for files only; of a dotted name it would import.
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None:
        return None
    return [f for place in spec.submodule_search_locations or () for f in _under(Path(place))]


def _prefer_po(files: Iterable[Path]) -> list[Path]:
    best: dict[Path, Path] = {}
    for file in sorted(files):  # .mo sorts before .po, which overwrites it
        best[file.with_suffix("")] = file
    return sorted(best.values())


def _locale(file: Path) -> str | None:
    return file.parent.parent.name if file.parent.name == "LC_MESSAGES" else None
