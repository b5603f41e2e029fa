"""Serving speed against plain vLLM on the same machine, model, adapters and flags, in one run.

Only ratios between the two columns mean anything: machines differ, and are noisy.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Final

from adapters.console import note
from loadtests import servers
from loadtests.throughput import Load, tokens_per_second

BASE: Final = "gemma3-270m"
STREAMS: Final = (1, 32)
# One stream is short, so it is repeated until the figure stands on as many tokens.
_ROUNDS: Final = {1: 4, 32: 2}

Figures = dict[str, dict[str, float]]


def bench_serving(out: Path) -> dict[str, Figures]:
    """Return tok/s by server, load and streams, and write them to `out`.

    Raises ServerFailed, or httpx.HTTPError if a server does not answer.
    """
    folders = published(out.parent / "registry")
    ours = servers.dragoman(BASE, out.parent / "registry", ["--max-loras", "2"])
    figures: dict[str, Figures] = {}
    with servers.running(ours, out.parent / "dragoman.log") as server:
        figures["dragoman"] = _figures("dragoman", server.url, list(folders))
    with servers.running(servers.plain_vllm(ours, folders), out.parent / "vllm.log") as server:
        figures["vllm"] = _figures("plain vLLM", server.url, list(folders))
    out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    return figures


def published(registry: Path) -> dict[str, Path]:
    """Return two adapters by id, their weights random: speed does not depend on what they say.

    Rank 16 on all linear layers, as the reference task wants; made once, kept in `registry`.
    """
    names = ("first-en-fr", "second-en-fr")
    for seed, name in enumerate(names):
        if (registry / name).is_dir():
            continue
        _run(
            "loadtests.random_lora", BASE, "--seed", str(seed), "--out", str(registry / f".{name}")
        )
        _run(
            "dragoman", "adapters", "import", str(registry / f".{name}"), "--id", name,
            "--licence", "none", "--base", BASE, "--registry", str(registry),
        )  # fmt: skip
    listed = json.loads(_run("dragoman", "adapters", "list", "--json", "--registry", str(registry)))
    return {row["id"]: Path(row["folder"]) for row in listed}


def rows(figures: dict[str, Figures]) -> list[tuple[str, ...]]:
    """Return the table: load, streams, ours, plain vLLM, ratio."""
    ours, plain = figures["dragoman"], figures["vllm"]
    return [
        (load, streams, f"{ours[load][streams]:.1f}", f"{plain[load][streams]:.1f}",
         f"{ours[load][streams] / plain[load][streams]:.2f}")
        for load in ours
        for streams in ours[load]
    ]  # fmt: skip


def _figures(label: str, url: str, names: list[str]) -> Figures:
    loads = {"base": [BASE], "one": names[:1], "mixed": names}
    figures: Figures = {}
    for load, models in loads.items():
        figures[load] = {}
        for streams in STREAMS:
            task = Load(streams=streams, rounds=_ROUNDS[streams])
            figures[load][str(streams)] = round(tokens_per_second(url, models, task), 1)
            note(f"{label}, {load}, {streams} streams: {figures[load][str(streams)]} tok/s")
    return figures


def _run(module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
