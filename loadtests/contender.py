"""One server of the bench: what it is called, how it starts, what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from loadtests.recency import Tiers
from loadtests.servers import Launch, Running
from loadtests.throughput import Fields

# The flags that every server of the bench gets: eight slots serve all columns, and a batch of 32
# is what the reference task fills.
TIERS: Final = Tiers(slots=8, memory=32)
BATCH: Final = 32

# A column of the table: the models that its streams ask in turn.
Columns = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Contender:
    """A server to measure."""

    name: str
    launch: Launch
    columns: Columns
    fields: Fields = field(default_factory=dict)


@dataclass(frozen=True)
class Live:
    """A contender that takes requests, with the folders of the adapters it serves."""

    contender: Contender
    server: Running
    folders: Mapping[str, Path]

    @property
    def url(self) -> str:
        """Where it answers."""
        return self.server.url

    @property
    def name(self) -> str:
        """What it is called."""
        return self.contender.name
