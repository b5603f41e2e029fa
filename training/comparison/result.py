"""What a comparison came to: comparison.json, the table, the page."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from adapters.console import clock
from training.comparison.folder import PAGE_FILE, RESULT_FILE, write_json, write_text
from training.comparison.run import Compared, Row
from training.evaluate.scoreboard import Entry
from training.run_records import session_of

FORMAT: Final = "dragoman-comparison/1"
COLUMNS: Final = (
    "system", "chrF++", "±", "BLEU", "TER", "gain", "p", "faults", "trained", "MB", "train time",
    "GB", "tokens in", "out", "seg/s",
)  # fmt: skip
_RECORDED: Final = (
    "packages", "python", "system", "hardware", "accelerators", "environment", "commit",
)  # fmt: skip


def to_json(compared: Compared) -> dict[str, Any]:
    """Return all that is known, as plain JSON values, without the texts."""
    recipe, ground = compared.plan.recipe, compared.ground
    session = session_of(recipe, ground.reference)
    report = ground.data.report.to_json()
    return {
        "format": FORMAT,
        "title": compared.plan.comparison.title,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join([Path(sys.argv[0]).stem, *sys.argv[1:]]),
        "complete": all(row.error is None for row in compared.rows),
        "folder": str(ground.folder.root),
        "spec": compared.plan.comparison.model_dump(mode="json", exclude_defaults=True),
        "changes": list(compared.plan.options.changes),
        "recipe": {
            "id": str(recipe.id),
            "digest": recipe.digest,
            "licence": recipe.licence,
            "base": str(ground.reference),
        },
        "data": {"sources": report["sources"], "split": report["split"]},
        "synthesized": [dict(one) for one in compared.made],
        "scoreboard": compared.board and compared.board.to_json(),
        "systems": [_system(row) for row in compared.rows],
        "losses": _losses(compared.rows),
        "environment": {key: session[key] for key in _RECORDED},
    }


def texts_of(compared: Compared) -> dict[str, Any]:
    """Return all texts: the test set's, and what each system made of them."""
    answers = {row.spec.name: list(row.answered.texts) for row in compared.rows if row.answered}
    test = compared.ground.test
    return {
        "sources": list(test.sources),
        "references": list(test.references),
        "systems": answers,
    }


def write(compared: Compared, html: Path | None) -> dict[str, Any]:
    """Write comparison.json and the page, the page to `html` too; return what is in the former."""
    body, root = to_json(compared), compared.ground.folder.root
    write_json(root / RESULT_FILE, body)
    if compared.board is not None:
        from training.evaluate.page.comparison_page import comparison_page

        page = comparison_page({**body, "texts": texts_of(compared)})
        for path in (root / PAGE_FILE, *([html] if html else [])):
            write_text(path, page)
    return body


def table(compared: Compared) -> list[list[str]]:
    """Return a row of COLUMNS for each system; what is not known is empty."""
    entries = (
        {entry.system.name: entry for entry in compared.board.entries} if compared.board else {}
    )
    return [_cells(row, entries.get(row.spec.name)) for row in compared.rows]


def _system(row: Row) -> dict[str, Any]:
    answered = row.answered
    return {
        "name": row.spec.name,
        "kind": row.spec.kind,
        "what": answered.what if answered else "",
        "status": "done" if answered else "failed",
        "error": row.error,
        "seconds": round(row.seconds, 1),
        "per_segment": answered.per_segment() if answered else None,
        "training": dict(answered.trained.figures) if answered and answered.trained else None,
    }


def _losses(rows: Sequence[Row]) -> dict[str, Any]:
    found = {row.spec.name: row.answered.trained for row in rows if row.answered}
    return {
        name: {"train": trained.losses, "dev": trained.dev_losses}
        for name, trained in found.items()
        if trained is not None and trained.losses
    }


def _cells(row: Row, entry: Entry | None) -> list[str]:
    if row.answered is None or entry is None:
        return [row.spec.name, "failed", *[""] * (len(COLUMNS) - 2)]
    trained = row.answered.trained.figures if row.answered.trained else {}
    return [
        row.spec.name,
        *_quality(entry),
        *_training(trained),
        *_cost(row.answered.per_segment()),
    ]


def _quality(entry: Entry) -> list[str]:
    chrf, others = entry.figure("chrF++"), [entry.figure(name) for name in ("BLEU", "TER")]
    low, high = chrf.ci95 or (chrf.value, chrf.value)
    versus = chrf.versus
    faults = sum(entry.fault_rates.counts.values()) / max(1, entry.fault_rates.segments)
    return [
        f"{chrf.value:.1f}",
        f"{(high - low) / 2:.1f}",
        *(f"{figure.value:.1f}" for figure in others),
        f"{versus.gain:+.1f}" if versus else "",
        f"{versus.p_value:.3f}" if versus else "",
        f"{faults:.1%}",
    ]


def _training(figures: Mapping[str, Any]) -> list[str]:
    trainable, seconds = figures.get("trainable_parameters"), figures.get("train_s")
    return [
        f"{trainable:,}" if trainable else "",
        _number(figures.get("adapter_mb"), 1),
        clock(seconds) if seconds is not None else "",
        _number(figures.get("peak_rss_gb"), 1),
    ]


def _cost(per_segment: Mapping[str, float | None]) -> list[str]:
    return [
        _number(per_segment["prompt_tokens"], 1),
        _number(per_segment["completion_tokens"], 1),
        _number(per_segment["segments_per_s"], 2),
    ]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"
