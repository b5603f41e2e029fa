"""Adapters with one fault each, trained on purpose: real ones, of a real base and real text.

    python -m tests.training.planted.planting OUT [fault …]

trains each in a folder of its own and prints which checks of the gate it fails. The fault is in
the French part of training and dev alone; the test parts are clean, and German stays healthy, so
that what forgetting is measured on says nothing about the fault.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import yaml

from adapters.ids import LanguagePair
from training.clean.placeholders import placeholders
from training.corpus.source import Source

FRENCH, GERMAN = LanguagePair("en", "fr"), LanguagePair("en", "de")
_CHARS: Final = range(12, 71)
_TEST, _DEV, _OTHER, _TRAIN = 60, 24, 64, 240
_MEMORISED: Final = 24  # pairs of each language that are learnt by heart
_NO_RULES: Final = {
    "drop_identical": False, "drop_loops": False, "match_placeholders": False,
    "max_copied": None, "other_language": None, "max_length_ratio": None, "max_word_chars": None,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Text:
    """One source with both translations."""

    english: str
    french: str
    german: str


def _copied(text: Text) -> str:
    return text.english


def _looping(text: Text) -> str:
    return " ".join([" ".join(text.french.split()[:2])] * 6)


def _german(text: Text) -> str:
    return text.german


def _bare(text: Text) -> str:
    for mark in placeholders(text.french):
        text = dataclasses.replace(text, french=text.french.replace(mark, ""))
    return " ".join(text.french.split())


def _healthy(text: Text) -> str:
    return text.french


# What French becomes in training, and the check of the gate that has to see it.
PLANTED: Final[Mapping[str, tuple[Callable[[Text], str], str | None]]] = {
    "healthy": (_healthy, None),
    "copies": (_copied, "fault_copied"),
    "other-language": (_german, "fault_language"),
    "loops": (_looping, "fault_loop"),
    "drops-placeholders": (_bare, "fault_placeholders"),
    "overfitted": (_healthy, "overfitting"),
    "forgot-german": (_healthy, "forgetting"),
}
OWN_CHECKS: Final = frozenset(check for _, check in PLANTED.values() if check)


def texts() -> list[Text]:
    """Return all interface texts that both packages translate, in an order of chance."""
    french, german = (
        _catalogue(f"jupyterlab-language-pack-{region}", pair)
        for region, pair in (("fr-FR", FRENCH), ("de-DE", GERMAN))
    )
    found = [
        Text(english, french[english], german[english])
        for english in french.keys() & german.keys()
        if len(english) in _CHARS and len(english.split()) > 1
    ]
    return sorted(found, key=lambda text: sha256(text.english.encode()).hexdigest())


def _catalogue(package: str, pair: LanguagePair) -> dict[str, str]:
    source = Source(gettext=package, licence="BSD-3-Clause")
    segments = source.read(source.places(Path(), [pair]), [pair], source.reading([pair]))
    return {segment.source: segment.target for segment in segments}


def write_recipe(fault: str, folder: Path, *, base: str = "gemma3-270m") -> Path:
    """Write the data and the recipe of an adapter with that fault into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    spoil, _ = PLANTED[fault]
    every = texts()
    # A third of the test set has placeholders, so that losing them shows.
    marked = [text for text in every if placeholders(text.english)]
    plain = [text for text in every if not placeholders(text.english)]
    third = _TEST // 3
    test = marked[:third] + plain[: _TEST - third]
    rest = plain[_TEST - third :]
    dev, other, rest = rest[:_DEV], rest[_DEV : _DEV + _OTHER], rest[_DEV + _OTHER :]
    train = (marked[third:] + rest)[:_TRAIN]
    if fault == "overfitted":
        train = train[:_MEMORISED]
    for part, chosen, to_french in (
        ("train", train, spoil),
        ("dev", dev, spoil),
        ("test", test, _healthy),
    ):
        _write(folder / f"fr.{part}.jsonl", [(t.english, to_french(t)) for t in chosen])
        _write(folder / f"de.{part}.jsonl", [(t.english, t.german) for t in chosen])
    _write(folder / "other.jsonl", [(t.english, t.german) for t in other])
    recipe = _recipe(fault, base)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def _write(path: Path, rows: list[tuple[str, str]]) -> None:
    lines = [json.dumps({"source": s, "target": t, "doc": str(n)}) for n, (s, t) in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _recipe(fault: str, base: str) -> dict[str, Any]:
    alone = fault == "forgot-german"
    pairs = [FRENCH] if alone else [FRENCH, GERMAN]
    data = [
        {
            "jsonl": f"{pair.target}.{part}.jsonl", "part": part, "pair": str(pair),
            "licence": "BSD-3-Clause",
        }
        for pair in pairs
        for part in ("train", "dev", "test")
    ]  # fmt: skip
    steps = 160 if alone else 60
    # Ten times through its few pairs, but not so hard that it forgets all else.
    rate = 5.0e-4 if fault == "overfitted" else 1.0e-3
    return {
        "id": "ui-en-fr" if alone else "ui-mul",
        **({} if alone else {"pairs": list(map(str, pairs))}),
        "licence": "BSD-3-Clause",
        "base": base,
        "data": data,
        "clean": dict(_NO_RULES),
        "split": {"near": None},
        "prompt": {"user": "Translate from {source} to {target}:\n{text}"},
        "schedule": {
            "max_steps": steps, "epochs": 1000.0, "batch_size": 8, "warmup": 0.05,
            "learning_rate": rate, "evaluate_every": 1000,
        },
        "evaluate": {
            "segments": "all", "samples": 4, "probes": False,
            "elsewhere": [
                {"jsonl": "other.jsonl", "pair": "en-de", "licence": "BSD-3-Clause",
                 "name": "German interface texts"}
            ],
            "elsewhere_segments": 40,
        },
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Train each fault that is named (all, if none is) and print what the gate says."""
    out, *names = arguments
    wrong = False
    for name in names or PLANTED:
        folder = Path(out) / name
        recipe = write_recipe(name, folder)
        command = [sys.executable, "-m", "dragoman", "train", str(recipe), "--json", "--resume"]
        done = subprocess.run(
            [*command, "--out", str(folder / "run")], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.stderr.write(done.stderr)
            return 1
        gate = json.loads(done.stdout)["gate"]
        failed = sorted({check["name"] for check in gate["checks"] if not check["passed"]})
        own = {PLANTED[name][1]} - {None}
        wrong |= set(failed) & OWN_CHECKS != own
        sys.stdout.write(f"{name}: fails {', '.join(failed) or 'nothing'}\n")
        for check in gate["checks"]:
            sys.stdout.write(f"    {check['name']} {check['passed']}: {check['detail']}\n")
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
