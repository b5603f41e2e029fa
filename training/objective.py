"""Objective: what a fit learns from its text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.section import Section, kind_or


class Sft(Section):
    """Learn to answer: the target after its prompt, and nothing of the prompt."""

    kind: Literal["sft"] = "sft"


class Monolingual(Section):
    """Learn a language or a field from plain text: every token after those before it."""

    kind: Literal["monolingual"] = "monolingual"


Objective = Annotated[Sft | Monolingual, Field(discriminator="kind"), kind_or("sft")]
