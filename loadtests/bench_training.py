"""Training speed beside plain TRL, each variant in its own process: .bench/training.json.

python -m loadtests.bench_training [--recipe jupyter-en-fr] [--seconds 30]

Figures of one run only are comparable, and only while the machine does nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

VARIANTS: Final = ("dragoman", "trl", "trl_same_settings")
OUT: Final = Path(".bench/training.json")


def main() -> int:
    """Measure every variant, print the table and write the file; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="jupyter-en-fr")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    figures = {}
    for variant in VARIANTS:
        sys.stderr.write(f"training speed: {variant} for {arguments.seconds:.0f} s …\n")
        figures[variant] = _measure(variant, arguments.recipe, arguments.seconds)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(figures))
    return 0


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a table for people; ratios are to ours."""
    lines = [f"{'training':<20}{'tok/s':>8}{'peak GB':>9}{'dragoman is':>13}"]
    ours = figures["dragoman"]["tok_s"]
    for name, row in figures.items():
        ratio = f"{ours / row['tok_s']:.1f}x" if row["tok_s"] else "-"
        lines.append(f"{name:<20}{row['tok_s']:>8.0f}{row['peak_rss_gb']:>9.1f}{ratio:>13}")
    return "\n".join(lines) + "\n"


def _measure(variant: str, recipe: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, "-m", "training.fit.compare", variant, recipe]
    command += ["--seconds", str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
