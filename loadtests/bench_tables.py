"""The figures of .bench/serving.json as tables for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from adapters.console import print_table
from loadtests.bench_serving import SERVERS
from loadtests.bench_throughput import OURS

Row = tuple[str, ...]
Figures = Mapping[str, Any]


def print_serving(figures: Figures) -> None:
    """Print a table for each part that was measured."""
    if figures.get("ratios"):
        servers = [name for name in SERVERS if figures.get(name)]
        columns = ("adapters", "streams", *(f"{name} tok/s" for name in servers), "dragoman over")
        print_table(columns, [*speed_rows(figures)], title="Throughput, 32 tokens a stream")
    for part, (title, columns, rows_of) in _PARTS.items():
        if figures.get(part):
            measured = {name: found for name, found in figures[part].items() if found}
            rows = [(name, *row) for name, found in measured.items() for row in rows_of(found)]
            print_table(("server", *columns), rows, title=title)
    if figures.get("added_latency_ms"):
        print_added_latency(figures["added_latency_ms"])


def speed_rows(figures: Figures) -> Iterator[Row]:
    """Yield column, streams, tok/s of each server, and ours over each ground."""
    servers = [name for name in SERVERS if figures.get(name)]
    for column, by_streams in figures["ratios"].items():
        for streams in by_streams:
            speeds = [figures[s].get(column, {}).get(streams) for s in servers]
            cells = ["" if speed is None else f"{speed:.1f}" for speed in speeds]
            over = by_streams[streams].items()
            ratios = ", ".join(f"{name.removeprefix('of_')} {value:.2f}" for name, value in over)
            spread = figures["spread"][f"{OURS}/{column}/{streams}"]
            yield column, streams, *cells, ratios + (f" (±{spread:.0%})" if spread else "")


def _stall_rows(found: Figures) -> Iterator[Row]:
    for phase, gaps in found.items():
        if phase in ("p99_ratio", "load_ms"):
            continue
        ratios = [
            f"{found['p99_ratio'][key]:.2f}" if (key := f"{phase}_over_{ground}")
            in found["p99_ratio"] else ""
            for ground in ("idle", "control")
        ]  # fmt: skip
        yield phase, f"{gaps['p50']:.1f}", f"{gaps['p99']:.1f}", f"{gaps['p100']:.1f}", *ratios


def _cold_rows(found: Figures) -> Iterator[Row]:
    for tier, times in found.items():
        yield tier, f"{times['p50']:.1f}", f"{times['p95']:.1f}", str(times["n"])


def _fairness_rows(found: Figures) -> Iterator[Row]:
    for streams, loop in found["over_slots"].items():
        wait = f"{loop['over']['ttft_p99_ms']:.0f} of at most {loop['ttft_p99_limit_ms']:.0f}"
        yield f"4x the slots, {streams} streams", f"{loop['tok_s_ratio']:.2f} of tok/s", wait
    for mix, shares in found["mix_100_to_1"].items():
        light = shares["light"]
        served = f"rare {light['served_tokens']} of {light['entitled_tokens']:.0f} tokens"
        wait = ", ".join(f"{name} {ms:.0f}" for name, ms in shares["ttft_p99_ms"].items())
        yield f"100:1, {mix.replace('_', ' ')}", f"Jain {shares['jain']:.3f}, {served}", wait


def print_added_latency(found: Figures) -> None:
    """Print what ours adds to one request."""
    rows = []
    for name, times in found["ms"].items():
        added = found["added_p50"].get(name)
        over = "" if added is None else f"{added:+.1f}"
        rows.append((name, f"{times['p50']:.1f}", f"{times['p95']:.1f}", over))
    columns = ("server", "p50", "p95", "ours takes longer by")
    print_table(columns, rows, title="One request of one token, ms")


_PARTS: Final[dict[str, tuple[str, Row, Any]]] = {
    "stall": (
        "Time between tokens of 8 streams while adapters load at 2/s, ms",
        ("phase", "p50", "p99", "longest", "p99 over idle", "p99 over control"),
        _stall_rows,
    ),
    "cold_load_ms": (
        "Request to first token at idle, ms",
        ("adapter is in", "p50", "p95", "requests"),
        _cold_rows,
    ),
    "fairness": ("Fairness", ("load", "served", "p99 to first token, ms"), _fairness_rows),
}
