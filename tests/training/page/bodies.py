"""Bodies of pages, made as the commands make them, and a parser that holds pages to account."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from adapters.ids import LanguagePair
from training.evaluate.probes.probe import Example, ProbeResult
from training.evaluate.scoreboard import Cost, Scoreboard, System, TestSet
from training.evaluation.held_out import HeldOut
from training.evaluation.neural_scores import NeuralScores
from training.evaluation.result import Result, scored

SCRIPT = "<script>alert(1)</script>"
EN_FR = LanguagePair("en", "fr")
SOURCES = ("Open {name}", "Close all tabs", f"Save {SCRIPT}", "Restart the kernel")
REFERENCES = (
    "Ouvrir {name}", "Fermer tous les onglets", f"Enregistrer {SCRIPT}", "Redémarrer le noyau",
)  # fmt: skip
WORSE = ["Ouvrir", "Fermer les onglets", f"Sauver {SCRIPT}", ""]
_VOID = {"meta", "br"}


def evaluation_body(**changes: Any) -> dict[str, Any]:
    """Return what `dragoman eval --json` prints; a hostile text is wherever a file or model is."""
    return {**_evaluated(), **changes}


@functools.cache
def _evaluated() -> dict[str, Any]:
    test = TestSet(f"test{SCRIPT}.tsv", EN_FR, SOURCES, REFERENCES)
    held_out = HeldOut(test, f"/a/{SCRIPT}", "tsv", f"sha256:{'1' * 64}", SCRIPT)
    own = System(
        f"ui-en-fr{SCRIPT}", list(REFERENCES), Cost(80, 40, 2.0), {f"model{SCRIPT}": SCRIPT}
    )
    earlier = System("earlier", WORSE)
    board, system = scored(held_out, [own, earlier], baseline=1)
    probe = ProbeResult("injection", 25.0, 4, (Example(SCRIPT, SCRIPT, SCRIPT),), SCRIPT, SCRIPT)
    source = {"name": SCRIPT, "licence": SCRIPT, "segments": 1234, "digest": f"sha256:{'2' * 64}"}
    created = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    comet = NeuralScores(f"COMET{SCRIPT}", SCRIPT, False, dict.fromkeys(_names(board), 81.25))
    result = Result(board, system, held_out, (source,), (probe,), (comet,), created)
    return result.to_json(f"dragoman eval --data '{SCRIPT}'")


def _names(board: Scoreboard) -> list[str]:
    return [entry.system.name for entry in board.entries]


@functools.cache
def _board() -> dict[str, Any]:
    test = TestSet("test", EN_FR, SOURCES, REFERENCES)
    held_out = HeldOut(test, "x", "tsv", "sha256:1")
    rows = [System("base", WORSE, Cost(80, 40, 2.0)), System(f"r4{SCRIPT}", list(REFERENCES))]
    return scored(held_out, rows, baseline=0)[0].to_json()


def comparison_body(**changes: Any) -> dict[str, Any]:
    """Return comparison.json with texts: a base, one that was trained, one that failed."""
    texts = {
        "sources": list(SOURCES), "references": list(REFERENCES),
        "systems": {
            "base": WORSE, f"r4{SCRIPT}": list(REFERENCES), "source copied": list(SOURCES),
        },
    }  # fmt: skip
    training = {
        "method": SCRIPT, "rank": 4, "alpha": 8.0, "targets": ["q_proj", SCRIPT],
        "trainable_parameters": 153600, "base_parameters": None, "trainable_percent": None,
        "adapter_mb": 0.63, "train_s": 90.2, "tok_s": 1234.5, "peak_rss_gb": None, "steps": 60,
        "tokens": 100000, "train_pairs": 2872, "train_loss": 1.021, "dev_loss": None,
        "recipe_digest": "ab",
    }  # fmt: skip
    cost = {"prompt_tokens": 62.0, "completion_tokens": None, "segments_per_s": 2.63}
    return {
        "format": "dragoman-comparison/1", "title": f"Ranks {SCRIPT}",
        "date": "2026-11-22T15:40:00+00:00", "command": f"dragoman compare {SCRIPT}",
        "complete": False, "spec": {},
        "recipe": {"id": SCRIPT, "digest": "9f2c" * 16, "licence": SCRIPT, "base": SCRIPT},
        "data": {
            "sources": [{"name": SCRIPT, "digest": "sha256:1", "licence": "MIT", "segments": 3}],
            "split": {"by": "hash", "train": 2872, "dev": 40, "test": 120, "removed_as_leak": 12},
        },
        "synthesized": [{
            "name": "teacher", "engine": {"engine": SCRIPT, "more": {"a": 1}, "system": None},
            "texts": 1600, "kept": 1534, "dropped": {"copied": 66, "loops": 0}, "seconds": 41.2,
        }],
        "scoreboard": _board(),
        "systems": [
            {"name": "base", "kind": "base", "what": "the base", "status": "done", "error": None,
             "seconds": 4.1, "per_segment": cost, "training": None},
            {"name": f"r4{SCRIPT}", "kind": "training", "what": SCRIPT, "status": "done",
             "error": None, "seconds": 95.0, "per_segment": None, "training": training},
            {"name": "r64", "kind": "training", "what": "LoRA", "status": "failed",
             "error": f"error[out_of_memory]: {SCRIPT}", "seconds": 3.0, "per_segment": None,
             "training": None},
        ],
        "losses": {
            f"r4{SCRIPT}": {"train": [[5, 2.0], [60, 1.0]], "dev": [[60, 1.2]]},
            "r64": {"train": [[5, 2.5], [60, float("nan")]], "dev": []},
        },
        "environment": {
            "packages": {"torch": "2.13.0"}, "python": "3.11.9", "hardware": SCRIPT, "commit": "x",
        },
        "texts": texts,
        **changes,
    }  # fmt: skip


class Page(HTMLParser):
    """All tags with their attributes and texts; closing what was not open is an error."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]
