"""How fast a large translation memory becomes training data: .bench/data.json.

python -m loadtests.bench_data [--units 3900000]

A TMX file (3.9 million units are 1 GB) is read, and built with and without the identification of
languages; the rules of cleaning are measured by themselves, on one core. Figures of one run only
are comparable, and only while the machine does nothing else. Other formats, and other readers of
TMX: loadtests.bench_corpus.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from adapters.console import note
from loadtests.corpus_files import FORMATS, write_pairs

OUT: Final = Path(".bench/data.json")
_RECIPE: Final = """\
id: bench-en-fr
licence: CC0-1.0
data: [{{tmx: {file}, licence: CC0-1.0}}]
clean: {{other_language: {language}}}
"""


def main() -> int:
    """Measure, print the table and write the file; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=3_900_000, help="of the memory")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with TemporaryDirectory() as folder:
        figures = _measure(Path(folder), arguments.units)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(figures))
    return 0


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a table for people."""
    lines = [f"{'data':<32}{'units/s':>10}{'seconds':>10}{'peak MB':>10}{'a worker':>10}"]
    for name in ("read", "build", "build without language"):
        row = figures[name]
        peaks = (row["peak_rss_mb"], row.get("peak_rss_mb_of_a_worker", ""))
        lines.append(
            f"{name:<32}{row['units_per_s']:>10}{row['seconds']:>10}{peaks[0]:>10}{peaks[1]:>10}"
        )
    for name, rate in figures["rules"].items():
        lines.append(f"{f'rules: {name}, one core':<32}{rate:>10}")
    return "\n".join(lines) + "\n"


def _measure(folder: Path, units: int) -> dict[str, Any]:
    note(f"data: writing {units} units …")
    (memory,) = write_pairs("tmx", folder, units)
    source = json.dumps({"tmx": FORMATS["tmx"].where})
    figures: dict[str, Any] = {
        "megabytes": round(memory.stat().st_size / 1e6),
        "rules": _run("training.clean.speed"),
        "read": _run("training.corpus.speed", source, str(folder)),
    }
    for name, language in (("build", "0.95"), ("build without language", "null")):
        recipe = folder / "recipe.yaml"
        recipe.write_text(_RECIPE.format(file=memory.name, language=language), encoding="utf-8")
        figures[name] = _run("training.build.speed", str(recipe))
    return figures


def _run(module: str, *arguments: str) -> dict[str, Any]:
    note(f"data: {module} …")
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    sys.exit(main())
