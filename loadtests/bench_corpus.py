"""How fast text of each format is read, TMX beside other readers of it: .bench/corpus.json.

python -m loadtests.bench_corpus [--units 200000] [--format tmx --format jsonl]

The same pairs, made from a seed, in every format; each is read in a process of its own. Figures
of one run only are comparable, and only while the machine does nothing else.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from adapters.console import note
from loadtests.corpus_files import FORMATS, write_pairs
from loadtests.tmx_peers import PEERS

OUT: Final = Path(".bench/corpus.json")
# What has one text for each of a unit's keys, or holds a whole application in memory, is smaller.
_SMALL: Final = {"gettext": 50_000, "xlsx": 50_000, "android": 100_000, "locale_json": 100_000}


def main() -> int:
    """Measure, print the table and write the file; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--units", type=int, default=200_000, help="pairs in each file")
    parser.add_argument("--format", action="append", choices=FORMATS, help="only this one")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    figures: dict[str, dict[str, Any]] = {}
    with TemporaryDirectory() as folder:
        for name in arguments.format or FORMATS:
            figures |= _measure(name, Path(folder), arguments.units)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(figures))
    return 0


def table(figures: dict[str, dict[str, Any]]) -> str:
    """Return the figures as a table for people; ratios are to our reader of TMX."""
    lines = [f"{'format':<28}{'units/s':>10}{'MB/s':>8}{'peak MB':>9}{'dragoman is':>13}"]
    ours = figures.get("tmx", {}).get("units_per_s")
    for name, row in figures.items():
        is_peer = ours and name.startswith("tmx by")
        ratio = f"{ours / row['units_per_s']:.1f}x" if is_peer else ""
        speed = row["megabytes"] / row["seconds"] if row["seconds"] else 0.0
        lines.append(
            f"{name:<28}{row['units_per_s']:>10}{speed:>8.1f}{row['peak_rss_mb']:>9}{ratio:>13}"
        )
    return "\n".join(lines) + "\n"


def _measure(name: str, folder: Path, units: int) -> dict[str, dict[str, Any]]:
    note(f"corpus: {name} …")
    files = write_pairs(name, folder, min(units, _SMALL.get(name, units)))
    figures = {name: _run("training.corpus.speed", json.dumps({name: FORMATS[name].where}), folder)}
    if name == "tmx":
        for peer, needs in PEERS.items():
            if importlib.util.find_spec(needs):
                figures[f"tmx by {peer}"] = _run("loadtests.tmx_peers", peer, files[0])
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    for file in files:
        file.unlink()
    return {key: {**row, "megabytes": round(megabytes, 1)} for key, row in figures.items()}


def _run(module: str, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
