"""Preferences: a source with the translation that is preferred and one that is not.

{"source", "chosen", "rejected"}, TRL's {"prompt", "chosen", "rejected"} with the bare source as
the prompt, or a post-edit: {"source", "mt", "post_edit"}.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from adapters.errors import DataInvalid
from training.corpus.segment import Segment

_SOURCE: Final = ("source", "prompt")
_CHOSEN: Final = ("chosen", "post_edit", "target")  # target: as `data build` writes them
_REJECTED: Final = ("rejected", "mt")
_OWN_KEYS: Final = frozenset({"chosen", "post_edit", *_REJECTED})
_EXPECTED: Final = (
    'expected the texts "source", "chosen" and "rejected", or "source", "mt" and "post_edit"'
)


def is_preference(body: dict[str, Any]) -> bool:
    """Return whether a row of JSON Lines has a key that only preferences have."""
    return not _OWN_KEYS.isdisjoint(body)


def read_preference(body: dict[str, Any], where: str) -> tuple[str, str, str | None]:
    """Return source, chosen and rejected text; rejected is None where the row has none.

    Raises DataInvalid with `where` if there is no source, or nothing that is to be learnt.
    """
    source, chosen, rejected = (_first(body, keys) for keys in (_SOURCE, _CHOSEN, _REJECTED))
    found = ", ".join(f'"{key}"' for key in body)
    if source is None:
        raise DataInvalid(f"{where}: {_EXPECTED}; found {found}: name the source text")
    if chosen is None:
        raise DataInvalid(
            f"{where}: {_EXPECTED}; found {found}: only what is rejected. Add the translation that "
            "should have been written, or remove the line"
        )
    for text in (source, chosen, rejected):
        if not isinstance(text, str | None):
            raise DataInvalid(
                f"{where}: {_EXPECTED}; found a {type(text).__name__}: write the bare texts, "
                "without chat turns, since the recipe's `prompt` makes those"
            )
    return source, chosen, rejected


def require_rejected(segments: Iterable[Segment], *, kind: str) -> None:
    """Raise DataInvalid if one of `segments` has no rejected translation, which `kind` needs."""
    lacking = [segment for segment in segments if segment.rejected is None]
    if lacking:
        raise DataInvalid(
            f"{lacking[0].origin}: objective.kind: {kind} compares two translations, and "
            f"{len(lacking)} segments have one, this the first; {_EXPECTED}. Train on these with "
            "objective.kind=sft, or have the other side made: objective.candidates.per_segment=4, "
            "or `dragoman data prefer`"
        )


def _first(body: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return next((body[key] for key in keys if body.get(key) is not None), None)
