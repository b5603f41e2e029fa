"""What a recipe says about changes to its training text. All of it is off by default.

The kinds and shares to begin with are those of OpusTrainer and of Firefox's translation models
(arXiv 2311.14838): upper 0.07, title 0.05, typos 0.05, end_punctuation 0.2, tags 0.005. Word
dropout of 0.1 and a shuffle within 3 words are those of Lample et al. 2018 (arXiv 1711.00043).
"""

from __future__ import annotations

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from adapters.strict.section import Section

Share = Annotated[float, Field(ge=0, le=1)]
_Some = Annotated[float, Field(gt=0, le=1)]

# In the order in which they are tried; each is a key with the share of segments that it changes.
SHARES: Final = (
    "tags", "word_dropout", "shuffle", "insertion", "typos", "punctuation",
    "upper", "title", "lower", "end_punctuation",
)  # fmt: skip


class TermsRule(Section):
    """Tell terms before the source, as a glossary does, where both sides have them."""

    share: Share = Field(default=0.1, description="of the segments in which terms are found")
    file: str | None = Field(
        default=None,
        min_length=1,
        description="tab-separated terms of the first pair: source, target; path from the recipe",
        examples=["terms.tsv"],
    )
    identical: bool = Field(
        default=True, description="words that are the same on both sides are terms, too"
    )
    most: int = Field(default=3, ge=1, le=50, description="terms told of one segment")

    @model_validator(mode="after")
    def _has_terms(self) -> Self:
        if self.file is None and not self.identical:
            raise ValueError("there are no terms; give a `file`, or leave out `identical: false`")
        return self


class ExamplesRule(Section):
    """Show the most similar training pairs in the prompt, as a translation memory does."""

    share: Share = Field(default=0.1, description="of segments, where a similar one is found")
    most: int = Field(default=3, ge=1, le=32, description="between 1 and so many are shown")
    min_overlap: _Some = Field(
        default=0.5, description="words that both sources have, of all words of the two"
    )


class AugmentRules(Section):
    """Changes to shares (0 to 1) of the training segments; each kind draws its own segments."""

    tags: Share = Field(
        default=0.0,
        description="a tag around what both sides have once, or a placeholder at an end of both",
    )
    word_dropout: Share = Field(default=0.0, description="leave out words of the source")
    dropped_words: _Some = Field(default=0.1, description="share of words that are left out")
    shuffle: Share = Field(default=0.0, description="move words of the source")
    shuffle_distance: int = Field(default=3, ge=1, le=100, description="places at most")
    insertion: Share = Field(
        default=0.0, description="put words of other sources, or punctuation, into the source"
    )
    inserted_words: _Some = Field(default=0.1, description="so many for each word there is")
    typos: Share = Field(
        default=0.0, description="swap, leave out or double a letter in words of the source"
    )
    misspelt_words: _Some = Field(default=0.1, description="share of words with a typo")
    punctuation: Share = Field(
        default=0.0, description="leave out the punctuation of the source, never of the target"
    )
    upper: Share = Field(default=0.0, description="UPPER CASE, on both sides")
    title: Share = Field(default=0.0, description="Title Case, on both sides")
    lower: Share = Field(default=0.0, description="lower case, of the source")
    end_punctuation: Share = Field(
        default=0.0, description="leave out the mark that ends both sides, if of the same kind"
    )
    terms: TermsRule | None = Field(default=None, description="a section, {} for its defaults")
    examples: ExamplesRule | None = Field(
        default=None, description="a section, {} for its defaults"
    )

    @property
    def is_on(self) -> bool:
        """Whether any segment is changed."""
        return any(self.share_of(name) for name in (*SHARES, "terms", "examples"))

    def share_of(self, kind: str) -> float:
        """Return the share of segments that changes of this kind are for."""
        value: float | TermsRule | ExamplesRule | None = getattr(self, kind)
        if isinstance(value, TermsRule | ExamplesRule):
            return value.share
        return value or 0.0
