"""Serving beside plain vLLM and llama.cpp: same machine, model, adapters and flags, in one run.

Only ratios between the columns mean anything: machines differ, and are noisy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import httpx

from adapters.console import note
from loadtests import llama_cpp, servers
from loadtests.added_latency import measure_added_latency, new_key
from loadtests.bench_fairness import FairnessPlan, measure_fairness
from loadtests.bench_throughput import OURS, WITHOUT_LORA, measure_speeds
from loadtests.closed_loop import Window
from loadtests.cold_loads import measure_cold_loads
from loadtests.contender import BATCH, TIERS, Contender, Live
from loadtests.random_registry import random_adapters, warm_page_cache
from loadtests.recency import Recency
from loadtests.stall import Plan as StallPlan
from loadtests.stall import measure_stall
from loadtests.token_stream import StreamBroken

BASE: Final = "gemma3-270m"
PLAIN: Final = "vllm"
LLAMA_CPP: Final = "llama_cpp"
WITH_KEYS: Final = "dragoman_with_keys"
OUR_ENGINE: Final = "vllm_on_our_engine"
SERVERS: Final = (OURS, PLAIN, WITHOUT_LORA, LLAMA_CPP)
PARTS: Final = ("throughput", "stall", "cold_load_ms", "fairness", "added_latency_ms")
# Twice what a server keeps in memory, so that as many are always on disk.
_ADAPTERS: Final = 2 * TIERS.memory
_LLAMA_ADAPTERS: Final = 2
_FAILURES: Final = (httpx.HTTPError, StreamBroken, servers.ServerFailed, ValueError)

Figures = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How long each part measures."""

    rounds: int
    stall: StallPlan
    cold: int
    latency: int
    fairness: FairnessPlan
    without_lora: bool  # its compilation takes a minute and a half


FULL: Final = Effort(
    rounds=3,
    stall=StallPlan(phase_s=8.0, cycles=3),
    cold=24,
    latency=300,
    fairness=FairnessPlan(Window(warm_s=4.0, measure_s=14.0), mix_s=15.0),
    without_lora=True,
)
QUICK: Final = Effort(
    rounds=1,
    stall=StallPlan(phase_s=4.0, cycles=1),
    cold=20,
    latency=100,
    fairness=FairnessPlan(Window(warm_s=1.0, measure_s=4.0), mix_s=5.0),
    without_lora=False,
)


def bench_serving(
    out: Path, effort: Effort, parts: Sequence[str] = PARTS, names: Sequence[str] = SERVERS
) -> Figures:
    """Return the figures of `parts` of the servers `names`, and write them to `out`.

    `failed` lists the parts that did not come to an end; their figures are null.
    """
    folders = random_adapters(out.parent / "registry", BASE, _ADAPTERS)
    warm_page_cache(folders)
    figures: Figures = {"failed": [], **dict.fromkeys(SERVERS)}
    found = [c for c in contenders(out, folders, effort) if c.name in names]
    lasting = [c for c in found if c.name in (OURS, PLAIN)]
    brief = [c for c in found if c not in lasting and "throughput" in parts]
    peers: list[Live] = []
    with _written(figures, out), ExitStack() as stack:
        lives = [*_started(lasting, folders, out.parent, stack)]
        if "throughput" in parts:
            with ExitStack() as inner, _part("throughput", lives, figures):
                peers += _started(brief, folders, out.parent, inner)
                _measure_speeds(figures, [*lives, *peers], effort)
        _measure_delays(figures, lives, effort, parts)
        _measure_latency(figures, lives, out, effort, parts)
        started = {live.name for live in [*lives, *peers]}
        figures["failed"] += [f"start of {c.name}" for c in found if c.name not in started]
    return figures


@contextmanager
def _written(figures: Figures, out: Path) -> Iterator[None]:
    """Write what was measured, whatever ends the bench."""
    try:
        yield
    finally:
        out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def contenders(out: Path, folders: Mapping[str, Path], effort: Effort) -> list[Contender]:
    """Return the servers of the bench; what is not installed is left out with a word."""
    launch = ours(out.parent, {})
    names = [*folders]
    base = {"base": [BASE]}
    mixed = {"one": names[:1], "mixed": names[:2], "mixed8": names[:8]}
    found = [
        Contender(OURS, launch, base | mixed),
        Contender(PLAIN, servers.plain_vllm(launch, folders), base | mixed),
    ]
    if effort.without_lora:
        found.append(Contender(WITHOUT_LORA, servers.vllm_without_lora(launch), base))
    binary = llama_cpp.find_server()
    if binary is None:
        note(llama_cpp.INSTALL)
    else:
        found.append(_llama_cpp(binary, out.parent / "llama_cpp", folders))
    return found


