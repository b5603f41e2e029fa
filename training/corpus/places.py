"""Where the files of a source are: one file for both languages, or one for each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import Field

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.strict.section import Section
from training.corpus.languages import spellings

LANGUAGE: Final = "{language}"


class Sides(Section):
    """A file or folder for each language."""

    source: str = Field(min_length=1, examples=["docs/en"])
    target: str = Field(min_length=1, examples=["docs/fr"])


@dataclass(frozen=True, slots=True)
class Place:
    """The file with the translations, which has the originals, too, or is monolingual."""

    target: Path

    @property
    def files(self) -> list[Path]:
        """All files of it."""
        return [self.target]


@dataclass(frozen=True, slots=True)
class PairedPlace(Place):
    """A file of each language."""

    source: Path

    @property
    def files(self) -> list[Path]:
        """Both files, that of the originals first."""
        return [self.source, self.target]


def single_places(where: str, folder: Path, suffixes: Sequence[str]) -> list[Place]:
    """Return the file that `where` names, those of a folder with `suffixes`, or those of a glob.

    Relative paths start at `folder`. Raises DataInvalid if there is none.
    """
    path = folder / Path(where).expanduser()
    if path.is_file():
        return [Place(path)]
    if path.is_dir():
        found = [file for file in path.rglob("*") if file.suffix in suffixes and file.is_file()]
        what = f"no file with {' or '.join(suffixes)} in it"
    else:
        found = [file for file in _matching(path) if file.is_file()]
        what = "no such file or folder; paths are relative to the recipe's folder"
    if not found:
        raise DataInvalid(f"{path}: {what}")
    return [Place(file) for file in sorted(found)]


def double_places(
    where: str | Sides, folder: Path, pair: LanguagePair, suffixes: Sequence[str]
) -> list[PairedPlace]:
    """Return the files of both languages; of two folders, those of the same name in both.

    `{language}` in `where` stands for each language, as files spell it (pt-BR, pt_br, zh-CN).
    Raises DataInvalid if a side is missing or nothing belongs together.
    """
    if isinstance(where, Sides):
        source, target = (_existing(name, folder) for name in (where.source, where.target))
    elif LANGUAGE in where:
        source, target = (_spelt(where, folder, code) for code in (pair.source, pair.target))
    else:
        raise DataInvalid(
            f"{where}: expected a file for each language; write {LANGUAGE} where its code stands "
            f"in the path, or `{{source: …, target: …}}`"
        )
    if source.is_file() and target.is_file():
        return [PairedPlace(target, source)]
    if source.is_dir() and target.is_dir():
        return _in_both(source, target, suffixes)
    raise DataInvalid(
        f"{source} and {target}: expected two files or two folders, found one of each"
    )


def _matching(path: Path) -> Iterator[Path]:
    """Yield what a path with `*`, `?` or `**` in it stands for."""
    wild = (place for place, part in enumerate(path.parts) if set(part) & set("*?["))
    start = next(wild, None)
    if start is None:
        return
    try:
        yield from Path(*path.parts[:start]).glob("/".join(path.parts[start:]))
    except ValueError as error:  # "**" as a part of a name
        raise DataInvalid(f"{path}: no pattern of files ({error})") from error


def _existing(name: str, folder: Path) -> Path:
    path = folder / Path(name).expanduser()
    if not path.exists():
        raise DataInvalid(
            f"{path}: no such file or folder; paths are relative to the recipe's folder"
        )
    return path


def _spelt(where: str, folder: Path, language: str) -> Path:
    tried = [where.replace(LANGUAGE, code) for code in spellings(language)]
    for name in tried:
        path = folder / Path(name).expanduser()
        if path.exists():
            return path
    raise DataInvalid(
        f"{where}: no such file or folder for {language} (tried {', '.join(tried)}); paths are "
        "relative to the recipe's folder, and `{source: …, target: …}` names any"
    )


def _in_both(source: Path, target: Path, suffixes: Sequence[str]) -> list[PairedPlace]:
    ours, theirs = (_by_name(folder, suffixes) for folder in (source, target))
    found = [PairedPlace(theirs[name], ours[name]) for name in sorted(ours.keys() & theirs.keys())]
    if not found:
        raise DataInvalid(
            f"{source} and {target}: no file of the same name in both, of {len(ours)} and "
            f"{len(theirs)} with {' or '.join(suffixes)}; both are the tops of two alike trees"
        )
    return found


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    # Without the suffix: page.md and page.mdx are the same page in two states of a site.
    files = sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
