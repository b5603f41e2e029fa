"""How fast a recipe's text is built here, all the way, as a line of JSON.

python -m training.build.speed RECIPE.yaml

The tool behind loadtests.bench_data. RSS in MB (10^6 bytes); a worker's is an upper bound, since
its peak begins as that of the process that started it.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from training.build.build import build_data
from training.corpus.speed import peak_rss_mb
from training.recipe import Recipe


def main() -> int:
    """Build into a folder beside the recipe, measure and print; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", type=Path)
    path = parser.parse_args().recipe
    recipe = Recipe.load(str(path))
    with TemporaryDirectory(dir=path.parent) as folder:
        began = time.perf_counter()
        report = build_data(recipe, Path(folder) / "data")
        seconds = time.perf_counter() - began
    read = report.clean["read"]
    figures = {
        "units": read,
        "kept": report.clean["kept"],
        "seconds": round(seconds, 2),
        "units_per_s": round(read / seconds),
        "peak_rss_mb": peak_rss_mb(),
        "peak_rss_mb_of_a_worker": round(
            resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e6
        ),
    }
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
