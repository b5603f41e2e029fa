"""Data sets of a hub by name, such as OPUS-100, where a hub can be reached."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import Field

from adapters.errors import DataInvalid
from adapters.ids import LanguagePair
from adapters.strict.section import Section
from training.corpus.jsonl import document_of, row_of
from training.corpus.reading import Reading
from training.corpus.segment import Segment


class HubSet(Section):
    """A data set as `datasets.load_dataset` names it."""

    name: str = Field(min_length=1, examples=["Helsinki-NLP/opus-100"])
    config: str | None = Field(
        default=None, description="subset; if not said, the pair as the set spells it"
    )
    split: str = Field(default="train", examples=["train"])
    revision: str | None = Field(default=None, description="commit or tag")
    rows: int | None = Field(default=None, ge=1, description="only the first so many")


def read_hub(chosen: HubSet, how: Reading) -> Iterator[Segment]:
    """Yield the pairs of a data set as it streams. Raises DataInvalid if it cannot be had.

    A set of OPUS has one subset for both directions (`en-fr`, never `fr-en`).
    """
    rows = islice(_rows(chosen, how.pair), chosen.rows)
    for number, row in enumerate(rows, start=1):
        where = f"{chosen.name}:{number}"
        try:
            source, target, rejected = row_of(row, how, where)
        except DataInvalid as error:
            how.found_bad(error)
            continue
        document = document_of(row) or where
        yield Segment(source, target, document, chosen.name, number, rejected=rejected)


def _rows(chosen: HubSet, pair: LanguagePair) -> Iterator[dict[str, Any]]:
    from datasets.exceptions import DatasetsError

    try:
        # The connection may break at any row, too.
        yield from _open(chosen, pair)
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:
        raise DataInvalid(
            f"{chosen.name}: cannot be loaded ({type(error).__name__}: {error!s:.200}); a data set "
            "by name needs a hub that can be reached (HF_ENDPOINT), or a copy: `jsonl: FILE`"
        ) from error


def _open(chosen: HubSet, pair: LanguagePair) -> Any:
    from datasets import get_dataset_config_names, load_dataset

    config = chosen.config
    if config is None:
        known = get_dataset_config_names(chosen.name, revision=chosen.revision)
        config = next((c for c in (str(pair), str(pair.reverse)) if c in known), None)
    return load_dataset(
        chosen.name, config, split=chosen.split, revision=chosen.revision, streaming=True
    )
