"""`vllm bench serve` and our generator, in turn on one server: they must measure the same.

python -m loadtests.vllm_bench                              a server of ours is started
python -m loadtests.vllm_bench --url http://127.0.0.1:8000  any other

For teams that use `vllm bench serve`: the command that loads adapters is printed. Writes
.bench/loads/vllm-bench.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from adapters.console import note, print_table
from adapters.locations import bases_root
from loadtests import servers
from loadtests.load import generator, target
from loadtests.load.client import Asking
from loadtests.load.kind import Kind
from loadtests.load.plan import Planned
from loadtests.load.scenario import Scenario
from loadtests.load.served import Ending, Served
from loadtests.load.texts import Texts

OUT: Final = Path(".bench/loads/vllm-bench.json")
_PROMPT_TOKENS: Final = 24
_ANSWER_TOKENS: Final = 32
_ROUNDS: Final = 3
# `vllm bench serve`; vLLM's own command asks for a distribution `vllm`, which CPU builds have not.
_BENCH: Final = """
from vllm.benchmarks.serve import add_cli_args, main
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
main(parser.parse_args())
"""


def main() -> int:
    """Measure in turn, print and write both; exit 1 if they differ by more than 5 %."""
    arguments = _arguments()
    servers.stop_on_signals()
    scenario = Scenario.load("steady")
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    if arguments.url:
        there = target.running(arguments.url, (), {}, scenario)
        found = compared(there, scenario.server.base, arguments.requests)
    else:
        with target.started(Kind.DRAGOMAN, scenario, arguments.out.parent) as ours:
            found = compared(ours, scenario.server.base, arguments.requests)
    arguments.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print_table(("requests at once, tokens/s", ""), [*found.items()])
    return 0 if 0.95 <= found["ratio"] <= 1.05 else 1


def compared(there: target.Target, base: str, requests: int) -> dict[str, Any]:
    """Return tokens per second of both, `requests` at once, in rounds that take turns."""
    ours, theirs = [], []
    for number in range(_ROUNDS):
        theirs.append(vllm_bench(there, base, requests, seed=number))
        ours.append(open_loop(there, requests, seed=number))
        note(f"vllm bench serve {theirs[-1]:.1f}, ours {ours[-1]:.1f} tokens/s")
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return {
        "vllm_bench_tok_s": round(median(theirs), 1),
        "dragoman_bench_tok_s": round(median(ours), 1),
        "ratio": round(median(ratios), 3),
        "requests": requests,
        "rounds": _ROUNDS,
    }


def command(there: target.Target, base: str, requests: int, *, seed: int) -> list[str]:
    """Return the command that loads the adapters of `there` by `vllm bench serve`."""
    return [
        sys.executable, "-c", _BENCH,
        "--backend", "openai-chat", "--endpoint", "/v1/chat/completions",
        "--base-url", there.url, "--model", str(bases_root() / base), "--served-model-name", base,
        "--lora-modules", *there.models, "--lora-assignment", "round-robin",
        "--dataset-name", "random", "--random-input-len", str(_PROMPT_TOKENS),
        "--random-output-len", str(_ANSWER_TOKENS), "--ignore-eos", "--temperature", "0",
        "--num-prompts", str(requests), "--seed", str(seed), "--disable-tqdm", "--save-result",
    ]  # fmt: skip


def vllm_bench(there: target.Target, base: str, requests: int, *, seed: int) -> float:
    """Return the output tokens per second that `vllm bench serve` reports."""
    with tempfile.TemporaryDirectory() as folder:
        asked = command(there, base, requests, seed=seed)
        note(f"$ {shlex.join(asked)}")
        subprocess.run(
            [*asked, "--result-dir", folder, "--result-filename", "result.json"],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        result = json.loads(Path(folder, "result.json").read_text(encoding="utf-8"))
    if result["completed"] != requests:
        raise RuntimeError(f"vllm bench serve: {result['completed']} of {requests} were answered")
    return float(result["output_throughput"])


def open_loop(there: target.Target, requests: int, *, seed: int) -> float:
    """Return the tokens per second of our generator, from the first question to the last token."""
    served = asyncio.run(
        generator.run(there.url, at_once(there.models, requests, seed), Asking(), settle_s=600)
    )
    return tokens_per_s(served)


def at_once(models: Sequence[str], requests: int, seed: int) -> list[Planned]:
    """Return requests that all arrive now, of the same size as those of `vllm bench serve`."""
    chance = random.Random(seed)
    texts = Texts(max_chars=4 * _PROMPT_TOKENS)
    return [
        Planned(
            n, 0.0, models[n % len(models)], "segment",
            texts.drawn(seed * 1_000_000 + n, chance)[1], _ANSWER_TOKENS, "warm", counted=True,
        )
        for n in range(requests)
    ]  # fmt: skip


def tokens_per_s(served: Sequence[Served]) -> float:
    """Return all tokens over the time until the last. Raises RuntimeError if one has none."""
    if bad := [one for one in served if one.ending is not Ending.OK]:
        raise RuntimeError(f"{len(bad)} were not answered, the first: {bad[0].detail}")
    until = max(one.ended_s for one in served) - min(one.sent_s for one in served)
    return sum(one.tokens for one in served) / until


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", help="a server that runs; none: one of ours is started")
    parser.add_argument("--requests", type=int, default=96)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
