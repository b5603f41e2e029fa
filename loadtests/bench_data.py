"""How fast a large translation memory becomes training data: .bench/data.json.

python -m loadtests.bench_data [--megabytes 1000]

Reading beside the standard library's ElementTree on the same file, the rules of cleaning on one
core, and the whole build by all cores. The file is made anew from a seed, with its share of
duplicates, tags, numbers and faults. Figures of one run only are comparable, and only while the
machine does nothing else.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from xml.etree.ElementTree import iterparse  # our own file
from xml.sax.saxutils import escape

from adapters.console import note

OUT: Final = Path(".bench/data.json")
_HEAD: Final = '<?xml version="1.0"?>\n<tmx version="1.4"><header srclang="en"/><body>\n'
_RECIPE: Final = """\
id: bench-en-fr
licence: CC0-1.0
data: [{tmx: memory.tmx, licence: CC0-1.0}]
"""
_ENGLISH: Final = (
    "the of a to in is you that it for on are with as be at this from have or by one had not but "
    "what all were when your can said there use each which do how if will up other about out many "
    "file window server option value network button setting language document user version"
)
_FRENCH: Final = (
    "le de un à en est vous que il pour sur sont avec comme être dans cette depuis avoir par une "
    "pas mais quoi tous étaient quand votre peut dit là utiliser chaque quel faire comment si dont "
    "fichier fenêtre serveur option valeur réseau bouton réglage langue document dossier version"
)
_SOME_DUPLICATE: Final = 0.05
_SOME_FAULTY: Final = 0.02
_SOME_TAGGED: Final = 0.1


def main() -> int:
    """Measure, print the table and write the file; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=1000, help="size of the memory")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        sys.stdout.write(json.dumps(_by_elementtree(arguments.peer)) + "\n")
        return 0
    with TemporaryDirectory() as folder:
        figures = _measure(Path(folder), arguments.megabytes)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(table(figures))
    return 0


def table(figures: dict[str, Any]) -> str:
    """Return the figures as a table for people."""
    rows = [
        ("read", figures["read"], "units"),
        ("read by ElementTree", figures["elementtree"], "units"),
        ("all rules, one core", figures["clean"]["all"], "pairs"),
        ("all but language", figures["clean"]["cheap"], "pairs"),
        ("build, all cores", figures["build"], "pairs"),
    ]
    lines = [f"{'data':<22}{'per second':>12}{'seconds':>10}{'peak MB':>10}{'a worker':>10}"]
    for name, row, of in rows:
        peaks = (row.get("peak_rss_mb", ""), row.get("peak_rss_mb_of_a_worker") or "")
        lines.append(
            f"{name:<22}{row[f'{of}_per_s']:>12}{row['seconds']:>10}{peaks[0]:>10}{peaks[1]:>10}"
        )
    return "\n".join(lines) + "\n"


def _measure(folder: Path, megabytes: int) -> dict[str, Any]:
    memory, recipe = folder / "memory.tmx", folder / "recipe.yaml"
    note(f"data: writing {megabytes} MB …")
    units = write_memory(memory, megabytes * 1_000_000)
    recipe.write_text(_RECIPE, encoding="utf-8")
    ours = ("-m", "training.build.speed")
    return {
        "megabytes": megabytes,
        "units": units,
        "read": _run(*ours, "read", str(memory)),
        "elementtree": _run("-m", "loadtests.bench_data", "--peer", str(memory)),
        "clean": _run(*ours, "clean", str(memory)),
        "build": _run(*ours, "build", str(recipe)),
    }


def _run(*arguments: str) -> dict[str, Any]:
    note(f"data: {' '.join(arguments[1:3])} …")
    command = [sys.executable, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def write_memory(path: Path, size_bytes: int) -> int:
    """Write a TMX file of about this size; return the number of its units."""
    made, units, last = random.Random(0), 0, ""
    with path.open("w", encoding="utf-8") as file:
        written = file.write(_HEAD)
        while written < size_bytes:
            last = last if made.random() < _SOME_DUPLICATE and last else _unit(made, units)
            written += file.write(last)
            units += 1
        file.write("</body></tmx>\n")
    return units


def _unit(made: random.Random, number: int) -> str:
    length = made.randint(3, 25)
    source, target = (
        " ".join(made.choices(words.split(), k=length)) for words in (_ENGLISH, _FRENCH)
    )
    source, target = f"{source.capitalize()} {number}.", f"{target.capitalize()} {number}."
    if made.random() < _SOME_FAULTY:
        target = made.choice([source, "", f"{target} %s", target * 5])
    source, target = escape(source), escape(target)
    if made.random() < _SOME_TAGGED:
        mark = '<bpt i="1">&lt;b&gt;</bpt>{}<ept i="1">&lt;/b&gt;</ept>'
        source, target = mark.format(source), mark.format(target)
    return (
        f'<tu tuid="{number}"><tuv xml:lang="en-US"><seg>{source}</seg></tuv>'
        f'<tuv xml:lang="fr"><seg>{target}</seg></tuv></tu>\n'
    )


def _by_elementtree(path: Path) -> dict[str, Any]:
    """Read as one would by hand: the pairs of texts, without their codes."""
    began, count = time.perf_counter(), 0
    for _, element in iterparse(path):  # noqa: S314
        if element.tag == "tu":
            texts = ["".join(seg.itertext()) for seg in element.iter("seg")]
            count += len(texts) == 2
            element.clear()
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {
        "units": count,
        "seconds": round(seconds, 2),
        "units_per_s": round(count / seconds),
        "peak_rss_mb": round(peak),
    }


if __name__ == "__main__":
    sys.exit(main())
