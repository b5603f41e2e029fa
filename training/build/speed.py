"""How fast text is read, cleaned and built here: one figure a process, as a line of JSON.

python -m training.build.speed read FILE.tmx
python -m training.build.speed clean FILE.tmx
python -m training.build.speed build RECIPE.yaml

The tool behind `make bench ARGS=data`. The file is of English and French; RSS in MB (10^6 bytes).
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from adapters.ids import LanguagePair

_PAIR: Final = LanguagePair("en", "fr")
_CLEANED: Final = 100_000


def main() -> int:
    """Measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    measures: dict[str, Callable[[Path], dict[str, Any]]] = {
        "read": read, "clean": clean, "build": build,
    }  # fmt: skip
    parser.add_argument("what", choices=measures)
    parser.add_argument("file", type=Path)
    arguments = parser.parse_args()
    figures = measures[arguments.what](arguments.file)
    own, others = (
        resource.getrusage(who).ru_maxrss * 1024 / 1e6
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    figures |= {"peak_rss_mb": round(own), "peak_rss_mb_of_a_worker": round(others)}
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def read(path: Path) -> dict[str, Any]:
    """Return the rate at which the units of a TMX file become segments."""
    from training.corpus.reading import Reading
    from training.corpus.tmx import read_tmx

    began = time.perf_counter()
    count = sum(1 for _ in read_tmx(path, Reading(_PAIR)))
    return _rate("units", count, time.perf_counter() - began)


def clean(path: Path) -> dict[str, Any]:
    """Return the rate of all rules on one core, and that of all but language identification."""
    from training.clean.rules import Cleaner, CleanRules
    from training.corpus.reading import Reading
    from training.corpus.tmx import read_tmx

    found = islice(read_tmx(path, Reading(_PAIR)), _CLEANED)
    segments = [replace(segment, pair=_PAIR) for segment in found]
    figures: dict[str, Any] = {}
    for name, rules in (("all", CleanRules()), ("cheap", CleanRules(other_language=None))):
        cleaner = Cleaner(rules)
        cleaner.broken(segments[0])  # loads what it needs
        began = time.perf_counter()
        kept = sum(cleaner.broken(segment) is None for segment in segments)
        figures[name] = _rate("pairs", len(segments), time.perf_counter() - began)
        figures[name]["kept"] = round(kept / len(segments), 4)
    return figures


def build(path: Path) -> dict[str, Any]:
    """Return the rate of the whole way from a recipe's sources to its parts."""
    from training.build.build import build_data
    from training.recipe import Recipe

    with TemporaryDirectory(dir=path.parent) as folder:
        began = time.perf_counter()
        report = build_data(Recipe.load(str(path)), Path(folder) / "data")
        seconds = time.perf_counter() - began
    return {**_rate("pairs", report.clean["read"], seconds), "kept": report.clean["kept"]}


def _rate(of: str, count: int, seconds: float) -> dict[str, Any]:
    return {of: count, "seconds": round(seconds, 2), f"{of}_per_s": round(count / seconds)}


if __name__ == "__main__":
    sys.exit(main())
