"""Split rule: how a recipe's text is divided into train, dev and test."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from adapters.strict.section import Section

# A share of the units, or a number of segments.
_Share = Annotated[float, Field(gt=0, lt=0.5)]


class SplitRule(Section):
    """How the segments are divided. The same segments and seed give the same split, everywhere.

    The sizes are of each language pair, and of parts that no source gives by its `part`. Those
    below 1 are shares: what was held out by a share stays held out however the text grows.
    """

    by: Literal["auto", "document", "hash"] = Field(
        default="auto", description="documents, or hashes of the source where documents are few"
    )
    dev: Annotated[int, Field(ge=0)] | _Share = Field(
        default=60, description="segments that choose nothing but show the loss, or their share"
    )
    test: Annotated[int, Field(ge=1)] | _Share = Field(
        default=120, description="segments that no training sees, or their share"
    )
    near: float | None = Field(
        default=0.8,
        ge=0.5,
        le=1,
        description="share of word triples (Jaccard; all numbers are equal) from which training "
        "text is too near to dev or test text; null drops only what is the same but for case",
    )
    seed: int = Field(default=0, ge=0)