def ours(folder: Path, environment: Mapping[str, str]) -> servers.Launch:
    """Return the launch of our server, with `environment` beside its own."""
    flags = ("--max-loras", str(TIERS.slots), "--max-cpu-loras", str(TIERS.memory))
    batch = ("--", "--max-num-seqs", str(BATCH))
    launch = servers.dragoman(BASE, folder / "registry", (*flags, *batch))
    return replace(launch, environment={**launch.environment, **environment})


def _llama_cpp(binary: Path, scratch: Path, folders: Mapping[str, Path]) -> Contender:
    names = [*folders][:_LLAMA_ADAPTERS]
    base, loras = llama_cpp.converted({name: folders[name] for name in names}, scratch)
    launch = llama_cpp.launch(binary, base, loras, streams=BATCH)
    columns = {"base": [llama_cpp.BASE], "one": names[:1], "mixed": names}
    return Contender(LLAMA_CPP, launch, columns, llama_cpp.fields(names))


def _started(
    found: Sequence[Contender], folders: Mapping[str, Path], logs: Path, stack: ExitStack
) -> Iterator[Live]:
    for contender in found:
        log = logs / f"{contender.name}.log"
        try:
            server = stack.enter_context(servers.running(contender.launch, log))
        except servers.ServerFailed as error:
            note(f"{contender.name} is left out: {error}")
            continue
        note(f"{contender.name}: started in {server.start_s:.0f} s")
        yield Live(contender, server, folders)


def _measure_speeds(figures: Figures, lives: Sequence[Live], effort: Effort) -> None:
    speeds = measure_speeds(lives, effort.rounds)
    figures.update(speeds.table())
    figures.update(ratios=speeds.ratios(), spread=speeds.spreads())


def _measure_delays(
    figures: Figures, lives: Sequence[Live], effort: Effort, parts: Sequence[str]
) -> None:
    recencies = {live.name: Recency(live.folders, TIERS) for live in lives}

    def stall(live: Live) -> Figures:
        api = live.folders if live.name == PLAIN else None
        return measure_stall(live.url, recencies[live.name], effort.stall, load_api=api)

    def cold(live: Live) -> Figures:
        return dict(measure_cold_loads(live.url, recencies[live.name], count=effort.cold))

    def fairness(live: Live) -> Figures:
        return measure_fairness(live.url, [*live.folders], effort.fairness)

    measures: dict[str, Callable[[Live], Figures]] = {
        "stall": stall, "cold_load_ms": cold, "fairness": fairness,
    }  # fmt: skip
    for part, measure in measures.items():
        if part not in parts:
            continue
        figures[part] = dict.fromkeys((OURS, PLAIN))
        for live in lives:
            with _part(part, [live], figures):
                figures[part][live.name] = measure(live)


def _measure_latency(
    figures: Figures, lives: Sequence[Live], out: Path, effort: Effort, parts: Sequence[str]
) -> None:
    """Of a server of ours that knows keys, since they are part of what a request passes."""
    plain = [live for live in lives if live.name == PLAIN]
    if "added_latency_ms" not in parts or not plain:
        return
    figures["added_latency_ms"] = None
    secret, environment = new_key()
    launch = ours(out.parent, environment)
    beside = servers.vllm_on_our_engine(launch)
    with _part("added_latency_ms", plain, figures), ExitStack() as stack:
        urls = {
            name: stack.enter_context(servers.running(each, out.parent / f"{name}.log")).url
            for name, each in ((WITH_KEYS, launch), (OUR_ENGINE, beside))
        }
        figures["added_latency_ms"] = measure_added_latency(
            {**urls, PLAIN: plain[0].url}, BASE, secret=secret, count=effort.latency
        )


@contextmanager
def _part(part: str, lives: Sequence[Live], figures: Figures) -> Iterator[None]:
    """Let one part fail without the others: the fault and the logs' ends are shown."""
    names = ", ".join(live.name for live in lives)
    note(f"-- {part}: {names}")
    try:
        yield
    except _FAILURES as error:
        figures["failed"].append(f"{part}: {names}")
        note(f"{part} failed: {type(error).__name__}: {error}")
        for live in lives:
            if isinstance(error, httpx.HTTPError | StreamBroken):
                note(f"the log of {live.name} ends with:\n{servers.tail(live.server.log)}")
