"""ModelNote: what must be known to run what a folder holds. Imports no torch."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError

from adapters.errors import FileCorrupt, FileMissing
from adapters.manifest import Decoding, Pair, describe
from adapters.prompt import PromptFormat
from adapters.strict.section import Section
from training.seq2seq.family import Family

NOTE_FILE: Final = "dragoman-model.json"


class Engine(enum.StrEnum):
    """What runs a folder."""

    TRANSFORMERS = "transformers"
    CTRANSLATE2 = "ctranslate2"


class Precision(enum.StrEnum):
    """Of the weights that CTranslate2 keeps."""

    INT8 = "int8"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class ModelNote(Section):
    """Beside a run's adapter, and in the folder of an exported model.

    `base` is the folder of the base in a run, None where the model is whole. Sequence-to-sequence
    models have a family and a template, causal ones a prompt.
    """

    id: str
    pair: Pair
    base: str | None
    engine: Engine = Engine.TRANSFORMERS
    family: Family | None = None
    template: str = "{text}"
    prompt: PromptFormat | None = None
    decoding: Decoding = Decoding()

    def write(self, folder: Path) -> None:
        """Write the note into `folder`."""
        text = self.model_dump_json(indent=2) + "\n"
        (folder / NOTE_FILE).write_text(text, encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return the note in `folder`. Raises FileMissing, FileCorrupt."""
        path = folder / NOTE_FILE
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError) as error:
            found = "a folder without it" if folder.is_dir() else "no such folder"
            raise FileMissing(
                f"{folder}: expected a folder with {NOTE_FILE}, as `dragoman train` and "
                f"`dragoman export` write them, found {found}; check the path"
            ) from error
        except (OSError, UnicodeDecodeError) as error:
            raise FileCorrupt(f"{path}: cannot be read ({error}); train or export again") from error
        except ValidationError as error:
            raise FileCorrupt(f"{path}: {describe(error)}; train or export again") from error
