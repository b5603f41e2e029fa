"""Tokens per second of several servers, round by round in turn: what drifts, drifts for all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from adapters.console import note
from loadtests.contender import BATCH, Live
from loadtests.distribution import Rounds, paired_ratio
from loadtests.throughput import Load, tokens_per_second

OURS: Final = "dragoman"
WITHOUT_LORA: Final = "vllm_without_lora"
# One stream is short, so it asks more than once in a round.
_LOADS: Final = (Load(streams=1, rounds=2), Load(streams=BATCH))
# llama.cpp computes each adapter's rows apart: eight mixed take minutes, and say what two said.
_SLOW: Final = {("llama_cpp", "mixed8")}

Key = tuple[str, str, str]


@dataclass
class Speeds:
    """Tokens per second by server, column and streams: one figure for each round."""

    measured: dict[Key, list[float]] = field(default_factory=dict)

    def table(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the medians: `{"dragoman": {"base": {"1": …, "32": …}, …}, …}`."""
        figures: dict[str, dict[str, dict[str, float]]] = {}
        for (server, column, streams), values in self.measured.items():
            row = figures.setdefault(server, {}).setdefault(column, {})
            row[streams] = round(Rounds(tuple(values)).median, 1)
        return figures

    def spreads(self) -> dict[str, float]:
        """Return half of highest - lowest as a share of the median, of each figure."""
        return {
            "/".join(key): round(Rounds(tuple(values)).spread, 3)
            for key, values in self.measured.items()
        }

    def ratios(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return ours over each ground, round by round in pairs, by column and streams.

        Grounds: our own server with no adapter in use, vLLM without LoRA at its best flags, and
        the same column of every other server.
        """
        ratios: dict[str, dict[str, dict[str, float]]] = {}
        for (server, column, streams), values in self.measured.items():
            if server != OURS:
                continue
            found = {
                name: round(paired_ratio(values, self.measured[ground]), 2)
                for name, ground in self._grounds(column, streams)
            }
            ratios.setdefault(column, {})[streams] = found
        return ratios

    def _grounds(self, column: str, streams: str) -> Iterator[tuple[str, Key]]:
        if column != "base":
            yield "of_base", (OURS, "base", streams)
        second = (WITHOUT_LORA, "base", streams)
        if second in self.measured:
            yield "of_base_without_lora", second
        for server in dict.fromkeys(key[0] for key in self.measured):
            if server not in (OURS, WITHOUT_LORA) and (server, column, streams) in self.measured:
                yield f"of_{server}", (server, column, streams)


def measure_speeds(servers: Sequence[Live], rounds: int) -> Speeds:
    """Return every column of every server. Raises httpx.HTTPError, ValueError."""
    speeds = Speeds()
    for number in range(rounds):
        for live in servers:
            for column, load in _loads(live):
                _one(live, column, load, speeds)
        note(f"throughput: round {number + 1} of {rounds} is done")
    return speeds


def _loads(live: Live) -> Iterator[tuple[str, Load]]:
    for column in live.contender.columns:
        for load in _LOADS:
            if (live.name, column) not in _SLOW:
                yield column, load


def _one(live: Live, column: str, load: Load, speeds: Speeds) -> None:
    models = live.contender.columns[column]
    speed = tokens_per_second(live.url, models, load, fields=live.contender.fields)
    speeds.measured.setdefault((live.name, column, str(load.streams)), []).append(speed)
    note(f"{live.name}, {column}, {load.streams} streams: {speed:.1f} tok/s")
