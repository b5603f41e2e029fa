"""Task: what an adapter makes of a text."""

from __future__ import annotations

from typing import Literal

Task = Literal["translation", "summarization"]
