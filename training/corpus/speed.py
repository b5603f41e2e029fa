"""How fast a source is read here: one a process, as a line of JSON.

python -m training.corpus.speed '{"tmx": "a.tmx"}' FOLDER

The tool behind loadtests.bench_corpus. Text is of English and French; RSS in MB (10^6 bytes).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from pathlib import Path

from adapters.ids import LanguagePair
from training.corpus.source import Source


def main() -> int:
    """Read, measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("keys", type=json.loads, help="of a recipe's source, as JSON")
    parser.add_argument("folder", type=Path, help="where its paths begin")
    arguments = parser.parse_args()
    pairs = [LanguagePair("en", "fr")]
    source = Source.model_validate({"licence": "CC0-1.0", **arguments.keys})
    places, how = source.places(arguments.folder, pairs), source.reading(pairs)
    imported_mb = peak_rss_mb()
    began = time.perf_counter()
    units = sum(1 for _ in source.read(places, pairs, how))
    seconds = time.perf_counter() - began
    figures = {
        "units": units, "seconds": round(seconds, 2), "units_per_s": round(units / seconds),
        "peak_rss_mb": peak_rss_mb(), "imported_mb": imported_mb,
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def peak_rss_mb() -> int:
    """Return the most memory that this process has held since it began."""
    # Not getrusage: after exec its peak is still that of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return round(int(found[1]) * 1024 / 1e6) if found else 0


if __name__ == "__main__":
    sys.exit(main())
