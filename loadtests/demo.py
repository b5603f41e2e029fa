"""`make demo`: two adapters trained on real text, served, and compared with the base.

Everything happens through the command line and HTTP, as a user would do it. A second run goes on
from what is there: trained adapters are not trained again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import openai

from adapters.console import note, print_table
from loadtests import servers
from loadtests.throughput import Load, tokens_per_second

OUT: Final = Path(".demo")
BASE: Final = "gemma3-270m"
RECIPES: Final = ("jupyter-en-fr", "jupyter-en-de")
SAMPLES: Final = 4
_LOAD: Final = Load(streams=16, tokens=32)
_EXAMPLE_CHARS: Final = range(15, 80)
_SHOWN_CHARS: Final = 110
_METRICS: Final = (
    "dragoman_requests_total",
    "dragoman_completion_tokens_total",
    "dragoman_adapter_loads_total",
    "dragoman_saturation",
)


@dataclass(frozen=True)
class Sample:
    """One held-out segment and what each way of asking makes of it."""

    adapter: str
    source: str
    reference: str
    translation: str = ""
    base: str = ""
    plain: str = ""


def main() -> int:
    """Run the demo; return the exit code."""
    servers.stop_on_signals()
    # Sixteen streams fill no gigabyte of KV cache, and four take six seconds to wipe at each start.
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    OUT.mkdir(exist_ok=True)
    try:
        with _step("base model"):
            _dragoman("base", "fetch", BASE)
        summaries = [_train(recipe) for recipe in RECIPES]
        samples = [sample for summary in summaries for sample in _held_out(summary)]
        with _step("plain vLLM, for one row"):
            samples = _ask_plain_vllm(samples)
        with _step("server with our plugins"):
            server = servers.start(servers.dragoman(BASE, OUT / "registry"), OUT / "server.log")
    except (subprocess.CalledProcessError, servers.ServerFailed) as error:
        note(f"the demo stopped: {error}")
        return 1
    try:
        with _step("translations and throughput"):
            samples = [_ask(server.url, sample) for sample in samples]
            speed = _speed(server.url)
        _show(summaries, samples, speed, server.url)
        _write(summaries, samples, speed)
    except BaseException:
        servers.stop(server)
        raise
    if os.environ.get("DEMO_EXIT") == "1":
        servers.stop(server)
    else:
        _leave_running(server)
    return 0


@contextmanager
def _step(name: str) -> Iterator[None]:
    note(f"-- {name}")
    started = time.monotonic()
    yield
    note(f"-- {name}: {time.monotonic() - started:.0f} s")


def _dragoman(*arguments: str) -> str:
    """Run one command; its progress goes to the terminal, its result is returned."""
    command = [sys.executable, "-m", "dragoman", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _train(recipe: str) -> dict[str, Any]:
    run = OUT / "runs" / recipe
    if (run / "summary.json").is_file() and (OUT / "registry" / recipe).is_dir():
        note(f"-- train {recipe}: done before (remove {OUT} to start anew)")
        return dict(json.loads((run / "summary.json").read_text(encoding="utf-8")))
    with _step(f"train {recipe}"):
        resume = ["--resume"] if run.exists() else []
        registry = str(OUT / "registry")
        result = _dragoman(
            "train",
            recipe,
            "--publish",
            "--json",
            "--out",
            str(run),
            "--registry",
            registry,
            *resume,
        )
    summary: dict[str, Any] = json.loads(result)
    note(
        f"   chrF++ {summary['chrf']} against {summary['base_chrf']} of the base "
        f"(p = {summary['p_value']}), {summary['train_tok_s']} tok/s"
    )
    return summary


def _held_out(summary: dict[str, Any]) -> list[Sample]:
    return [
        Sample(summary["id"], sample["source"], sample["reference"])
        for sample in summary["samples"][:SAMPLES]
    ]


def _ask_plain_vllm(samples: list[Sample]) -> list[Sample]:
    """Ask the first sample of vLLM as it comes: same weights, same adapter, a plain chat."""
    first, *others = samples
    listed = json.loads(
        _dragoman("adapters", "list", "--json", "--registry", str(OUT / "registry"))
    )
    folder = next(Path(row["folder"]) for row in listed if row["id"] == first.adapter)
    ours = servers.dragoman(BASE, OUT / "registry")
    launch = servers.plain_vllm(ours, {first.adapter: folder})
    with servers.running(launch, OUT / "plain-vllm.log") as server:
        answer = _chat(server.url, first.adapter, first.source, max_tokens=64)
    return [_with(first, plain=answer), *others]


def _ask(url: str, sample: Sample) -> Sample:
    return _with(
        sample,
        translation=_chat(url, sample.adapter, sample.source),
        base=_ask_base(url, sample),
    )


def _ask_base(url: str, sample: Sample) -> str:
    """Return the base's answer, asked as fairly as the evaluation asks it: after examples."""
    shown = "".join(f"English: {s}\n{_language(sample)}: {t}\n\n" for s, t in _examples(sample))
    prompt = f"{shown}English: {sample.source}\n{_language(sample)}:"
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    answer = client.completions.create(
        model=BASE, prompt=prompt, max_tokens=64, temperature=0, stop=["\n"]
    )
    return answer.choices[0].text.strip()


