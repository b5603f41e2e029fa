"""Other readers of TMX, for loadtests.bench_corpus: one a process, as a line of JSON.

python -m loadtests.tmx_peers elementtree FILE.tmx
python -m loadtests.tmx_peers translate-toolkit FILE.tmx

The first is what one writes by hand and ignores inline codes; the second holds all in memory.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final
from xml.etree.ElementTree import iterparse  # our own file

# What each needs to be installed.
PEERS: Final[Mapping[str, str]] = MappingProxyType(
    {"elementtree": "xml", "translate-toolkit": "translate"}
)


def main() -> int:
    """Read the file, measure and print; return the exit code."""
    peer, path = sys.argv[1], Path(sys.argv[2])
    began = time.perf_counter()
    units = _by_elementtree(path) if peer == "elementtree" else _by_toolkit(path)
    seconds = time.perf_counter() - began
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    figures = {
        "units": units, "seconds": round(seconds, 2), "units_per_s": round(units / seconds),
        "peak_rss_mb": round(int(peak[1]) * 1024 / 1e6) if peak else 0,
    }  # fmt: skip
    sys.stdout.write(json.dumps(figures) + "\n")
    return 0


def _by_elementtree(path: Path) -> int:
    units = 0
    for _, element in iterparse(path):  # noqa: S314
        if element.tag == "tu":
            texts = [segment.text or "" for segment in element.iterfind("tuv/seg")]
            units += len(texts) == 2
            element.clear()
    return units


def _by_toolkit(path: Path) -> int:
    from translate.storage.tmx import tmxfile

    with path.open("rb") as file:
        store = tmxfile(file, "en", "fr")
    return sum(bool(unit.source and unit.target) for unit in store.units)


if __name__ == "__main__":
    sys.exit(main())
