"""Every method of fine-tuning on one task, each a run of `dragoman train`: .bench/methods.json.

python -m loadtests.bench_methods                          all, about two minutes each
python -m loadtests.bench_methods lora dora --seconds 60   some, trained for so long

Prints the table of docs/methods.md. A run that is there already is not made again (--out).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

# The same weights of change everywhere (rank 16 on all linear layers), else each kind's own.
METHODS: Final[dict[str, tuple[str, ...]]] = {
    "lora": (),
    "rslora": ("method.rslora=true", "method.alpha=8"),
    "dora": ("method.dora=true",),
    "pissa": ("method.init=pissa",),
    "olora": ("method.init=olora",),
    "corda": ("method.init=corda",),
    "qlora": ("method.quantize=nf4",),
    "adalora": ("method.kind=adalora",),
    "loha": ("method.kind=loha",),
    "lokr": ("method.kind=lokr",),
    "ia3": ("method.kind=ia3",),
    "bottleneck": ("method.kind=bottleneck",),
    "prefix": ("method.kind=prefix",),
    "prompt": ("method.kind=prompt",),
    "full": ("method.kind=full",),
}
OUT: Final = Path(".bench/methods.json")
_COLUMNS: Final = (
    "method", "chrF++", "over base", "trainable", "size MB", "train s", "tok/s", "peak GB",
    "served",
)  # fmt: skip


def main() -> int:
    """Run what was named, write the figures after each, print the table; return the exit code."""
    arguments = _arguments()
    figures: dict[str, dict[str, Any]] = {}
    if arguments.out.is_file():
        figures = json.loads(arguments.out.read_text(encoding="utf-8"))
    failed = []
    for name in arguments.method or METHODS:
        if name in figures:
            continue
        sys.stderr.write(f"{name} …\n")
        found = _measure(name, arguments.recipe, arguments.seconds)
        if found is None:
            failed.append(name)
            continue
        figures[name] = found
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(figures))
    for name in failed:
        sys.stderr.write(f"failed: {name}\n")
    return 1 if failed else 0


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as Markdown, best first."""
    lines = [f"| {' | '.join(_COLUMNS)} |", "|" + "---|" * len(_COLUMNS)]
    for name, row in sorted(figures.items(), key=lambda item: -item[1]["chrf"]):
        cells = [
            name,
            f"{row['chrf']:.1f}",
            f"{row['chrf'] - row['base_chrf']:+.1f}",
            f"{row['trainable_parameters']:,}",
            f"{row['size_mb']:.1f}",
            f"{row['train_s']:.0f}",
            f"{row['train_tok_s']:.0f}",
            f"{row['peak_rss_gb']:.1f}",
            row["served"] + (f", error {error:.2g}" if (error := row["conversion_error"]) else ""),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _measure(name: str, recipe: str, seconds: float | None) -> dict[str, Any] | None:
    folder = Path(".bench") / "methods" / name
    shutil.rmtree(folder, ignore_errors=True)
    settings = [*METHODS[name], *([f"schedule.max_seconds={seconds}"] if seconds else ())]
    command = [sys.executable, "-m", "dragoman", "train", recipe, "--json", "--out", str(folder)]
    for setting in settings:
        command += ["--set", setting]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return None
    summary = json.loads(done.stdout)
    size = sum(f.stat().st_size for f in (folder / "adapter").glob("*.safetensors"))
    wanted = ("chrf", "base_chrf", "trainable_parameters", "train_s", "train_tok_s", "peak_rss_gb")
    return {
        **{key: summary[key] for key in wanted},
        "size_mb": size / 1e6,
        # What came of it, where there was a conversion; else what was said beforehand.
        "served": (summary.get("conversion") or summary["served"])["way"],
        "conversion_error": (summary.get("conversion") or {}).get("error"),
        "settings": settings,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("method", nargs="*", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--recipe", default="jupyter-en-fr")
    parser.add_argument("--seconds", type=float, help="of training each; else the recipe's epochs")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    if unknown := sorted({*arguments.method} - {*METHODS}):
        parser.error(f"unknown method {', '.join(unknown)}; choose from {', '.join(METHODS)}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