def _examples(sample: Sample) -> list[tuple[str, str]]:
    lines = (OUT / "runs" / sample.adapter / "data" / "train.jsonl").read_text(encoding="utf-8")
    pairs = [(row["source"], row["target"]) for row in map(json.loads, lines.splitlines())]
    return [pair for pair in pairs if len(pair[0]) in _EXAMPLE_CHARS and "\n" not in pair[0]][:3]


def _chat(url: str, model: str, text: str, **options: Any) -> str:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": text}], **options
    )
    return answer.choices[0].message.content or ""


def _speed(url: str) -> dict[str, float]:
    return {
        "base_tok_s": round(tokens_per_second(url, [BASE], _LOAD), 1),
        "one_adapter_tok_s": round(tokens_per_second(url, RECIPES[:1], _LOAD), 1),
        "two_adapters_tok_s": round(tokens_per_second(url, RECIPES, _LOAD), 1),
    }


def _show(
    summaries: list[dict[str, Any]], samples: list[Sample], speed: dict[str, float], url: str
) -> None:
    print_table(
        ("adapter", "chrF++", "base", "copy", "p", "BLEU", "base", "trained in", "tok/s"),
        [
            (
                s["id"], s["chrf"], s["base_chrf"], s["copy_chrf"], s["p_value"], s["bleu"],
                s["base_bleu"], f"{s['train_s']:.0f} s", s["train_tok_s"],
            )
            for s in summaries
        ],
        title=f"Quality on {summaries[0]['test_set']}",
    )  # fmt: skip
    for name in RECIPES:
        rows = [row for sample in samples if sample.adapter == name for row in _rows(sample)]
        print_table(("who", "text"), rows, title=f"Held-out text through {name}")
    names = {"base_tok_s": "base", "one_adapter_tok_s": "one adapter"}
    print_table(
        ("served", f"tok/s at {_LOAD.streams} streams"),
        [(names.get(name, "two adapters mixed"), figure) for name, figure in speed.items()],
        title="Throughput of this machine",
    )
    print_table(("metric", "value"), list(_metrics(url)), title="From /metrics")


def _rows(sample: Sample) -> Iterator[tuple[str, str]]:
    yield "source", _line(sample.source)
    yield "reference", _line(sample.reference)
    yield "adapter", _line(sample.translation)
    yield "base, 3 examples", _line(sample.base)
    if sample.plain:
        yield "same adapter, plain vLLM", _line(sample.plain)
    yield "", ""


def _line(text: str) -> str:
    """Return the text on one line of a terminal."""
    line = text.replace("\n", " / ")
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]} …"


def _metrics(url: str) -> Iterator[tuple[str, str]]:
    for line in httpx.get(f"{url}/metrics").text.splitlines():
        name, _, value = line.rpartition(" ")
        if name.partition("{")[0] in _METRICS:
            yield name, value


def _write(summaries: list[dict[str, Any]], samples: list[Sample], speed: dict[str, float]) -> None:
    keys = (
        "id", "base_bleu", "bleu", "base_chrf", "chrf", "copy_chrf", "p_value", "signature",
        "train_s", "train_tok_s",
    )  # fmt: skip
    summary = {
        "adapters": [{key: s[key] for key in keys} for s in summaries],
        "server": speed,
        "samples": [
            {
                "adapter": s.adapter,
                "source": s.source,
                "translation": s.translation,
                "reference": s.reference,
            }
            for s in samples
        ],
    }
    path = OUT / "summary.json"
    path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    note(f"-- all figures: {path}")


def _leave_running(server: servers.Running) -> None:
    body = json.dumps(
        {"model": RECIPES[0], "messages": [{"role": "user", "content": "Open the file browser"}]}
    )
    print(
        f"\nThe server runs on {server.url} (log: {server.log}). Try:\n\n"
        f"  curl -s {server.url}/v1/chat/completions -H 'Content-Type: application/json' "
        f"-d '{body}'\n\nStop it with:  kill {server.process.pid}"
    )


def _language(sample: Sample) -> str:
    return {"fr": "French", "de": "German"}[sample.adapter.rpartition("-")[2]]


def _with(sample: Sample, **changes: str) -> Sample:
    return Sample(**{**sample.__dict__, **changes})


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        note("stopped; `make demo` goes on from here")
        sys.exit(130)
